"""Counts and distributions of a data set: splits, classes, pathogens, patients, and what the files are like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hilum.errors import DataError
from hilum.types import Label, Pathogen, Split, Status

# Pneumonia whose file name does not tell the pathogen.
UNKNOWN = "unknown"


def combine(manifest: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Return the readable rows of `manifest` with the split that `splits` gives them, numbered from 0.

    Columns are the manifest's, and `aspect` (width over height).

    Raises:
        DataError: a readable picture has no split.
    """
    readable = manifest[manifest["status"] == Status.OK].drop(columns="split")
    frame = readable.merge(splits[["path", "split"]], on="path", how="left", validate="one_to_one")
    lacking = frame["split"].isna()
    if lacking.any():
        raise DataError(
            f"Of the readable pictures {int(lacking.sum())} have no split, for example "
            f"{frame.loc[lacking, 'path'].iloc[0]}; build the splits from the same manifest."
        )
    return frame.assign(aspect=frame["width"] / frame["height"])


def present_splits(frame: pd.DataFrame) -> list[Split]:
    """Return the splits that hold pictures, in the order train, val, test."""
    return [split for split in Split if (frame["split"] == split).any()]


def present_labels(frame: pd.DataFrame) -> list[Label]:
    """Return the classes that hold pictures, NORMAL first."""
    return [label for label in Label if (frame["label"] == label).any()]


def count_pictures(frame: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count pictures by split, and in each by class, pathogen (`unknown`: pneumonia without one) and in all."""
    counts = {}
    for split in present_splits(frame):
        rows = frame[frame["split"] == split]
        pneumonia = rows[rows["label"] == Label.PNEUMONIA]
        counts[str(split)] = {
            **{str(label): int((rows["label"] == label).sum()) for label in Label},
            **{str(pathogen): int((pneumonia["pathogen"] == pathogen).sum()) for pathogen in Pathogen},
            UNKNOWN: int((pneumonia["pathogen"] == "").sum()),
            "total": len(rows),
        }
    return counts


def count_patients(frame: pd.DataFrame) -> dict[str, Any]:
    """Count patients, their pictures, and those that stand in two splits or in both classes.

    A picture whose file name names no patient counts as a patient of its own (`pictures_of_unknown_patients`).
    """
    pictures = frame.groupby("patient").size()
    by_split = {}
    for split in present_splits(frame):
        own = frame[frame["split"] == split].groupby("patient").size()
        by_split[str(split)] = {"patients": len(own), "with_several_pictures": int((own > 1).sum())}
    return {
        "total": len(pictures),
        "pictures": len(frame),
        "by_split": by_split,
        "with_several_pictures": int((pictures > 1).sum()),
        "pictures_per_patient": {
            "mean": float(pictures.mean()),
            "median": float(pictures.median()),
            "max": int(pictures.max()),
        },
        "in_two_splits": sorted(_keys_with_several(frame, "split")),
        "in_both_classes": sorted(_keys_with_several(frame, "label")),
        "pictures_of_unknown_patients": int((~frame["patient_known"].astype(bool)).sum()),
    }


def describe_files(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Describe size, aspect ratio, bytes, mean gray, colour mode and format of the files of each class."""
    described = {}
    for label in present_labels(frame):
        rows = frame[frame["label"] == label]
        described[str(label)] = {
            **{column: summarise(rows[column]) for column in ("width", "height", "aspect", "bytes", "mean")},
            "modes": _count_values(rows["mode"]),
            "formats": _count_values(rows["format"]),
            "sizes": len(rows[["width", "height"]].drop_duplicates()),
        }
    return described


def summarise(values: pd.Series[Any]) -> dict[str, float]:
    """Return minimum, 5th percentile, median, mean, 95th percentile and maximum."""
    numbers = values.to_numpy(dtype=np.float64)
    low, middle, high = np.quantile(numbers, (0.05, 0.5, 0.95))
    return {
        "min": float(numbers.min()),
        "p5": float(low),
        "median": float(middle),
        "mean": float(numbers.mean()),
        "p95": float(high),
        "max": float(numbers.max()),
    }


def list_failures(manifest: pd.DataFrame) -> list[dict[str, str]]:
    """Return path, status and message of each file that could not be read."""
    failed = manifest[manifest["status"] != Status.OK]
    return [
        {"path": str(row.path), "status": str(row.status), "message": str(row.message)}
        for row in failed[["path", "status", "message"]].itertuples(index=False)
    ]


def _keys_with_several(frame: pd.DataFrame, column: str) -> list[str]:
    """Return the patients whose pictures have more than one value of `column`."""
    different = frame.groupby("patient")[column].nunique()
    return [str(key) for key in different.index[different > 1]]


def _count_values(values: pd.Series[str]) -> dict[str, int]:
    return {str(key): int(number) for key, number in values.value_counts().sort_index().items()}
