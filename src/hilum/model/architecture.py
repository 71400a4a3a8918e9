"""Reads the stages of a network off the network itself, by letting one empty picture pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hilum.model.network import RadiographNet
from hilum.model.resnet import Bottleneck
from hilum.types import Stage


def list_stages(network: RadiographNet, *, size: int) -> list[Stage]:
    """Return the stages from input to logit, with the shapes that a (1, 3, size, size) picture takes on its way."""
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(remember(name)) for name, module in network.named_children()]
    training = network.training
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, size, size))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    stages = [
        Stage("input", "input", (3, size, size), 0, detail="gray in three channels"),
        Stage(
            "stem",
            "convolution",
            shapes["relu"],
            _count(network.conv1) + _count(network.bn1),
            detail=_describe_stem(network),
        ),
        Stage("max pool", "pool", shapes["maxpool"], 0, detail="3×3, stride 2"),
    ]
    for name in ("layer1", "layer2", "layer3", "layer4"):
        blocks = network.get_submodule(name)
        first = next(iter(blocks.children()))
        stages.append(
            Stage(
                name,
                "blocks",
                shapes[name],
                _count(blocks),
                repeats=len(list(blocks.children())),
                detail=_describe(first),
            )
        )
    stages.append(Stage("average pool", "pool", (network.fc.in_features,), 0, detail="over all places"))
    stages.append(
        Stage("head", "linear", (network.fc.out_features,), _count(network.fc), detail="log-odds of PNEUMONIA")
    )
    return stages


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _describe_stem(network: RadiographNet) -> str:
    return f"{_size(network.conv1)}, {network.conv1.out_channels}, stride {network.conv1.stride[0]}"


def _describe(block: nn.Module) -> str:
    if not isinstance(block, Bottleneck):
        raise TypeError(f"{type(block).__name__} is not a bottleneck block")
    return " → ".join(f"{_size(conv)}, {conv.out_channels}" for conv in (block.conv1, block.conv2, block.conv3))


def _size(convolution: nn.Conv2d) -> str:
    return "×".join(str(side) for side in convolution.kernel_size)
