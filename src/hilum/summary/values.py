"""Numbers of several evaluations as one cell: a single one with its interval, several as mean ± standard deviation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

_SKIPPED = ("note", "seed", "draws", "method", "reason", "n", "model", "forward_passes", "cells", "empty")
_SHORT_FORMS = {"auroc": "AUROC", "auprc": "AUPRC", "ece": "ECE", "cam": "heat map", "f1": "F1", "mcc": "MCC"}
_NAMES = ("name", "rule", "condition", "kind")


def to_number(leaf: Any) -> float | None:
    """Return a number, or the value of an estimate ({"value": ..}) or of a spread ({"mean": ..}); None otherwise."""
    if isinstance(leaf, Mapping):
        leaf = leaf.get("value", leaf.get("mean"))
    if isinstance(leaf, bool) or not isinstance(leaf, int | float) or not math.isfinite(leaf):
        return None
    return float(leaf)


def write_number(value: float | None, *, digits: int = 3) -> str:
    """Write a number with fixed decimals, None as a dash."""
    return "–" if value is None else f"{value + 0.0:.{digits}f}"


def write_leaf(leaf: Any) -> str:
    """Write one number, with its interval in brackets where it has one; a count without decimals."""
    if isinstance(leaf, int):
        return f"{leaf:,}"
    value = write_number(to_number(leaf))
    if not isinstance(leaf, Mapping):
        return value
    low, high = (leaf.get(side, leaf.get(f"ci_{side}")) for side in ("low", "high"))
    return value if low is None or high is None else f"{value} ({write_number(low)} to {write_number(high)})"


def write_over_runs(leaves: Sequence[Any]) -> str:
    """Write the same figure of all runs: alone with its interval, else mean ± sample standard deviation.

    A dash where one of the runs lacks it: a mean of fewer would be another figure.
    """
    if len(leaves) == 1 or (isinstance(leaves[0], int) and len(set(map(repr, leaves))) == 1):
        return write_leaf(leaves[0])
    values = [to_number(leaf) for leaf in leaves]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "–"
    return f"{write_number(float(np.mean(known)))} ± {write_number(float(np.std(known, ddof=1)))}"


def list_leaves(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each number, estimate or spread inside nested mappings with its path, whatever their form.

    Mappings in a list are named by their name, rule or condition, else by their place from 1; other lists, such as
    curves and confusion matrices, are no single figures and left out.
    """
    if to_number(content) is not None:
        yield path, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if key not in _SKIPPED:
                yield from list_leaves(value, (*path, str(key)))
    elif isinstance(content, list):
        for place, item in enumerate(content, start=1):
            if isinstance(item, Mapping):
                yield from list_leaves(item, (*path, _name_item(item, place)))


def _name_item(item: Mapping[str, Any], place: int) -> str:
    names = [str(item[key]) for key in _NAMES if isinstance(item.get(key), str)]
    return names[0] if names else str(place)


def humanise(path: Sequence[str]) -> str:
    """Write a path of keys for readers: ("masked", "auroc_only_lungs") as "masked: AUROC only lungs"."""
    return ": ".join(" ".join(_SHORT_FORMS.get(word, word) for word in key.split("_")) for key in path)


def tabulate_anything(contents: Sequence[Any]) -> list[list[str]]:
    """Return rows (what, figure over the runs) of every number that all `contents`, one a run, have in common."""
    leaves = [dict(list_leaves(content)) for content in contents]
    return [
        [humanise(path), write_over_runs([found[path] for found in leaves])]
        for path in leaves[0]
        if all(path in found for found in leaves)
    ]
