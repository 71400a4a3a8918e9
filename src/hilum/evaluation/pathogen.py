"""Bacterial or viral: what a network that has learnt pathogens says of pneumonias, and of all three classes at once.

The pathogen is read from a second logit. Its threshold is that of the largest J on val; a picture is first
called NORMAL or PNEUMONIA at the operating point, and a PNEUMONIA then bacterial or viral.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.config import EvaluateConfig
from hilum.evaluation.intervals import Estimate, estimate_metrics, estimate_ratios
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import OperatingPoint, fit_youden
from hilum.evaluation.wording import write_interval, write_percent, write_value
from hilum.inference.decision import calibrate, is_positive
from hilum.report.render import Figure, Section, Table
from hilum.report.style import HALF_WIDTH, INK, draw_figure
from hilum.types import BoolArray, DoubleArray, IntArray, Label, Pathogen

CLASSES = (str(Label.NORMAL), str(Pathogen.BACTERIA), str(Pathogen.VIRUS))
_PAIR = ("auroc", "accuracy", "recall", "specificity", "precision", "f1")
_NAMES = {
    "auroc": "AUROC",
    "accuracy": "Accuracy",
    "recall": "Bacterial pneumonias called bacterial",
    "specificity": "Viral pneumonias called viral",
    "precision": "Called bacterial that are",
    "f1": "F1 of bacterial",
}


@dataclass(frozen=True, slots=True)
class PathogenResults:
    """`pair`: metrics of bacterial (positive) against viral over the `n_pair` pneumonias whose pathogen is known.

    `confusion` (3, 3) counts pictures by true class (row) and called class (column), in the order of CLASSES;
    `accuracy`, `recall` and `precision` are of the three classes. `threshold` is on the probability of bacterial.
    """

    threshold: float
    n_pair: int
    pair: Mapping[str, Estimate]
    confusion: IntArray
    accuracy: Estimate
    recall: Mapping[str, Estimate]
    precision: Mapping[str, Estimate]


def measure_pathogens(
    tested: ScoredSplit, val: ScoredSplit | None, point: OperatingPoint, *, config: EvaluateConfig, seed: int
) -> PathogenResults | None:
    """Return what the second logit is worth; None for a network without one, or where a pathogen is missing."""
    if val is None or tested.pathogen_logits is None or val.pathogen_logits is None:
        return None
    val_known, known = _find_known(val), _find_known(tested)
    val_truth, truth = _is_bacterial(val)[val_known], _is_bacterial(tested)[known]
    if any(part.all() or not part.any() for part in (val_truth, truth)):
        return None
    threshold = fit_youden(val_truth, _bacterial(val)[val_known])
    patients = np.array(tested.texts("patient"))
    pair = estimate_metrics(
        truth, _bacterial(tested)[known], patients[known].tolist(),
        threshold=threshold, resamples=config.bootstrap, seed=seed,
    )  # fmt: skip
    counted = known | ~tested.labels  # a pneumonia of unknown pathogen has no third class
    true = np.where(~tested.labels, 0, np.where(_is_bacterial(tested), 1, 2))[counted]
    sick = is_positive(point.calibrate(tested.logits), threshold=point.threshold)
    called = np.where(~sick, 0, np.where(_bacterial(tested) >= threshold, 1, 2))[counted]
    confusion = np.zeros((3, 3), dtype=np.int64)
    np.add.at(confusion, (true, called), 1)
    right = true == called
    ratios: dict[str, tuple[BoolArray | IntArray, BoolArray]] = {"accuracy": (right, np.ones_like(right))}
    for place, name in enumerate(CLASSES):
        ratios[f"recall {name}"] = right & (true == place), true == place
        ratios[f"precision {name}"] = right & (called == place), called == place
    found = estimate_ratios(ratios, patients[counted].tolist(), resamples=config.bootstrap, seed=seed)
    return PathogenResults(
        threshold=threshold,
        n_pair=int(known.sum()),
        pair={name: pair[name] for name in _PAIR},
        confusion=confusion,
        accuracy=found["accuracy"],
        recall={name: found[f"recall {name}"] for name in CLASSES},
        precision={name: found[f"precision {name}"] for name in CLASSES},
    )


def pathogens_to_json(results: PathogenResults) -> dict[str, Any]:
    """Return what metrics.json holds under "pathogen"."""
    return {
        "threshold": results.threshold,
        "bacterial_against_viral": {
            "n": results.n_pair,
            **{name: estimate.to_json() for name, estimate in results.pair.items()},
        },
        "three_classes": {
            "classes": list(CLASSES),
            "confusion": results.confusion.tolist(),
            "accuracy": results.accuracy.to_json(),
            "recall": {name: estimate.to_json() for name, estimate in results.recall.items()},
            "precision": {name: estimate.to_json() for name, estimate in results.precision.items()},
        },
    }


def build_pathogen_section(results: PathogenResults, path: Path, *, split: str) -> Section:
    """Return the report's section, and draw its figure to `path`."""
    rows = [[_NAMES[name], *_write_cells(estimate)] for name, estimate in results.pair.items()]
    pair = Table(
        ("Bacterial against viral", split, "95 % interval"),
        rows,
        caption=f"{results.n_pair:,} pneumonias whose pathogen the file name tells, at a threshold fitted on val.",
    )
    three = Table(
        ("Class", "Recall", "95 % interval", "Precision", "95 % interval"),
        [[name, *_write_cells(results.recall[name]), *_write_cells(results.precision[name])] for name in CLASSES],
        caption=f"All three classes at once: {write_value(results.accuracy, percent=True)} called right "
        f"(95 % interval {write_interval(results.accuracy, percent=True)}).",
    )
    told = (
        "The labels come from file names and mean what two graders read in the picture, not what a laboratory found. "
        f"Of pneumonias that are bacterial {write_value(results.pair['recall'], percent=True)} are called so, of viral "
        f"ones {write_value(results.pair['specificity'], percent=True)}."
    )
    return Section("Bacterial or viral", [told, pair, three, _draw_confusion(results, path, split=split)])


def _draw_confusion(results: PathogenResults, path: Path, *, split: str) -> Figure:
    cells, totals = results.confusion, results.confusion.sum(1, keepdims=True)
    shares = np.divide(cells, totals, out=np.zeros(cells.shape), where=totals > 0)
    with draw_figure(path, width=HALF_WIDTH, height=4.8) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        for (row, column), count in np.ndenumerate(cells):
            colour = "white" if shares[row, column] > 0.6 else INK
            text = f"{count:,}\n{write_percent(float(shares[row, column]))}"
            axes.text(column, row, text, ha="center", va="center", fontsize=12, color=colour)
        axes.set_xticks(range(3), [f"called {name}" for name in CLASSES])
        axes.set_yticks(range(3), CLASSES)
        axes.set(title=f"Three classes, {split}", ylabel="label")
    mixed = int(cells[1, 2] + cells[2, 1])
    missed = int(cells[1, 0] + cells[2, 0])
    caption = (
        f"{mixed:,} pneumonias get the other pathogen and {missed:,} are called NORMAL; percentages are of each row."
    )
    return Figure(path, "Confusion matrix of three classes.", caption, alt=f"Confusion matrix. {caption}")


def _write_cells(estimate: Estimate) -> list[str]:
    if estimate.value is None:
        return ["–", estimate.reason or ""]
    return [write_value(estimate), write_interval(estimate)]


def _find_known(scored: ScoredSplit) -> BoolArray:
    names = np.array(scored.texts("pathogen"))
    return np.asarray(np.isin(names, [str(kind) for kind in Pathogen]) & scored.labels)


def _is_bacterial(scored: ScoredSplit) -> BoolArray:
    return np.asarray(np.array(scored.texts("pathogen")) == Pathogen.BACTERIA)


def _bacterial(scored: ScoredSplit) -> DoubleArray:
    """Return the probability of bacterial, given a pneumonia, (n,)."""
    assert scored.pathogen_logits is not None
    return calibrate(-scored.pathogen_logits, temperature=1.0)
