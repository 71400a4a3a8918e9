"""ResNet-50 (He et al. 2016, arXiv:1512.03385) with torchvision's module names, stride placement and initial weights.

Written here although torchvision has it: importing torchvision takes two to three seconds of every command that trains
or scores. A test holds the two together, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS = (3, 4, 6, 3)
"""Blocks of each stage."""


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside an identity; the stride is in the 3×3 one ("ResNet v1.5")."""

    expansion = 4

    def __init__(self, inputs: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        outputs = width * self.expansion
        downsample = None
        if stride != 1 or inputs != outputs:
            downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 4 × width, h / stride, w / stride) for (n, inputs, h, w)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu(out)
        return activated


class ResNet50(nn.Module):
    """The stages from image to pooled features and one linear layer of `outputs`."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _build_stage(64, 64, LAYERS[0], stride=1)
        self.layer2 = _build_stage(256, 128, LAYERS[1], stride=2)
        self.layer3 = _build_stage(512, 256, LAYERS[2], stride=2)
        self.layer4 = _build_stage(1024, 512, LAYERS[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(2048, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            # Blocks that begin as the identity make training from random weights stable (Goyal et al. 2017, section
            # 5.1).
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def compute_feature_maps(self, images: Tensor) -> Tensor:
        """Return the last feature maps, (n, 2048, h / 32, w / 32), of (n, 3, h, w)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, outputs) for (n, 3, h, w) normalised images."""
        outputs: Tensor = self.fc(torch.flatten(self.avgpool(self.compute_feature_maps(images)), 1))
        return outputs


def _build_stage(inputs: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride=stride)
    return nn.Sequential(first, *(Bottleneck(width * Bottleneck.expansion, width) for _ in range(blocks - 1)))
