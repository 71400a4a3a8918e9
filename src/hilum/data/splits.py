"""Splits: which picture fits weights, which chooses, which is for evaluation alone; frozen in a file and hashed.

The official test split is kept. Validation is carved out of train, stratified by label and pathogen, so that no
patient stands on both sides; patients that share a picture, byte for byte, are taken for one. A table that gives its
own validation keeps it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from hilum.data.manifest import require_both_classes
from hilum.data.tables import hash_rows, read_table, write_table
from hilum.errors import DataError, LeakageError
from hilum.files import read_json, write_json
from hilum.types import IntArray, Label, Split, Status

logger = logging.getLogger(__name__)

COLUMNS = ("path", "sha256", "label", "pathogen", "patient", "split")
_HASHED = ("sha256", "label", "pathogen", "patient", "split")
_SHOWN = 10


def build_splits(manifest: pd.DataFrame, *, val_fraction: float, seed: int, fold: int = 0) -> pd.DataFrame:
    """Give every readable picture one split; rows stay in the order of the manifest.

    Args:
        manifest: as `hilum.data.manifest.scan` makes it. Rows whose status is not ok are left out.
        val_fraction: the share of train that validates, within 0 and 0.5. It is rounded to one of 1/2, 1/3, 1/4, ...,
            and is larger where a class has too few patients for that.
        seed: decides which patients form a fold.
        fold: which of the folds validates; the folds are disjoint and together hold all of train, so that trainings
            with each of them are a cross-validation by patient.

    Returns:
        The columns `COLUMNS`. Without pictures in train nothing is carved, so there is no validation.

    Raises:
        DataError: train lacks a class, a class has a single patient, or a readable picture has no label or split.
        LeakageError: a patient or a picture stands in two splits.
    """
    splits = manifest.loc[manifest["status"] == Status.OK, list(COLUMNS)].reset_index(drop=True)
    _require_marks(splits)
    if (splits["split"] == Split.VAL).any():
        splits = _move_copies(splits)
    elif (splits["split"] == Split.TRAIN).any():
        require_both_classes(splits, Split.TRAIN)
        rows = splits.index[splits["split"] == Split.TRAIN]
        chosen = _carve(splits.loc[rows], val_fraction=val_fraction, seed=seed, fold=fold)
        splits.loc[rows[chosen], "split"] = str(Split.VAL)
    check_leakage(splits)
    return splits


def list_used(splits: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of train and val, in the order in which a training caches their images."""
    return splits[splits["split"].isin([Split.TRAIN, Split.VAL])].reset_index(drop=True)


def check_leakage(splits: pd.DataFrame) -> None:
    """Refuse splits that share a patient or a picture (the same bytes).

    Raises:
        LeakageError: names the patients, or the files.
    """
    patients = _find_crossing(splits, "patient")
    if len(patients):
        places = patients.groupby("patient")["split"].unique()
        names = [f"{patient} ({', '.join(sorted(found))})" for patient, found in places.items()]
        raise LeakageError(
            f"{_count(len(names), 'patient stands', 'patients stand')} in more than one split: {_shorten(names)}. Give "
            "each patient one split."
        )
    pictures = _find_crossing(splits, "sha256")
    if len(pictures):
        groups = [
            " = ".join(f"{path} ({split})" for path, split in zip(group["path"], group["split"], strict=True))
            for _, group in pictures.groupby("sha256")
        ]
        raise LeakageError(
            f"{_count(len(groups), 'picture stands', 'pictures stand')} in more than one split: {_shorten(groups)}. "
            "Remove all copies of each but one."
        )


def write_splits(splits: pd.DataFrame, path: Path, *, seed: int, val_fraction: float) -> str:
    """Write splits.csv, and beside it splits.json with seed, val_fraction, hash and counts; return the hash."""
    digest = hash_splits(splits)
    counts = {
        str(split): {
            str(label): int(((splits["split"] == split) & (splits["label"] == label)).sum()) for label in Label
        }
        for split in Split
    }
    write_table(splits.loc[:, list(COLUMNS)], path)
    write_json(
        path.with_suffix(".json"), {"seed": seed, "val_fraction": val_fraction, "hash": digest, "counts": counts}
    )
    return digest


def read_splits(path: Path) -> pd.DataFrame:
    """Read splits.csv and check it against the hash in splits.json.

    Paths are no part of the hash, so they may be changed where data have moved.

    Raises:
        DataError: a file is missing, or splits.csv is no longer what was written.
        LeakageError: a patient or a picture stands in two splits.
    """
    record_path = path.with_suffix(".json")
    splits = read_table(path, texts=COLUMNS, numbers={}).loc[:, list(COLUMNS)]
    expected = read_json(record_path).get("hash")
    if hash_splits(splits) != expected:
        raise DataError(
            f"{path} was changed since it was written: its hash is not the one in {record_path}; restore the file, or "
            "build the splits and what rests on them anew."
        )
    check_leakage(splits)
    return splits


def hash_splits(splits: pd.DataFrame) -> str:
    """Return the SHA-256 of which picture is in which split, whatever the order and wherever the files lie."""
    return hash_rows(splits, _HASHED)


def _require_marks(splits: pd.DataFrame) -> None:
    for column in ("label", "split"):
        without = splits.loc[splits[column] == "", "path"]
        if len(without):
            raise DataError(
                f"{_count(len(without), 'picture has', 'pictures have')} no {column}; the first is {without.iloc[0]}."
            )


def _carve(train: pd.DataFrame, *, val_fraction: float, seed: int, fold: int) -> IntArray:
    """Return the positions of the rows of `train` that validate."""
    groups = join_patients(train)
    strata = train["label"] + "/" + train["pathogen"]
    folds = max(2, round(1 / val_fraction))
    patients = {str(label): len(np.unique(groups[train["label"] == label])) for label in Label}
    rarest = min(patients, key=lambda label: patients[label])
    if patients[rarest] < folds:
        folds = patients[rarest]
        if folds < 2:
            raise DataError(
                f"Train has a single {rarest} patient: no validation can be carved out of it by patient; add patients."
            )
        logger.warning("Train has only %d %s patients: 1/%d of it validates.", folds, rarest, folds)
    for label in Label:
        here = train["label"] == label
        if any(len(np.unique(groups[strata == stratum])) < folds for stratum in strata[here].unique()):
            strata[here] = str(label)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    # With few patients a fold may lack a class; the next one will do.
    usable = [
        chosen
        for kept, chosen in splitter.split(train, strata, groups)
        if train["label"].iloc[kept].nunique() == train["label"].iloc[chosen].nunique() == len(Label)
    ]
    if fold < len(usable):
        return np.asarray(usable[fold], dtype=np.int64)
    if usable:
        raise DataError(f"There is no fold {fold}: train divides into {len(usable)}, which count from 0.")
    raise DataError(
        f"Train has too few patients ({', '.join(f'{n} {label}' for label, n in patients.items())}) to carve out a "
        "validation split with both classes."
    )


def join_patients(rows: pd.DataFrame) -> IntArray:
    """Return a number for each row, the same for patients that a common picture joins, directly or through others."""
    patient, patients = pd.factorize(rows["patient"])
    picture, pictures = pd.factorize(rows["sha256"])
    # A graph of two kinds of nodes, patients and pictures, with an edge for each row.
    size = len(patients) + len(pictures)
    edges = coo_matrix((np.ones(len(rows)), (patient, picture + len(patients))), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    return np.asarray(component[patient], dtype=np.int64)


def _move_copies(splits: pd.DataFrame) -> pd.DataFrame:
    """Move pictures of train to the validation that a table gives where that holds the same bytes.

    PneumoniaMNIST was divided picture by picture, so duplicates cross; a user cannot mend an .npz.
    """
    validating = set(splits.loc[splits["split"] == Split.VAL, "sha256"])
    copies = (splits["split"] == Split.TRAIN) & splits["sha256"].isin(validating)
    if not copies.any():
        return splits
    logger.warning(
        "Moved %d pictures from train to val, which holds the same pictures (such as %s).",
        copies.sum(),
        splits.loc[copies, "path"].iloc[0],
    )
    return splits.assign(split=splits["split"].mask(copies, str(Split.VAL)))


def _find_crossing(splits: pd.DataFrame, column: str) -> pd.DataFrame:
    crossing = splits.groupby(column)["split"].transform("nunique") > 1
    return splits[crossing]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _shorten(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
