"""The content of eda.json: everything an audit measured, as plain numbers and texts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hilum import __version__
from hilum.data.audit.census import (
    count_patients,
    count_pictures,
    describe_files,
    list_failures,
    present_labels,
    summarise,
)
from hilum.data.audit.duplicates import NEAR_THRESHOLD, DuplicateGroup, Similarity
from hilum.data.audit.pixels import PixelStatistics
from hilum.data.audit.shortcut import Shortcut, ShortcutCheck
from hilum.types import FloatArray, Label, Split, Status

# Pictures whose gray levels spread less than this (standard deviation) are as good as empty.
_FLAT_CONTRAST = 3.0
# Gray levels below 8, two bands of four, are borders and background.
_BLACK_BANDS = 2
# Mean pictures are compared in 8 x 8 fields of 28 x 28 pixels, which are named from the upper left of the picture on.
_FIELDS = 8
_UPRIGHT = ("upper",) * 3 + ("middle",) * 2 + ("lower",) * 3
_ACROSS = ("left edge", "left", "left", "centre", "centre", "right", "right", "right edge")


def collect_numbers(
    manifest: pd.DataFrame,
    frame: pd.DataFrame,
    *,
    pixels: PixelStatistics,
    exact: Sequence[DuplicateGroup],
    similar: Similarity,
    shortcuts: ShortcutCheck,
    source: str,
    seed: int,
) -> dict[str, Any]:
    """Return the numbers of an audit, ready for JSON; `frame` holds the readable rows of `manifest` with their split.

    Paths are relative to the folder that holds all files (`root`). File properties and gray levels are those of train
    and val alone.
    """
    root = _find_root(manifest["path"])
    named = frame.assign(path=_shorten_paths(frame["path"], root))
    development = named[named["split"] != Split.TEST]
    status = manifest["status"].value_counts()
    return {
        "hilum": __version__,
        "source": source or root,
        "root": root,
        "seed": seed,
        "pictures": {
            "files": len(manifest),
            "readable": len(frame),
            **{str(key): int(number) for key, number in status.items() if key != Status.OK},
        },
        "counts": count_pictures(frame),
        "patients": count_patients(frame),
        "files": describe_files(development),
        "intensity": _describe_intensity(development, pixels),
        "average_difference": _locate_difference(pixels),
        "duplicates": {
            "exact": {
                **_count_groups(named, exact),
                "list": [_name_group(named, group, exact=True) for group in exact],
            },
            "near": {
                **_count_groups(named, similar.groups),
                "threshold": NEAR_THRESHOLD,
                "screened": similar.screened,
                "complete": similar.complete,
                "list": [_name_group(named, group, exact=False) for group in similar.groups],
            },
            "closest_across_test": [
                {
                    "files": [named.at[pair.first, "path"], named.at[pair.second, "path"]],
                    "correlation": pair.correlation,
                }
                for pair in similar.closest_across or ()
            ],
        },
        "flat_pictures": named.loc[pixels.contrast < _FLAT_CONTRAST, "path"].tolist(),
        "unreadable": list_failures(manifest.assign(path=_shorten_paths(manifest["path"], root))),
        "shortcut": {
            "trained_on": shortcuts.trained_on,
            "reason": shortcuts.reason,
            "together": [_write_shortcut(row) for row in shortcuts.together],
            "alone": [_write_shortcut(row) for row in shortcuts.alone],
        },
    }


def rank_groups(frame: pd.DataFrame, groups: Sequence[DuplicateGroup]) -> tuple[DuplicateGroup, ...]:
    """Sort groups: those that cross splits first, then classes, then patients, and larger ones before smaller ones."""

    def rank(group: DuplicateGroup) -> tuple[bool, bool, bool, int, tuple[int, ...]]:
        values = frame.loc[list(group.rows), ["split", "label", "patient"]].nunique()
        return (
            bool(values["split"] == 1),
            bool(values["label"] == 1),
            bool(values["patient"] == 1),
            -len(group.rows),
            group.rows,
        )

    return tuple(sorted(groups, key=rank))


def _find_root(paths: pd.Series[str]) -> str:
    return os.path.commonpath([str(Path(path).parent) for path in paths.unique()])


def _shorten_paths(paths: pd.Series[str], root: str) -> pd.Series[str]:
    return paths.str.removeprefix(root).str.lstrip("/\\")


def _count_groups(frame: pd.DataFrame, groups: Sequence[DuplicateGroup]) -> dict[str, Any]:
    """Count groups and files, in all, within each split, and across splits, classes and patients."""
    tables = [frame.loc[list(group.rows), ["split", "label", "patient"]] for group in groups]
    within: dict[str, dict[str, int]] = {}
    for split in Split:
        own = [table for table in tables if (table["split"] == split).all()]
        within[str(split)] = {"groups": len(own), "files": sum(len(table) for table in own)}
    return {
        "groups": len(groups),
        "files": sum(len(group.rows) for group in groups),
        "within": within,
        "across_splits": sum(table["split"].nunique() > 1 for table in tables),
        "across_classes": sum(table["label"].nunique() > 1 for table in tables),
        "across_patients": sum(table["patient"].nunique() > 1 for table in tables),
    }


def _name_group(frame: pd.DataFrame, group: DuplicateGroup, *, exact: bool) -> dict[str, Any]:
    rows = frame.loc[list(group.rows)]
    return {
        "files": rows["path"].tolist(),
        "splits": [str(value) for value in rows["split"].unique()],
        "labels": [str(value) for value in rows["label"].unique()],
        "patients": [str(value) for value in rows["patient"].unique()],
        "exact": exact,
        "correlation": group.correlation,
    }


def _describe_intensity(development: pd.DataFrame, pixels: PixelStatistics) -> dict[str, dict[str, Any]]:
    """Describe contrast (standard deviation of a picture's gray levels) and the share of black, by class."""
    described = {}
    for label in present_labels(development):
        rows = development.index[development["label"] == label]
        described[str(label)] = {
            "contrast": summarise(pd.Series(pixels.contrast[rows])),
            "black_share": float(pixels.histograms[rows, :_BLACK_BANDS].sum(axis=1).mean()),
            "histogram": [round(float(share), 6) for share in pixels.histograms[rows].mean(axis=0)],
        }
    return described


def _locate_difference(pixels: PixelStatistics) -> dict[str, Any] | None:
    """Say where PNEUMONIA is most brighter and most darker than NORMAL, and by how many gray levels there.

    Compared are the means of 8 x 8 fields.
    """
    if len(pixels.mean) < len(Label):
        return None
    difference: FloatArray = pixels.mean[Label.PNEUMONIA] - pixels.mean[Label.NORMAL]
    side = len(difference) // _FIELDS
    fields = difference.reshape(_FIELDS, side, _FIELDS, side).mean(axis=(1, 3))
    return {
        "brighter": _locate_peak(fields),
        "darker": _locate_peak(-fields),
        "mean_absolute": float(np.abs(difference).mean()),
        "largest_absolute": float(np.abs(difference).max()),
    }


def _locate_peak(fields: FloatArray) -> dict[str, Any]:
    row, column = (int(i) for i in np.unravel_index(int(fields.argmax()), fields.shape))
    where = (
        "centre" if (_UPRIGHT[row], _ACROSS[column]) == ("middle", "centre") else f"{_UPRIGHT[row]} {_ACROSS[column]}"
    )
    return {"where": where, "gray_levels": float(fields[row, column])}


def _write_shortcut(row: Shortcut) -> dict[str, Any]:
    scores = {
        str(split): {"auroc": score.value, "ci_low": score.ci_low, "ci_high": score.ci_high, "n": score.n}
        for split, score in row.scores.items()
    }
    return {"name": row.name, "features": list(row.features), "constant": row.constant, **scores}
