"""Images that all runs of a study share: decoded, resized and changed once, then mapped into memory by every run.

The first call makes a file, later ones open it: the study calls each before the first run, so that a run decodes
nothing and its figures cost forward passes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from hilum.config import Config
from hilum.data.cache import open_cache, open_lungs
from hilum.data.splits import list_used
from hilum.evaluation.battery import BATTERY
from hilum.evaluation.robust import sample_rows
from hilum.files import atomic_path, sha256_bytes
from hilum.preprocess import PreprocessSpec
from hilum.progress import track
from hilum.research.sets import FurtherSet
from hilum.types import BoolArray, Label, Split, UInt8Array


def open_val(splits: pd.DataFrame, config: Config) -> tuple[UInt8Array, BoolArray]:
    """Return the images of val (n, size, size), from the file that trainings use, and their labels (n,)."""
    used = list_used(splits)
    rows = (used["split"] == Split.VAL).to_numpy()
    images = _open_used(used, config)[np.flatnonzero(rows)]
    return images, (used.loc[rows, "label"] == Label.PNEUMONIA).to_numpy()


def prepare_lungs(splits: pd.DataFrame, config: Config) -> None:
    """Find the lungs in the images of train, where the training of this configuration needs to know them."""
    if not config.needs_lungs:
        return
    used = list_used(splits)
    rows = np.flatnonzero((used["split"] == Split.TRAIN).to_numpy())
    hashes = used["sha256"].iloc[rows].tolist()
    open_lungs(_open_used(used, config), rows, hashes, config.preprocess, _folder(config))


def open_further(further: FurtherSet, config: Config) -> UInt8Array:
    """Return the images of a further set as a read-only memory map (n, size, size)."""
    return open_cache(further.paths, further.hashes, config.preprocess, _folder(config))


def open_battery(splits: pd.DataFrame, config: Config, *, count: int) -> tuple[UInt8Array, BoolArray]:
    """Return a sample of val unchanged and under each condition, and its labels (n,).

    The images are a read-only memory map (1 + conditions, n, size, size). The sample holds half of `count` from each
    class, the same images for every run of these splits, as for `hilum tune`.
    """
    used = list_used(splits)
    # Drawn by the index of the splits, so that it is the sample that `hilum.tuning.objective` draws.
    own = sample_rows(splits[splits["split"] == Split.VAL], count=count)
    places = pd.Series(used.index, index=used["path"])[own["path"]].to_numpy()
    file = _folder(config) / f"battery-{config.preprocess.side}-{_hash_sample(own, config.preprocess)}.npy"
    if not file.exists():
        _write_battery(_open_used(used, config)[places], file)
    images: UInt8Array = np.load(file, mmap_mode="r", allow_pickle=False)
    return images, (own["label"] == Label.PNEUMONIA).to_numpy()


def _open_used(used: pd.DataFrame, config: Config) -> UInt8Array:
    return open_cache(used["path"].tolist(), used["sha256"].tolist(), config.preprocess, _folder(config))


def _folder(config: Config) -> Path:
    assert config.data.cache_dir is not None, "runs of a study share a cache"
    return config.data.cache_dir


def _hash_sample(rows: pd.DataFrame, spec: PreprocessSpec) -> str:
    conditions = [condition.name for condition in BATTERY]
    return sha256_bytes("\n".join([*rows["sha256"], str(spec.side), *conditions]).encode())[:16]


def _write_battery(images: UInt8Array, file: Path) -> None:
    """Append block by block, as the cache of decoded images is written: a full disk is an error and not a crash."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 + len(BATTERY), *images.shape)}
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(images.tobytes())
        changed = _change_all(images)
        for image in track(changed, description="Changing acquisition", total=len(BATTERY) * len(images)):
            stream.write(image.tobytes())


def _change_all(images: UInt8Array) -> Iterator[UInt8Array]:
    """Yield each image under each condition, on several threads: most of the time goes to C code that shares them."""
    with ThreadPoolExecutor() as pool:
        for condition in BATTERY:
            yield from pool.map(condition.change, images)
