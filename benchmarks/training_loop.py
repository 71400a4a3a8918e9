"""Compare an epoch of `hilum train` with a bare training loop on batches that lie in memory ready for the network.

    python benchmarks/training_loop.py DATA --weights PATH [--pictures 640] [--rounds 3] [--json FILE]

Both train ResNet-50 at the same size, batch, precision, memory layout and thread count, in turn, so that a drift of
the machine's speed meets both. The bare loop has no augmentation, no averaging, no progress, no logging and no loader:
it is the floor that the hardware sets. The figure to quote is the median ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from hilum.config import Config, load_config
from hilum.data.cache import open_cache
from hilum.data.manifest import load_data
from hilum.data.splits import build_splits
from hilum.model.network import RadiographNet
from hilum.model.trainer import resolve_precision
from hilum.model.training import count_threads, train
from hilum.model.weights import initialise
from hilum.preprocess import normalise
from hilum.types import Label, Split


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        config = load_config(
            overrides=[
                f"preprocess.size={arguments.size}",
                f"model.weights={arguments.weights}",
                f"data.cache_dir={scratch}/cache",
                "train.head_epochs=0",
                "train.epochs=1",
            ]
        )
        manifest = load_data(arguments.data)
        splits = choose_pictures(build_splits(manifest, val_fraction=0.15, seed=0), arguments.pictures)
        bare, hilum = [], []
        for index in range(arguments.rounds):
            bare.append(time_bare_loop(splits, config, Path(scratch)))
            hilum.append(time_hilum(manifest, splits, config, Path(scratch, f"run-{index}")))
            print(f"round {index + 1}: bare {bare[-1]:.2f}, hilum {hilum[-1]:.2f} pictures/s", flush=True)
    ratios = [ours / floor for ours, floor in zip(hilum, bare, strict=True)]
    result = {
        "precision": resolve_precision(config.train),
        "size": arguments.size,
        "threads": count_threads(config.train),
        "bare_pictures_per_second": bare,
        "hilum_pictures_per_second": hilum,
        "median_ratio": statistics.median(ratios),
    }
    print(f"median ratio hilum / bare: {result['median_ratio']:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def choose_pictures(splits: pd.DataFrame, count: int) -> pd.DataFrame:
    """Keep `count` pictures to train on, and 64 of val."""
    train_rows = splits[splits["split"] == Split.TRAIN].sample(count, random_state=0)
    val_rows = splits[splits["split"] == Split.VAL]
    val_rows = val_rows.sample(min(64, len(val_rows)), random_state=0)
    return pd.concat([train_rows, val_rows]).sort_index()


def time_bare_loop(splits: pd.DataFrame, config: Config, scratch: Path) -> float:
    """Return pictures a second of the shortest loop that trains."""
    torch.set_num_threads(count_threads(config.train))
    rows = splits[splits["split"] == Split.TRAIN]
    pictures = open_cache(rows["path"].tolist(), rows["sha256"].tolist(), config.preprocess, scratch / "bare")
    labels = torch.tensor((rows["label"] == Label.PNEUMONIA).to_numpy(dtype=np.float32))
    inputs = torch.from_numpy(normalise(np.asarray(pictures), config.preprocess))
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    network = RadiographNet()
    initialise(network, config.model.weights)
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    mixed = resolve_precision(config.train) == "bf16-mixed"
    size = config.train.batch_size
    started = time.perf_counter()
    for start in range(0, len(inputs) - size + 1, size):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            logits = network(inputs[start : start + size])[:, 0]
        loss = binary_cross_entropy_with_logits(logits.float(), labels[start : start + size])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return len(inputs) // size * size / (time.perf_counter() - started)


def time_hilum(manifest: pd.DataFrame, splits: pd.DataFrame, config: Config, run: Path) -> float:
    """Return pictures a second of an epoch of training as users run it, its loader's start included."""
    train(manifest, splits, run, config)
    return float(pd.read_csv(run / "history.csv")["pictures_per_second"].iloc[0])


if __name__ == "__main__":
    main()
