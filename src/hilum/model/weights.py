"""Where a network's weights come from: torchvision's ImageNet file, a local file, chance, or a finished run.

Files are read with safetensors or torch.load(weights_only=True); nothing is unpickled.
"""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hilum.errors import WeightsError
from hilum.files import atomic_path, sha256_file
from hilum.model.network import RadiographNet

BY_HAND = (
    "Download a ResNet-50 state dict in torchvision's key names on another machine and name it with --weights PATH "
    "(.pth or .safetensors), or train from scratch with --weights random"
)


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """What a network started from: `name` as asked for, and the SHA-256 of the file ("" for random weights)."""

    name: str
    sha256: str


def initialise(network: RadiographNet, weights: str) -> WeightsSource:
    """Fill `network` from "imagenet" (torchvision IMAGENET1K_V2), "random" (as built) or the path of a file.

    The last layer keeps its fresh weights unless the file's layer has one output too.

    Raises:
        WeightsError: the file cannot be had, read or does not fit; the message names the first keys that differ.
    """
    if weights == "random":
        return WeightsSource("random", "")
    if weights == "imagenet":
        state, digest = _download_imagenet()
        load_backbone(network, state, source="torchvision IMAGENET1K_V2")
        return WeightsSource("torchvision IMAGENET1K_V2", digest)
    path = Path(weights)
    load_backbone(network, read_state(path), source=str(path))
    return WeightsSource(path.name, sha256_file(path))


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors or a torch file, in float32.

    Raises:
        WeightsError: the file is missing, unreadable, or holds anything but named tensors.
    """
    if not path.is_file():
        raise WeightsError(f"The weights {path} are missing; name a .pth or .safetensors file, imagenet or random.")
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen types, pickle's among them
        if isinstance(error, SafetensorError):
            reason = f"not a safetensors file: {error}"
        else:
            reason = "it must be a plain state dict of tensors, and pickled objects are refused"
        raise WeightsError(f"The weights {path} cannot be read ({reason}).") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"The weights {path} do not hold a state dict of tensors.")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def load_backbone(network: RadiographNet, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load `state` strictly, except that a last layer of another width keeps the network's fresh weights.

    Raises:
        WeightsError: a key is missing, unknown or of another shape, or a value is not finite.
    """
    wanted = network.state_dict()
    given = dict(state)
    head = given.get("fc.weight")
    if head is not None and head.shape != wanted["fc.weight"].shape and head.shape[1:] == wanted["fc.weight"].shape[1:]:
        for key in ("fc.weight", "fc.bias"):
            given[key] = wanted[key]
    load_strictly(network, given, source=source)


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], *, source: str, kind: str = "ResNet-50") -> None:
    """Load a state whose keys and shapes are all the network's own.

    Raises:
        WeightsError: a key is missing, unknown or of another shape, or a value is not finite.
    """
    wanted = network.state_dict()
    given = dict(state)
    # Files written before torch counted batches lack these; they start at zero.
    for key in wanted:
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, wanted[key])
    problems = [f"{k} is missing" for k in wanted if k not in given]
    problems += [f"{k} is unknown" for k in given if k not in wanted]
    problems += [
        f"{k} is {tuple(given[k].shape)} and not {tuple(wanted[k].shape)}"
        for k in wanted
        if k in given and given[k].shape != wanted[k].shape
    ]
    if problems:
        shown = "; ".join(problems[:3])
        rest = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise WeightsError(f"The weights {source} do not fit {kind}: {shown}{rest}.")
    broken = [k for k, v in given.items() if not torch.isfinite(v).all()]
    if broken:
        raise WeightsError(f"The weights {source} hold values that are not finite, first in {broken[0]}.")
    network.load_state_dict(given)


def save_network(network: nn.Module, path: Path) -> None:
    """Write the network's state as .safetensors, atomically and in its plain memory layout."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    # One entry alone: safetensors writes several in an order of chance, and equal weights shall be equal files.
    content = save(state, metadata={"format": "pt"})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _download_imagenet() -> tuple[dict[str, Tensor], str]:
    """Return the weights and the first digits of their SHA-256, which the name of torchvision's file carries."""
    from torchvision.models import ResNet50_Weights  # noqa: PLC0415 - takes seconds that few commands need

    weights = ResNet50_Weights.IMAGENET1K_V2
    try:
        state: dict[str, Tensor] = dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, urllib.error.URLError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"The ImageNet weights cannot be downloaded from {weights.url} ({reason}). {BY_HAND}."
        ) from None
    return state, weights.url.rsplit("-", 1)[-1][:8]
