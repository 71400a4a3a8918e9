"""Names of the figures of a run: what there is, how it is written for a reader, and which way is better.

A name is SOURCE.FIGURE: `val` is the validation set, `robust` val under the battery, any other a further set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

VAL = ("auroc", "loss", "balanced_accuracy", "sensitivity", "specificity")
ROBUST = (
    "objective",
    *(
        f"{figure}_{case}"
        for figure in ("auroc", "brier", "sensitivity", "specificity", "balanced_accuracy")
        for case in ("mean", "worst")
    ),
)
FURTHER = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "ece")

_LOWER = ("loss", "brier", "ece")
_WORDS = {"auroc": "AUROC", "ece": "ECE"}
_WHOLE: Mapping[str, str] = {
    "robust.objective": "robust objective",
    "best_epoch": "best epoch",
    "images_per_second": "images/s",
}


def list_rankable(sets: Iterable[str], *, robust: bool) -> list[str]:
    """Return the figures by which recipes can be ranked."""
    names = [f"val.{figure}" for figure in VAL] + [f"robust.{figure}" for figure in ROBUST] * robust
    return names + [f"{name}.{figure}" for name in sets for figure in FURTHER]


def list_main(sets: Iterable[str], *, robust: bool, rank_by: str) -> list[str]:
    """Return the figures that a reader looks at, the most telling first: tables show as many as they have room for."""
    sets = list(sets)
    names = [rank_by, *(f"{name}.auroc" for name in sets), *["robust.objective"] * robust, "val.auroc", "val.loss"]
    names += [f"{name}.{figure}" for name in sets for figure in ("balanced_accuracy", "ece")]
    names += ["val.balanced_accuracy", *["robust.auroc_worst", "robust.balanced_accuracy_worst"] * robust]
    return list(dict.fromkeys(names))


def is_lower_better(name: str) -> bool:
    """Return whether a smaller value of a figure is the better one."""
    return name.rpartition(".")[2].startswith(_LOWER)


def write_name(name: str) -> str:
    """Return the name of a figure for a reader, such as "nih balanced accuracy"."""
    if name in _WHOLE:
        return _WHOLE[name]
    source, _, figure = name.rpartition(".")
    *words, last = figure.split("_")
    ordered = [last, *words] if last in ("mean", "worst") else [*words, last]
    return " ".join([source, *(_WORDS.get(word, word) for word in ordered)]).strip()
