"""One run of a search: train, or train on, and measure the best weights. `hilum study` and `hilum tune` call it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from hilum.config import Config
from hilum.errors import EvaluationError
from hilum.evaluation.calibration import fit_temperature
from hilum.evaluation.metrics import MetricSet
from hilum.evaluation.robust import ScorePictures, assess
from hilum.evaluation.thresholds import fit_youden
from hilum.files import write_json
from hilum.inference.decision import calibrate
from hilum.model import run as run_folder
from hilum.model import training
from hilum.model.loop import EpochHook
from hilum.model.scoring import RunScorer
from hilum.model.training import TrainingResult
from hilum.research.names import FURTHER
from hilum.research.prepared import open_battery, open_further, open_val
from hilum.research.sets import FurtherSet
from hilum.types import BoolArray, DoubleArray, UInt8Array

FIGURES = "figures.json"
"""Written last: a run folder that holds it is done."""

Figures = TypeVar("Figures", bound=Mapping[str, float | None])
"""Figures of a run by name; None where one is not defined."""


@dataclass(frozen=True, slots=True)
class RunOutcome(Generic[Figures]):
    """What a run reached. `seconds` are those of all of it, `train_seconds` those of its epochs, in all sittings."""

    training: TrainingResult
    figures: Figures
    seconds: float
    train_seconds: float
    images_per_second: float


def run_one(
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    folder: Path,
    config: Config,
    *,
    measure: Callable[[Path], Figures],
    device: str = "auto",
    on_epoch: EpochHook | None = None,
) -> RunOutcome[Figures]:
    """Train into `folder`, or continue the run that it holds, and measure its best weights by `measure`.

    What `on_epoch` raises ends the run; a later call continues it from its last checkpoint.

    Raises:
        HilumError: the training or the measuring fails.
        EvaluationError: the loss on val is not finite.
    """
    started = time.perf_counter()
    before = _sum_seconds(folder)
    if run_folder.is_run(folder):
        result = training.resume(folder, device=device, on_epoch=on_epoch)
    else:
        result = training.train(manifest, splits, folder, config, device=device, on_epoch=on_epoch)
    if not math.isfinite(result.val_loss):
        raise EvaluationError("The training diverged: the loss on val is not finite; lower train.lr.")
    figures = measure(folder)
    history = pd.read_csv(folder / run_folder.HISTORY)
    return RunOutcome(
        result,
        figures,
        round(before + time.perf_counter() - started, 2),
        float(history["seconds"].sum()),
        float(history["pictures_per_second"].median()),
    )


def _sum_seconds(folder: Path) -> float:
    """Return the time that earlier sittings trained, as far as it is known."""
    history = folder / run_folder.HISTORY
    return float(pd.read_csv(history)["seconds"].sum()) if history.exists() else 0.0


@dataclass(frozen=True, slots=True)
class StudyMeasure:
    """The figures of a run of a study: on val, under the battery on `robust` images of val, and on further sets.

    Temperature and threshold are fitted on val: the lowest log loss, then Youden's J of the calibrated probabilities.
    """

    splits: pd.DataFrame
    sets: tuple[FurtherSet, ...]
    robust: int
    device: str

    def __call__(self, run: Path) -> dict[str, float | None]:
        """Score the best weights of a run."""
        scorer = RunScorer.open(run, device=self.device, unfinished=True)
        config = scorer.run.config
        images, labels = open_val(self.splits, config)
        logits = _score(scorer.score_prepared, images)
        temperature = fit_temperature(labels, logits)
        threshold = fit_youden(labels, calibrate(logits, temperature=temperature))

        def judge(source: str, labels: BoolArray, logits: DoubleArray) -> dict[str, float | None]:
            probabilities = calibrate(logits, temperature=temperature)
            return {f"{source}.{name}": value for name, value in measure_set(labels, probabilities, threshold).items()}

        figures = judge("val", labels, logits)
        figures = {name: value for name, value in figures.items() if name not in ("val.auroc", "val.ece")}
        figures |= {"val.n": labels.size, "val.temperature": temperature, "val.threshold": threshold}
        if self.robust:
            changed, sampled = open_battery(self.splits, config, count=self.robust)
            quickly = partial(_score, scorer.score_quickly)
            assessment = assess(quickly, changed[0], sampled, changed=changed[1:])
            figures |= {f"robust.{name}": value for name, value in assessment.summarise().items()}
            figures["robust.n"] = sampled.size
        for further in self.sets:
            logits = _score(scorer.score_prepared, open_further(further, config))
            figures |= judge(further.name, further.labels, logits)
            figures[f"{further.name}.n"] = further.labels.size
        return figures


def _score(score: ScorePictures, images: UInt8Array) -> DoubleArray:
    """Return the logits (n,) of prepared images (n, size, size).

    Raises:
        EvaluationError: one of them is not finite.
    """
    logits = score(images)
    if not np.isfinite(logits).all():
        raise EvaluationError("The trained network gives values that are not finite; lower train.lr.")
    return logits


def measure_set(labels: BoolArray, probabilities: DoubleArray, threshold: float) -> dict[str, float | None]:
    """Return AUROC, sensitivity, specificity, balanced accuracy and ECE; None where a class is missing.

    Shapes: both (n,). Probabilities are calibrated, in [0, 1].
    """
    found = MetricSet(labels, probabilities, threshold=threshold).compute(np.ones((1, labels.size)))
    values = {name: float(value[0]) for name, value in found.items()}
    values["sensitivity"] = values["recall"]
    values["balanced_accuracy"] = (values["recall"] + values["specificity"]) / 2
    return {name: values[name] if math.isfinite(values[name]) else None for name in FURTHER}


def write_figures(folder: Path, outcome: RunOutcome[dict[str, float | None]]) -> dict[str, float | None]:
    """Write figures.json into a run folder, all figures of the run by name; return them."""
    figures: dict[str, float | None] = {
        "best_epoch": outcome.training.best_epoch,
        "val.auroc": outcome.training.val_auroc,
        "val.loss": outcome.training.val_loss,
        **outcome.figures,
        "seconds": outcome.seconds,
        "images_per_second": outcome.images_per_second,
    }
    write_json(folder / FIGURES, figures)
    return figures
