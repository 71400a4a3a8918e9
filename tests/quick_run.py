"""A run folder without a training: the backbone is random, and a ridge regression makes its last layer tell classes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from hilum.config import Config
from hilum.data.cache import read_prepared
from hilum.data.manifest import hash_manifest
from hilum.data.splits import hash_splits
from hilum.model import run as run_folder
from hilum.model.network import RadiographNet
from hilum.model.resnet import Bottleneck
from hilum.model.weights import WeightsSource, save_network
from hilum.preprocess import normalise
from hilum.types import Label, Split


def write_quick_run(folder: Path, manifest: pd.DataFrame, splits: pd.DataFrame, config: Config) -> RadiographNet:
    """Write what `hilum train` leaves, but for history and checkpoints; return the network."""
    provenance = {
        **run_folder.describe_environment(),
        "manifest_hash": hash_manifest(manifest),
        "splits_hash": hash_splits(splits),
        "weights": asdict(WeightsSource("random", "")),
        "precision": "32-true",
        "timings": {},
    }
    run_folder.write_run(folder, manifest, splits, config, provenance)
    network = _fit_network(splits[splits["split"] == Split.TRAIN], config)
    save_network(network, folder / run_folder.WEIGHTS)
    run_folder.seal(folder)
    return network


def _fit_network(train: pd.DataFrame, config: Config) -> RadiographNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RadiographNet()
    spec = config.preprocess
    pictures = np.stack([read_prepared(path, spec) for path in train["path"]])
    batch = torch.from_numpy(normalise(pictures, spec))
    targets = np.where(train["label"] == Label.PNEUMONIA, 4.0, -4.0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the plain mean over what it sees
            if isinstance(module, Bottleneck):
                module.bn3.weight.fill_(0.2)  # untamed, random blocks multiply each rounding error
        network.train()(batch)
        features = network.eval().forward_maps(batch).features.double().numpy()
        centre = features.mean(0)
        moved = features - centre
        dual = np.linalg.solve(moved @ moved.T + 1e-3 * np.trace(moved @ moved.T) * np.eye(len(moved)), targets)
        weight = moved.T @ dual
        network.fc.weight.copy_(torch.from_numpy(weight)[None])
        network.fc.bias.copy_(torch.tensor([-float(centre @ weight)]))
    return network
