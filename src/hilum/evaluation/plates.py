"""All figures of a report, drawn and grouped by the section that they stand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.evaluation import figures, gallery, score_figures
from hilum.evaluation.architecture import draw_architecture
from hilum.evaluation.background import Background
from hilum.evaluation.decision_figures import draw_transfer
from hilum.evaluation.results import Results
from hilum.evaluation.scoring import ScoredSplit
from hilum.report.render import Figure

_SURE_CASES = 6


@dataclass(frozen=True, slots=True)
class Plates:
    """The figures of a report by the section that they stand in."""

    decisions: Sequence[Figure]
    scores: Sequence[Figure]
    transfer: Sequence[Figure]
    pictures: Sequence[Figure]
    network: Sequence[Figure]


def draw_plates(
    results: Results,
    tested: ScoredSplit,
    val: ScoredSplit | None,
    predictions: pd.DataFrame,
    folder: Path,
    *,
    classes: Mapping[str, Any],
    worst: int,
    full_scale: float,
    background: Background,
    network: str,
) -> Plates:
    """Draw all figures that these data allow into `folder`.

    `classes` is scikit-learn's classification report as a dictionary, `worst` the number of mistakes to show,
    `full_scale` the evidence in logits at which heat maps saturate, `network` what the network is called.
    """
    return Plates(
        decisions=_draw_decisions(results, classes, folder),
        scores=_draw_scores(results, tested, val, folder),
        transfer=_draw_transfer(results, folder),
        pictures=_draw_pictures(results, predictions, tested, folder, count=worst, full_scale=full_scale),
        network=_draw_network(background, network, folder),
    )


def _draw_decisions(results: Results, classes: Mapping[str, Any], folder: Path) -> list[Figure]:
    drawn = [
        figures.draw_confusion_matrix(results.tested, folder / "confusion_matrix.png"),
        figures.draw_classification_report(classes, folder / "classification_report.png"),
    ]
    if results.by_pathogen:
        drawn.append(figures.draw_recall_by_pathogen(results, folder / "recall_by_pathogen.png"))
    return drawn


def _draw_scores(results: Results, tested: ScoredSplit, val: ScoredSplit | None, folder: Path) -> list[Figure]:
    drawn = []
    both = results.tested.estimates["auroc"].value is not None
    if both:
        drawn += [
            score_figures.draw_roc(tested, results, folder / "roc.png"),
            score_figures.draw_precision_recall(tested, results, folder / "precision_recall.png"),
        ]
    drawn += [
        score_figures.draw_score_histogram(tested, results, folder / "score_histogram.png"),
        score_figures.draw_calibration(tested, results, folder / "calibration.png"),
    ]
    if both:
        drawn.append(score_figures.draw_threshold_transfer(tested, val, results, folder / "threshold_transfer.png"))
    return drawn


def _draw_transfer(results: Results, folder: Path) -> list[Figure]:
    transfer = results.decisions.transfer
    if transfer is None:
        return []
    source = results.decisions.source
    return [draw_transfer(transfer, folder / "transfer.png", split=results.tested.split, source=source)]


def _draw_pictures(
    results: Results,
    predictions: pd.DataFrame,
    tested: ScoredSplit,
    folder: Path,
    *,
    count: int,
    full_scale: float,
) -> list[Figure]:
    drawn = []
    mistakes = gallery.pick_mistakes(predictions, tested.cams, count=count)
    if mistakes:
        path, threshold = folder / "worst_mistakes.png", results.point.threshold
        drawn.append(gallery.draw_mistakes(mistakes, path, threshold=threshold, full_scale=full_scale))
    correct = gallery.pick_correct(predictions, tested.cams, count=min(_SURE_CASES, count))
    if correct:
        drawn.append(gallery.draw_correct(correct, folder / "sure_and_right.png", full_scale=full_scale))
    return drawn


def _draw_network(background: Background, network: str, folder: Path) -> list[Figure]:
    drawn = []
    if background.stages:
        drawn.append(draw_architecture(background.stages, folder / "architecture.png", name=network))
    if background.learning_curves is not None:
        caption = "Loss and AUROC by epoch; the epoch marked as chosen is the one that was evaluated."
        drawn.append(
            Figure(
                background.learning_curves, "Learning curves.", caption, alt=f"Learning curves. {caption}", wide=True
            )
        )
    return drawn
