"""The run folder: what a training leaves behind, and how it is read again.

RUN/config.yaml          the resolved configuration
RUN/manifest.csv         every picture found, RUN/splits.csv which split each is in
RUN/provenance.json      versions, commit, machine, hashes, timings
RUN/draws.csv            how often each train picture is drawn, where its surroundings have a say in that
RUN/model.safetensors    the best weights by the validation criterion
RUN/history.csv          one row an epoch; RUN/learning_curves.png draws it
RUN/checkpoints/         last.ckpt and the one before it, from which --resume continues
RUN/complete.json        written last: the SHA-256 of the files that make the run, which is checked when it is read
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hilum.bundle import PACKAGED, check_name, is_bundle
from hilum.config import Config, read_run_config
from hilum.data.manifest import write_manifest
from hilum.data.splits import read_splits, write_splits
from hilum.errors import BundleError
from hilum.files import read_json, sha256_file, write_json, write_text
from hilum.model.processor import name_processor

CONFIG = "config.yaml"
MANIFEST = "manifest.csv"
SPLITS = "splits.csv"
PROVENANCE = "provenance.json"
DRAWS = "draws.csv"
WEIGHTS = "model.safetensors"
HISTORY = "history.csv"
CURVES = "learning_curves.png"
CHECKPOINT = Path("checkpoints", "last.ckpt")
COMPLETE = "complete.json"
_SEALED = (CONFIG, MANIFEST, SPLITS, PROVENANCE, WEIGHTS, HISTORY)

PACKAGES = ("hilum", "torch", "torchvision", "numpy", "pandas", "pillow", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder that has been read and found whole."""

    folder: Path
    config: Config
    splits: pd.DataFrame
    provenance: dict[str, Any]

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.folder / WEIGHTS


def is_run(folder: Path) -> bool:
    """Return whether `folder` looks like a run."""
    return (folder / CONFIG).is_file()


def read_run(folder: Path, *, unfinished: bool = False) -> Run:
    """Read a run folder and check that it is whole.

    Args:
        folder: as `hilum train` made it.
        unfinished: read it, too, while its training has not come to its end.

    Raises:
        BundleError: the folder is no run, has no trained weights yet, is not finished, or a file of it was altered.
    """
    if str(folder) == PACKAGED or is_bundle(folder):
        raise BundleError(f"{folder} is a bundle, and this needs the run folder that hilum train made.")
    if not is_run(folder):
        raise BundleError(
            f"{folder} is not a run folder: it has no {CONFIG}. Make one with 'hilum train DATA --out RUN'."
        )
    if not (folder / WEIGHTS).is_file():
        raise BundleError(
            f"{folder} has no {WEIGHTS} yet: its training has not finished an epoch; add --resume to train on."
        )
    config = read_run_config(folder / CONFIG)
    if (folder / COMPLETE).is_file():
        _check_seal(folder)
    elif not unfinished and not is_finished(folder, config):
        raise BundleError(
            f"The training of {folder} has not come to its end; go on with 'hilum train DATA --out {folder} --resume', "
            "or take it as it is with --unfinished, where the command has that."
        )
    return Run(
        folder,
        config,
        read_splits(folder / SPLITS),
        read_json(folder / PROVENANCE),
    )


def seal(folder: Path) -> None:
    """Write complete.json: the training has come to its end, and its files are these."""
    files = {name: sha256_file(folder / name) for name in _SEALED if (folder / name).is_file()}
    write_json(folder / COMPLETE, {"files": files})


def is_finished(folder: Path, config: Config) -> bool:
    """Return whether a run has all the epochs of its schedule, or stopped early by `train.patience`.

    A mean of runs has no history and is finished.
    """
    path = folder / HISTORY
    if not path.is_file():
        provenance = folder / PROVENANCE
        return provenance.is_file() and bool(read_json(provenance).get("averaged"))
    best = pd.read_csv(path)["best"].to_numpy()
    if len(best) >= config.train.head_epochs + config.train.epochs:
        return True
    return config.train.patience is not None and len(best) - 1 - int(np.flatnonzero(best)[-1]) >= config.train.patience


def _check_seal(folder: Path) -> None:
    files = read_json(folder / COMPLETE).get("files")
    if not isinstance(files, dict) or not {CONFIG, SPLITS, WEIGHTS} <= files.keys():
        raise BundleError(f"{folder / COMPLETE} is damaged; copy the run again.")
    for name, expected in files.items():
        file = folder / check_name(name)
        if not file.is_file():
            raise BundleError(f"The run {folder} lacks its file {name}; copy it again.")
        if sha256_file(file) != expected:
            raise BundleError(
                f"{file} is not the file that the training wrote (its SHA-256 differs from that in {COMPLETE}); copy "
                "the run again, or train it again."
            )


def write_run(
    out: Path, manifest: pd.DataFrame, splits: pd.DataFrame, config: Config, provenance: Mapping[str, Any]
) -> None:
    """Write all of a run folder but what a training makes; config.yaml comes last, for it makes the folder a run."""
    write_manifest(manifest, out / MANIFEST)
    write_splits(splits, out / SPLITS, seed=config.split_seed, val_fraction=config.data.val_fraction)
    write_json(out / PROVENANCE, provenance)
    write_text(out / CONFIG, config.to_yaml())


def describe_environment() -> dict[str, Any]:
    """Return versions, commit and machine, as provenance.json carries them."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": packages,
        "python": platform.python_version(),
        "git_commit": find_git_commit(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": name_processor(),
    }


def find_git_commit() -> str | None:
    """Return the commit of the source tree that Hilum runs from ("-dirty" when edited), None when it is installed."""
    here = Path(__file__).parent
    try:
        tracked = _git("ls-files", "--error-unmatch", Path(__file__).name, folder=here)
        if not tracked:
            return None
        commit = _git("rev-parse", "HEAD", folder=here)
        dirty = _git("status", "--porcelain", "--untracked-files=no", folder=here)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if dirty else commit


def _git(*arguments: str, folder: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
