"""Further sets: labelled images of other sources that every run scores. Test sets are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hilum.data.manifest import hash_manifest, load_data
from hilum.errors import DataError, LeakageError
from hilum.types import BoolArray, Label, Split, Status


@dataclass(frozen=True, slots=True)
class FurtherSet:
    """All labelled, readable images of a set: paths, SHA-256 and labels (n,), True for PNEUMONIA. `hash` names it."""

    name: str
    paths: tuple[str, ...]
    hashes: tuple[str, ...]
    labels: BoolArray
    hash: str


def read_sets(sets: Mapping[str, Path], own: pd.DataFrame) -> tuple[FurtherSet, ...]:
    """Read each further set and check it against `own`, the manifest of the study's data.

    Raises:
        DataError: a set cannot be read, has no usable image, or names a test split.
        LeakageError: an image of it is one of the study's own data.
    """
    return tuple(read_set(name, path, own) for name, path in sets.items())


def read_set(name: str, path: Path, own: pd.DataFrame) -> FurtherSet:
    """Read one further set; see `read_sets`."""
    manifest = load_data(path, splits_matter=False)
    tested = _is_test(manifest)
    if tested.any():
        raise DataError(
            f"The set {name} ({path}) names a test split for {tested.sum():,} of its {len(manifest):,} images: a study "
            "must not score test; take images that no split calls test."
        )
    rows = manifest[(manifest["status"] == Status.OK) & manifest["label"].isin([str(label) for label in Label])]
    if rows.empty:
        raise DataError(f"The set {name} ({path}) holds no readable image with a label.")
    _refuse_own(name, path, rows, own)
    return FurtherSet(
        name,
        tuple(rows["path"]),
        tuple(rows["sha256"]),
        (rows["label"] == Label.PNEUMONIA).to_numpy(),
        hash_manifest(rows),
    )


def _is_test(manifest: pd.DataFrame) -> pd.Series[bool]:
    return (manifest["split"] == Split.TEST) | (manifest["given_split"] == Split.TEST)


def _refuse_own(name: str, path: Path, rows: pd.DataFrame, own: pd.DataFrame) -> None:
    # An image that could not be read has no hash.
    known = own[own["sha256"] != ""]
    tests = _is_test(known)
    for hashes, what in (
        (known.loc[tests, "sha256"], "in the test split of the study's own data: a study must not score test"),
        (known.loc[~tests, "sha256"], "in train or val of the study's own data: it would be scored as if unseen"),
    ):
        shared = rows[rows["sha256"].isin(hashes)]
        if len(shared):
            raise LeakageError(
                f"The set {name} ({path}) holds {len(shared):,} of the images {what} (such as "
                f"{shared['path'].iloc[0]}); remove them from the set."
            )
