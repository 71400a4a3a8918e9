"""The network: ResNet-50 with one logit, whose class activation map is an output and not an afterthought.

ResNet-50 ends in global average pooling and one linear layer, so the fc-weighted sum of the last feature maps is the
exact share of each region in the logit (CAM, Zhou et al. 2016) and equals Grad-CAM at layer4 up to a constant factor
(Selvaraju et al. 2017, section 3.1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hilum.config import Config
from hilum.model.resnet import ResNet50

# torchvision's stages from input to output; the learning rate decays in the opposite order.
STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",), ("fc",))


class NetworkOutput(NamedTuple):
    """`logit` (n,), `cam` (n, h, w) with mean(cam) + bias = logit, pooled `features` (n, 2048).

    `pathogen` (n,): the log-odds of viral against bacterial pneumonia; None where the network has not learnt it.
    """

    logit: Tensor
    cam: Tensor
    features: Tensor
    pathogen: Tensor | None = None


class RadiographNet(ResNet50):
    """ResNet-50 with torchvision's key names and maps on request.

    The first output is the log-odds of PNEUMONIA; with two `outputs` the second is that of viral against bacterial
    pneumonia, given that there is one.
    """

    def __init__(self, *, dropout: float = 0.0, outputs: int = 1) -> None:
        super().__init__(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (n, outputs) for (n, 3, h, w) normalised pictures."""
        maps = self.compute_feature_maps(pictures)
        # In float32 whatever the precision of the convolutions: a logit of 4 in bfloat16 is right to 0.03 only.
        with torch.autocast(maps.device.type, enabled=False):
            features = torch.flatten(self.avgpool(maps.float()), 1)
            logits: Tensor = self.fc(self.dropout(features))
        return logits

    def forward_maps(self, pictures: Tensor) -> NetworkOutput:
        """Return logits, class activation maps and pooled features; the maps cost one 2,048-wide weighted sum."""
        maps = self.compute_feature_maps(pictures)
        weight = self.fc.weight[0].to(maps.dtype)
        cam = torch.einsum("nchw,c->nhw", maps, weight)
        features = torch.flatten(self.avgpool(maps), 1)
        logits = self.fc(features)
        return NetworkOutput(logits[:, 0], cam, features, logits[:, 1] if logits.shape[1] > 1 else None)

    def freeze_backbone(self, frozen: bool) -> None:
        """Stop or start the learning of everything but the last layer."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("fc.") or not frozen)

    def freeze_stages(self, last: str) -> None:
        """Stop the learning of the stages up to `last` (a name in STAGES, or none), BatchNorm statistics included."""
        names = [names[-1].replace("bn1", "conv1") for names in STAGES]
        if last == "none":
            return
        for stage in STAGES[: names.index(last) + 1]:
            for name in stage:
                self.get_submodule(name).eval().requires_grad_(False)

    def freeze_batch_norm(self) -> None:
        """Put every BatchNorm into evaluation mode: its statistics stay as they are."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def count_outputs(config: Config) -> int:
    """Return how many outputs the network of a run has."""
    return 2 if config.task == "pathogen" else 1


def list_parameter_groups(
    network: RadiographNet, *, lr: float, layer_decay: float, weight_decay: float
) -> list[dict[str, object]]:
    """Split the parameters by stage and by whether they decay.

    Stage k of STAGES learns at `lr * layer_decay ** (distance to layer4)`; the head learns at `lr`. Biases and
    BatchNorm parameters (all one-dimensional) do not decay: pulling a scale to zero only weakens its channel.
    """
    groups: list[dict[str, object]] = []
    for depth, names in enumerate(STAGES):
        distance = max(len(STAGES) - 2 - depth, 0)
        parameters = [p for name in names for p in network.get_submodule(name).parameters()]
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            if chosen:
                groups.append(
                    {
                        "params": chosen,
                        "lr": lr * layer_decay**distance,
                        "weight_decay": weight_decay if decays else 0.0,
                        "stage": names[0],
                    }
                )
    return groups
