"""Training from splits to a run folder; it reads from top to bottom."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hilum.config import Config, TrainConfig, list_differences, read_run_config
from hilum.data.cache import open_cache, open_lungs
from hilum.data.manifest import hash_manifest
from hilum.data.splits import check_leakage, hash_splits, list_used, read_splits
from hilum.data.targets import build_targets
from hilum.errors import ConfigError, DataError, HilumError, InterruptionError
from hilum.files import hold, new_folder, read_json, write_json
from hilum.model import run as run_folder
from hilum.model.checkpoint import find_checkpoint
from hilum.model.crop import find_frames
from hilum.model.device import choose_device, choose_dtype, describe_device, explain_device_errors
from hilum.model.draws import weigh_train
from hilum.model.feed import PlainFeed, TrainingFeed
from hilum.model.loop import EpochHook, Trainer
from hilum.model.network import RadiographNet, count_outputs
from hilum.model.weights import WeightsSource, initialise
from hilum.types import IntArray, Label, Pathogen, Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training reached on val: best epoch (counted from 1), its loss and AUROC, and the time all took."""

    run: Path
    best_epoch: int
    val_loss: float
    val_auroc: float
    seconds: float


def train(
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    out: Path,
    config: Config,
    *,
    device: str = "auto",
    on_epoch: EpochHook | None = None,
) -> TrainingResult:
    """Start a run in `out`: fine-tune on split train, choose the epoch on val; test is never read.

    `device` is what `hilum.model.device.choose_device` takes.

    Raises:
        HilumError: `out` already holds a run, a class is missing, the weights do not fit, or the device fails.
    """
    chosen = choose_device(device)
    _check_trainable(splits, pathogen=config.task == "pathogen")
    check_leakage(splits)
    if run_folder.is_run(out):
        raise HilumError(f"{out} already holds a run; continue it with --resume, or name another folder with --out.")
    new_folder(out, marker=run_folder.CONFIG)
    with hold(out, what="the run"):
        new_folder(out, marker=run_folder.CONFIG)  # asked again: another process may have been quicker
        network, source = _build_network(config)  # before anything is written: weights are what is wrong most often
        provenance = {
            **run_folder.describe_environment(),
            "manifest_hash": hash_manifest(manifest),
            "splits_hash": hash_splits(splits),
            "weights": asdict(source),
            **_describe_device(chosen, config.train),
            "timings": {},
        }
        run_folder.write_run(out, manifest, splits, config, provenance)
        return _fit(network, splits, out, config, chosen, on_epoch)


def resume(
    out: Path, *, overrides: Config | None = None, device: str = "auto", on_epoch: EpochHook | None = None
) -> TrainingResult:
    """Continue the run in `out` to the schedule it was started with, on any device; a finished run stays as it is.

    Raises:
        HilumError: `out` is no run, or `overrides` differs from the configuration it was started with.
    """
    if not run_folder.is_run(out):
        raise HilumError(f"{out} is not a run folder that can be resumed: it has no {run_folder.CONFIG}.")
    with hold(out, what="the run"):
        return _resume(out, overrides, device, on_epoch)


def _resume(out: Path, overrides: Config | None, device: str, on_epoch: EpochHook | None) -> TrainingResult:
    config = read_run_config(out / run_folder.CONFIG)
    if overrides is not None and overrides != config:
        keys = ", ".join(key for key, _, _ in list_differences(config.model_dump(), overrides.model_dump()))
        raise ConfigError(f"{out} was started with another configuration ({keys}); resume without --config and --set.")
    if run_folder.is_finished(out, config):
        return _read_result(out, seconds=0.0)
    splits = read_splits(out / run_folder.SPLITS)
    # With a checkpoint every weight comes from it.
    begun = find_checkpoint(out / run_folder.CHECKPOINT)
    network, _ = _build_network(config, weights="random" if begun else None)
    chosen = choose_device(device)
    described = _describe_device(chosen, config.train)
    provenance = read_json(out / run_folder.PROVENANCE)
    if any(provenance.get(key) != value for key, value in described.items()):
        logger.warning(
            "This run began in %s and continues in %s; its results may differ slightly.",
            _write(provenance),
            _write(described),
        )
        write_json(out / run_folder.PROVENANCE, {**provenance, **described})
    return _fit(network, splits, out, config, chosen, on_epoch)


def count_threads(config: TrainConfig) -> int:
    """Return the CPU threads that training uses: as configured, else all that the process may run on."""
    if config.threads is not None:
        return config.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_result(out: Path, *, seconds: float) -> TrainingResult:
    history = pd.read_csv(out / run_folder.HISTORY)
    best = history[history["best"] == 1].iloc[-1]
    return TrainingResult(out, int(best["epoch"]), float(best["val_loss"]), float(best["val_auroc"]), seconds)


def _describe_device(device: torch.device, config: TrainConfig) -> dict[str, str]:
    """Return what provenance.json says of where a run is trained."""
    return {
        "device": describe_device(device),
        "precision": str(choose_dtype(device, config.precision)).removeprefix("torch."),
    }


def _check_trainable(splits: pd.DataFrame, *, pathogen: bool) -> None:
    for split in (Split.TRAIN, Split.VAL):
        labels = set(splits.loc[splits["split"] == split, "label"])
        missing = [str(label) for label in Label if label not in labels]
        if missing:
            raise DataError(
                f"The {split} split holds no {' and no '.join(missing)} picture; a classifier needs both classes, "
                "so add pictures of the missing one."
            )
        unseen = [str(kind) for kind in Pathogen if kind not in set(splits.loc[splits["split"] == split, "pathogen"])]
        if pathogen and unseen:
            raise DataError(
                f"The {split} split holds no pneumonia known to come from {' or '.join(unseen)}, which --task pathogen "
                "needs; file names must say it, such as person1_virus_2.jpeg, or a column pathogen of the table."
            )


def _build_network(config: Config, *, weights: str | None = None) -> tuple[RadiographNet, WeightsSource]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = RadiographNet(dropout=config.model.dropout, outputs=count_outputs(config))
    source = initialise(network, weights or config.model.weights)
    return network.to(memory_format=torch.channels_last), source


def _fit(
    network: RadiographNet,
    splits: pd.DataFrame,
    out: Path,
    config: Config,
    device: torch.device,
    on_epoch: EpochHook | None,
) -> TrainingResult:
    started = time.perf_counter()
    gpus = [device] if device.type == "cuda" else []
    smaller = f"take a smaller batch than train.batch_size={config.train.batch_size} and another --out"
    with (
        _set_threads(config.train),
        _interruptible(out),
        explain_device_errors(device, smaller=smaller),
        torch.random.fork_rng(devices=gpus),
    ):
        trainer = _build_trainer(network, splits, out, config, device)
        prepared = time.perf_counter()
        trainer.fit(on_epoch=on_epoch)
    finished = time.perf_counter()

    from hilum.model.curves import draw_learning_curves  # noqa: PLC0415 - matplotlib would delay the first step

    history = pd.read_csv(out / run_folder.HISTORY)
    draw_learning_curves(history, out / run_folder.CURVES)
    provenance = read_json(out / run_folder.PROVENANCE)
    provenance["timings"] = {
        "prepare_seconds": round(prepared - started, 2),
        # Those of the sittings before an interruption count, too.
        "train_seconds": round(finished - prepared + provenance["timings"].get("train_seconds", 0.0), 2),
        "pictures_per_second": float(history["pictures_per_second"].median()),
    }
    write_json(out / run_folder.PROVENANCE, provenance)
    run_folder.seal(out)
    return _read_result(out, seconds=finished - started)


def _build_trainer(
    network: RadiographNet, splits: pd.DataFrame, out: Path, config: Config, device: torch.device
) -> Trainer:
    """Decode the images or find them in the cache, and put all that learns on the device."""
    used = list_used(splits)
    cache = config.data.cache_dir or out / "cache"
    images = open_cache(used["path"].tolist(), used["sha256"].tolist(), config.preprocess, cache)
    labels: IntArray = (used["label"] == Label.PNEUMONIA).to_numpy().astype(np.int64)
    targets = build_targets(used, pathogen=config.task == "pathogen")
    train_rows = np.flatnonzero((used["split"] == Split.TRAIN).to_numpy())
    val_rows = np.flatnonzero((used["split"] == Split.VAL).to_numpy())
    lungs = None
    if config.needs_lungs:
        lungs = open_lungs(images, train_rows, used["sha256"].iloc[train_rows].tolist(), config.preprocess, cache)
    frames = None if config.preprocess.field is None else find_frames(images, config.preprocess, device)
    feed = TrainingFeed(
        images,
        targets[train_rows],
        train_rows,
        augment=config.augment,
        spec=config.preprocess,
        batch_size=config.train.batch_size,
        seed=config.seed,
        device=device,
        weights=weigh_train(used.iloc[train_rows], images, train_rows, lungs, out, config),
        lungs=lungs,
        frames=frames,
    )
    return Trainer(
        network.to(device),
        feed,
        PlainFeed(images, val_rows, spec=config.preprocess, device=device, frames=frames),
        torch.from_numpy(targets[val_rows]).to(device),
        out,
        config.train,
        class_weights=_weigh_classes(labels[train_rows], config.train),
        seed=config.seed,
        device=device,
        dtype=choose_dtype(device, config.train.precision),
    )


@contextmanager
def _set_threads(config: TrainConfig) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count_threads(config))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _interruptible(out: Path) -> Iterator[None]:
    """Turn Ctrl-C and a polite kill into an InterruptionError that says how to go on."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptionError(f"Interrupted; continue with 'hilum train DATA --out {out} --resume'.") from None
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


def _weigh_classes(labels: IntArray, config: TrainConfig) -> tuple[float, float]:
    if config.balance != "weights":
        return 1.0, 1.0
    counts = np.bincount(labels, minlength=2)
    normal, pneumonia = (len(labels) / (2 * counts)).tolist()
    return normal, pneumonia


def _write(described: Mapping[str, Any]) -> str:
    return f"{described.get('precision')} on {described.get('device', 'an unknown device')}"
