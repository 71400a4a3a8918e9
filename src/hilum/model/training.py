"""Training from splits to a run folder; it reads from top to bottom."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from hilum.config import Config, TrainConfig, read_run_config
from hilum.data.cache import open_cache
from hilum.data.dataset import EpochSampler, RadiographDataset, build_loader
from hilum.data.lungs import segment_all, widen
from hilum.data.manifest import hash_manifest
from hilum.data.splits import check_leakage, hash_splits, read_splits
from hilum.data.targets import build_targets
from hilum.errors import ConfigError, DataError, HilumError, InterruptionError
from hilum.files import new_folder, read_json, write_json
from hilum.model import run as run_folder
from hilum.model.callbacks import EpochHook
from hilum.model.curves import draw_learning_curves
from hilum.model.draws import weigh_train
from hilum.model.module import PneumoniaModule
from hilum.model.network import RadiographNet, count_outputs
from hilum.model.trainer import build_trainer, quiet_lightning, resolve_precision
from hilum.model.weights import WeightsSource, initialise
from hilum.types import BoolArray, IntArray, Label, Pathogen, Split, UInt8Array

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
    manifest: pd.DataFrame, splits: pd.DataFrame, out: Path, config: Config, *, on_epoch: EpochHook | None = None
) -> TrainingResult:
    """Start a run in `out`: fine-tune on split train, choose the epoch on val; test is never read.

    Raises:
        HilumError: `out` already holds a run, a class is missing, or the weights do not fit.
    """
    _check_trainable(splits, pathogen=config.task == "pathogen")
    check_leakage(splits)
    if run_folder.is_run(out):
        raise HilumError(f"{out} already holds a run; continue it with --resume, or name another folder with --out.")
    new_folder(out, marker=run_folder.CONFIG)
    network, source = _build_network(config)  # before anything is written: weights are the commonest thing to be wrong
    provenance = {
        **run_folder.describe_environment(),
        "manifest_hash": hash_manifest(manifest),
        "splits_hash": hash_splits(splits),
        "weights": asdict(source),
        "precision": resolve_precision(config.train),
        "timings": {},
    }
    run_folder.write_run(out, manifest, splits, config, provenance)
    return _fit(network, splits, out, config, on_epoch)


def resume(out: Path, *, overrides: Config | None = None, on_epoch: EpochHook | None = None) -> TrainingResult:
    """Continue the run in `out` to the schedule it was started with; a finished run is returned as it is.

    Raises:
        HilumError: `out` is no run, or `overrides` differs from the configuration it was started with.
    """
    if not run_folder.is_run(out):
        raise HilumError(f"{out} is not a run folder that can be resumed: it has no {run_folder.CONFIG}.")
    config = read_run_config(out / run_folder.CONFIG)
    if overrides is not None and overrides != config:
        keys = ", ".join(_list_differences(config.model_dump(), overrides.model_dump()))
        raise ConfigError(f"{out} was started with another configuration ({keys}); resume without --config and --set.")
    splits = read_splits(out / run_folder.SPLITS)
    network, _ = _build_network(config, weights="random")  # every weight comes from the checkpoint
    if not (out / run_folder.CHECKPOINT).exists():
        network, _ = _build_network(config)
    return _fit(network, splits, out, config, on_epoch)


def count_threads(config: TrainConfig) -> int:
    """Return the CPU threads that training uses: as configured, else all that the process may run on."""
    if config.threads is not None:
        return config.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    network: RadiographNet, splits: pd.DataFrame, out: Path, config: Config, on_epoch: EpochHook | None
) -> TrainingResult:
    started = time.perf_counter()
    settings = config.train
    threads = torch.get_num_threads()
    torch.set_num_threads(count_threads(settings))

    used = splits[splits["split"].isin([Split.TRAIN, Split.VAL])].reset_index(drop=True)
    pictures = open_cache(
        used["path"].tolist(), used["sha256"].tolist(), config.preprocess, config.data.cache_dir or out / "cache"
    )
    cached = time.perf_counter()
    labels: IntArray = (used["label"] == Label.PNEUMONIA).to_numpy().astype(np.int64)
    targets = build_targets(used, pathogen=config.task == "pathogen")
    train_rows = np.flatnonzero((used["split"] == Split.TRAIN).to_numpy())
    val_rows = np.flatnonzero((used["split"] == Split.VAL).to_numpy())

    lungs = _find_lungs(pictures[train_rows], config)
    weights = weigh_train(used.iloc[train_rows], pictures[train_rows], lungs, out, config)
    sampler = EpochSampler(len(train_rows), seed=config.seed, weights=weights)
    workers = _count_workers(config)
    train_loader = build_loader(
        RadiographDataset(pictures, targets[train_rows], rows=train_rows, config=config.augment, lungs=lungs),
        config.preprocess,
        batch_size=settings.batch_size,
        workers=workers,
        sampler=sampler,
    )
    val_loader = build_loader(
        RadiographDataset(pictures, targets[val_rows], rows=val_rows),
        config.preprocess,
        batch_size=settings.batch_size,
        workers=0,
    )
    module = PneumoniaModule(
        network, settings, class_weights=_weigh_classes(labels[train_rows], settings), steps_per_epoch=len(train_loader)
    )
    checkpoint = out / run_folder.CHECKPOINT
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with quiet_lightning():
            trainer = build_trainer(out, settings, on_epoch)
            trainer.fit(
                module,
                train_loader,
                val_loader,
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
    except (SystemExit, SIGTERMException):  # how Lightning ends after Ctrl-C and after a polite kill
        signal.signal(signal.SIGINT, on_interrupt)
        raise _interruption(out) from None
    except RuntimeError as error:
        # A polite kill of the whole process group reaches the loader's workers first.
        if "DataLoader worker" not in str(error) or "Terminated" not in str(error):
            raise
        raise _interruption(out) from None
    finally:
        torch.set_num_threads(threads)
    finished = time.perf_counter()

    history = pd.read_csv(out / run_folder.HISTORY)
    draw_learning_curves(history, out / run_folder.CURVES)
    provenance = read_json(out / run_folder.PROVENANCE)
    provenance["timings"] = {
        "decode_seconds": round(cached - started, 2),
        "train_seconds": round(finished - cached, 2),
        "pictures_per_second": float(history["pictures_per_second"].median()),
    }
    write_json(out / run_folder.PROVENANCE, provenance)
    best = history[history["best"] == 1].iloc[-1]
    return TrainingResult(
        out, int(best["epoch"]), float(best["val_loss"]), float(best["val_auroc"]), finished - started
    )


def _find_lungs(pictures: UInt8Array, config: Config) -> BoolArray | None:
    """Return the lungs of the train pictures, (n, s, s), widened a little; None where nothing needs to know them."""
    if not config.augment.exchanges_corners and config.train.balance != "surroundings":
        return None
    logger.info("finding the lungs in %s training pictures", f"{len(pictures):,}")
    return widen(segment_all(pictures))


def _interruption(out: Path) -> InterruptionError:
    return InterruptionError(f"Interrupted; continue with 'hilum train DATA --out {out} --resume'.")


def _weigh_classes(labels: IntArray, config: TrainConfig) -> tuple[float, float]:
    if config.balance != "weights":
        return 1.0, 1.0
    counts = np.bincount(labels, minlength=2)
    normal, pneumonia = (len(labels) / (2 * counts)).tolist()
    return normal, pneumonia


def _count_workers(config: Config) -> int:
    if config.data.workers is not None:
        return config.data.workers
    # On a CPU the network takes every core, and its threads wait for each other: a process beside them that prepares
    # batches costs more (a quarter of the speed on two cores) than preparing them in turn.
    return 4 if torch.cuda.is_available() else 0


def _list_differences(left: dict[str, Any], right: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in left.items():
        other = right[key]
        if isinstance(value, dict):
            yield from _list_differences(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}"
