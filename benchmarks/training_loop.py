"""Compare an epoch of `hilum train` with a bare training loop on batches that lie on the device ready for the network.

    python benchmarks/training_loop.py DATA --weights PATH [--device auto] [--batch-size 32] [--images 640] [--rounds 3]

Both train ResNet-50 at the same size, batch, precision, memory layout and thread count, in turn, so that a drift of
the machine's speed meets both. The bare loop has no augmentation, no averaging, no clipping, no progress, no logging
and no loader: it is what a plain loop of PyTorch reaches. On a GPU its first steps, and Hilum's first epoch, choose
kernels and are not counted. The figure to quote is the median ratio.
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
from hilum.model.device import choose_device, choose_dtype, describe_device
from hilum.model.network import RadiographNet
from hilum.model.training import count_threads, train
from hilum.model.weights import initialise
from hilum.preprocess import normalise
from hilum.types import Label, Split

GPU_EPOCHS = 3
GPU_WARMUP_STEPS = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--cache", type=Path, help="where decoded images and lung masks are kept; else thrown away")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)

    with tempfile.TemporaryDirectory() as scratch:
        config = load_config(
            overrides=[
                f"preprocess.size={arguments.size}",
                f"model.weights={arguments.weights}",
                f"data.cache_dir={arguments.cache or Path(scratch, 'cache')}",
                "train.head_epochs=0",
                f"train.epochs={1 if device.type == 'cpu' else GPU_EPOCHS}",
                f"train.batch_size={arguments.batch_size}",
            ]
        )
        manifest = load_data(arguments.data)
        splits = choose_images(build_splits(manifest, val_fraction=0.15, seed=0), arguments.images)
        bare, hilum = [], []
        for index in range(arguments.rounds):
            bare.append(time_bare_loop(splits, config, device, Path(scratch)))
            hilum.append(time_hilum(manifest, splits, config, device, Path(scratch, f"run-{index}")))
            print(f"round {index + 1}: bare {bare[-1]:.2f}, hilum {hilum[-1]:.2f} images/s", flush=True)
    ratios = [ours / floor for ours, floor in zip(hilum, bare, strict=True)]
    result = {
        "device": describe_device(device),
        "precision": str(choose_dtype(device, config.train.precision)),
        "size": arguments.size,
        "batch_size": arguments.batch_size,
        "threads": count_threads(config.train),
        "bare_images_per_second": bare,
        "hilum_images_per_second": hilum,
        "median_ratio": statistics.median(ratios),
        "peak_device_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
    }
    print(f"{result['device']}, batch {arguments.batch_size}: median ratio hilum / bare {result['median_ratio']:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def choose_images(splits: pd.DataFrame, count: int) -> pd.DataFrame:
    """Keep `count` images to train on, all where there are fewer, and 64 of val."""
    train_rows = splits[splits["split"] == Split.TRAIN]
    train_rows = train_rows.sample(min(count, len(train_rows)), random_state=0)
    val_rows = splits[splits["split"] == Split.VAL]
    val_rows = val_rows.sample(min(64, len(val_rows)), random_state=0)
    return pd.concat([train_rows, val_rows]).sort_index()


def time_bare_loop(splits: pd.DataFrame, config: Config, device: torch.device, scratch: Path) -> float:
    """Return images a second of the shortest loop that trains."""
    torch.set_num_threads(count_threads(config.train))
    rows = splits[splits["split"] == Split.TRAIN]
    images = open_cache(rows["path"].tolist(), rows["sha256"].tolist(), config.preprocess, scratch / "bare")
    labels = torch.tensor((rows["label"] == Label.PNEUMONIA).to_numpy(dtype=np.float32), device=device)
    inputs = torch.from_numpy(normalise(np.asarray(images), config.preprocess)).to(device)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    network = RadiographNet()
    initialise(network, config.model.weights)
    network.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    mixed = choose_dtype(device, config.train.precision) is torch.bfloat16
    size = config.train.batch_size

    def step(start: int) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = network(inputs[start : start + size])[:, 0]
        loss = binary_cross_entropy_with_logits(logits.float(), labels[start : start + size])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    starts = range(0, len(inputs) - size + 1, size)
    if device.type == "cuda":
        for start in starts[:GPU_WARMUP_STEPS]:
            step(start)
        torch.cuda.synchronize()
    started = time.perf_counter()
    for start in starts:
        step(start)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(starts) * size / (time.perf_counter() - started)


def time_hilum(manifest: pd.DataFrame, splits: pd.DataFrame, config: Config, device: torch.device, run: Path) -> float:
    """Return images a second of an epoch of training as users run it; on a GPU the median without the first epoch."""
    train(manifest, splits, run, config, device=str(device))
    speeds = pd.read_csv(run / "history.csv")["pictures_per_second"]
    return float(speeds.iloc[1:].median() if len(speeds) > 1 else speeds.iloc[0])


if __name__ == "__main__":
    main()
