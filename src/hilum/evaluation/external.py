"""External validation: what a model is worth on labelled pictures of other sources, with nothing chosen on them.

Each set is scored whole, and by source and age group where its table says them. Calibration and threshold are those of
the model; beside them stands what recalibration on 50 of the pictures would make of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from hilum.data.listing import name_picture, read_rows
from hilum.data.manifest import load_data
from hilum.data.tables import read_header
from hilum.errors import DataError
from hilum.evaluation.calibration import Calibration
from hilum.evaluation.intervals import Estimate, estimate_metrics
from hilum.evaluation.scoring import ScoredSplit, Scorer, score_split, select_unchanged
from hilum.evaluation.thresholds import OperatingPoint
from hilum.evaluation.transfer import SpreadRates, measure_local
from hilum.inference.gate import LEAST_FAMILIAR
from hilum.types import BoolArray, DoubleArray, Split, Status

GROUPS: Final = ("source", "age_group")
"""Columns of a table of pictures by which figures are split."""
LOCAL_PICTURES: Final = 50
LOCAL_DRAWS: Final = 50
QUANTILES: Final = (0.05, 0.5, 0.95)
_LEAST_GROUP: Final = 10


@dataclass(frozen=True, slots=True)
class ExternalSet:
    """Labelled pictures of other sources: a manifest whose rows are all of split test, with the columns of GROUPS."""

    name: str
    manifest: pd.DataFrame


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """What the model gave on a set or a group of it.

    `group` is empty for the whole set. `recalibrated` are sensitivity and specificity on the rest after 50 pictures
    refitted calibration and threshold, over random draws; None where there are too few. `refused` counts what the
    input gate takes for no chest radiograph, None without a gate. `familiarity` are its quantiles of 5, 50 and 95 %,
    `unfamiliar` is the share below 0.01; None where the model knows none.
    """

    name: str
    group: str
    n: int
    positives: int
    estimates: Mapping[str, Estimate]
    recalibrated: SpreadRates | None
    refused: int | None
    familiarity: tuple[float, float, float] | None
    unfamiliar: float | None

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds."""
        local = self.recalibrated
        return {
            "set": self.name,
            "group": self.group,
            "n": self.n,
            "positives": self.positives,
            "metrics": {name: self.estimates[name].to_json() for name in ("auroc", "recall", "specificity", "ece")},
            "recalibrated_on_50": None
            if local is None
            else {"sensitivity": local.sensitivity.mean, "specificity": local.specificity.mean},
            "refused": self.refused,
            "familiarity_quantiles": None if self.familiarity is None else list(self.familiarity),
            "unfamiliar": self.unfamiliar,
        }


def read_external(sets: Mapping[str, Path]) -> list[ExternalSet]:
    """Read labelled sets by name; each is a folder, a table or a .npz, and all its pictures are scored.

    Raises:
        DataError: a set cannot be read, or has no readable picture.
    """
    return [_read(name, path) for name, path in sets.items()]


def look_abroad(
    scorer: Scorer,
    external: Sequence[ExternalSet],
    tested: ScoredSplit,
    point: OperatingPoint,
    *,
    resamples: int,
    seed: int,
) -> list[ExternalResult]:
    """Return the tested split and each external set, measured alike; nothing where there is no such set.

    Args:
        scorer: the model.
        external: the sets.
        tested: the split, scored already.
        point: the model's calibration and threshold.
        resamples: of the intervals.
        seed: of resamples and draws.
    """
    if not external:
        return []
    prior = point.prior or 0.5
    all_rows = np.ones(len(tested.table), dtype=np.bool_)
    own = _measure(
        tested, all_rows, point, name=str(tested.split), group="", prior=prior, resamples=resamples, seed=seed
    )
    results = [own]
    for given in external:
        results += measure_external(scorer, given, point, prior=prior, resamples=resamples, seed=seed)
    return results


def measure_external(
    scorer: Scorer, given: ExternalSet, point: OperatingPoint, *, prior: float, resamples: int, seed: int
) -> list[ExternalResult]:
    """Score a set and measure it whole and by groups of at least two, each with ten pictures or more.

    Args:
        scorer: the model.
        given: the set.
        point: the model's calibration and threshold.
        prior: the share of PNEUMONIA that its probabilities stand for.
        resamples: of the intervals.
        seed: of resamples and draws.
    """
    readable = given.manifest[given.manifest["status"] == Status.OK]
    rows = select_unchanged(readable, Split.TEST, manifest=given.manifest)
    scored = score_split(scorer, rows, Split.TEST, name=given.name)
    groups = given.manifest.set_index("path").loc[scored.table["path"], list(GROUPS)]
    everything = np.ones(len(rows), dtype=np.bool_)
    return [
        _measure(scored, which, point, name=given.name, group=group, prior=prior, resamples=resamples, seed=seed)
        for group, which in [("", everything), *_list_groups(groups)]
        if (which & scored.is_ok).any()
    ]


def _read(name: str, path: Path) -> ExternalSet:
    manifest = load_data(path, splits_matter=False)
    manifest = manifest.assign(split=str(Split.TEST), **dict.fromkeys(GROUPS, ""))
    if path.suffix.lower() == ".csv":
        for column in set(GROUPS) & set(read_header(path)):
            values = {name_picture(path, row["path"]): row[column] for _, row in read_rows(path)}
            manifest[column] = [values.get(reference, "") for reference in manifest["path"]]
    if not (manifest["status"] == Status.OK).any():
        raise DataError(f"The set {name} ({path}) holds no readable picture with a label.")
    return ExternalSet(name, manifest)


def _list_groups(groups: pd.DataFrame) -> Iterator[tuple[str, BoolArray]]:
    for column in GROUPS:
        values = groups[column].to_numpy()
        names = sorted({str(value) for value in values if value and np.sum(values == value) >= _LEAST_GROUP})
        if len(names) > 1:
            yield from ((f"{column.replace('_', ' ')}: {name}", values == name) for name in names)


def _measure(
    scored: ScoredSplit,
    which: BoolArray,
    point: OperatingPoint,
    *,
    name: str,
    group: str,
    prior: float,
    resamples: int,
    seed: int,
) -> ExternalResult:
    chosen = which[scored.is_ok]
    labels, logits = scored.labels[chosen], scored.logits[chosen]
    patients = [patient for patient, wanted in zip(scored.texts("patient"), chosen, strict=True) if wanted]
    estimates = estimate_metrics(
        labels, point.calibrate(logits), patients, threshold=point.threshold, resamples=resamples, seed=seed
    )
    refused, familiarity = scored.refused, scored.familiarity
    known: DoubleArray | None = None if familiarity is None else familiarity[chosen]
    quantiles = None if known is None else np.quantile(known, QUANTILES).tolist()
    return ExternalResult(
        name,
        group,
        int(labels.size),
        int(labels.sum()),
        estimates,
        _recalibrate(labels, logits, patients, point, prior=prior, seed=seed),
        None if refused is None else int(refused[chosen].sum()),
        None if quantiles is None else (quantiles[0], quantiles[1], quantiles[2]),
        None if known is None else float((known < LEAST_FAMILIAR).mean()),
    )


def _recalibrate(
    labels: BoolArray, logits: DoubleArray, patients: Sequence[str], point: OperatingPoint, *, prior: float, seed: int
) -> SpreadRates | None:
    if labels.size < 2 * LOCAL_PICTURES or labels.all() or not labels.any():
        return None
    found = measure_local(
        labels,
        logits,
        list(patients),
        calibration=Calibration(point.temperature, point.intercept),
        prior=prior,
        thresholds={"youden": point.threshold},
        size=LOCAL_PICTURES,
        draws=LOCAL_DRAWS,
        seed=seed,
    )
    return None if found is None else found[0]["youden"]
