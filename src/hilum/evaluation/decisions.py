"""What each operating point, the grey zone and conformal sets are worth, on val and on the split in question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.bundle import OperatingPointSpec
from hilum.evaluation.conformal import ConformalResult, ConformalRule, conformal_to_json, measure_conformal
from hilum.evaluation.intervals import Estimate, estimate_ratios
from hilum.evaluation.points import sort_points
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import OperatingPoint
from hilum.evaluation.transfer import Rates, Transfer, measure_transfer, transfer_to_json
from hilum.evaluation.wording import write_list
from hilum.inference.decision import is_positive
from hilum.inference.grey_zone import GreyZone
from hilum.types import BoolArray, DoubleArray, Zone

RATES = ("sensitivity", "specificity", "ppv", "npv")
ZONE_FIGURES = (*(str(zone) for zone in Zone), "pneumonia_in_ruled_out", "normal_in_ruled_in")
_RESAMPLES_A_DRAW = 5


@dataclass(frozen=True, slots=True)
class PointResult:
    """An operating point with its RATES; those of `val` are None where val was not scored."""

    name: str
    spec: OperatingPointSpec
    val: Mapping[str, Estimate] | None
    tested: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class GreyZoneResult:
    """The zones with their ZONE_FIGURES: the share of pictures in each, and the errors among those ruled out and in."""

    zone: GreyZone
    val: Mapping[str, Estimate] | None
    tested: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Decisions:
    """All of it. `points` are in the order of their thresholds.

    `conformal` is empty where the model has no sets or the split is val itself; `transfer` is None where the split is
    val or lacks a class.
    """

    points: tuple[PointResult, ...] = ()
    grey_zone: GreyZoneResult | None = None
    conformal: tuple[ConformalResult, ...] = ()
    transfer: Transfer | None = None

    @property
    def source(self) -> str:
        """Which pictures chose the operating points, as a reader is to hear it: "val", or "local pictures"."""
        # What stands after a comma says how they were used.
        return write_list(sorted({result.spec.chosen_on.partition(",")[0] for result in self.points}))


def measure_decisions(
    tested: ScoredSplit,
    val: ScoredSplit | None,
    point: OperatingPoint,
    points: Mapping[str, OperatingPointSpec],
    *,
    resamples: int,
    seed: int,
    conformal: Sequence[ConformalRule] = (),
) -> Decisions:
    """Measure what is fixed, operating points and prediction sets, on a scored split, and on val where it is scored."""
    if not points:
        return Decisions()
    points = sort_points(points)
    zone = GreyZone.find(points, threshold=point.threshold)

    def rate(scored: ScoredSplit) -> dict[str, Estimate]:
        labels, probabilities = scored.labels, point.calibrate(scored.logits)
        ratios = _list_rates(labels, probabilities, points)
        if zone is not None:
            ratios |= _list_zones(labels, probabilities, zone)
        return estimate_ratios(ratios, scored.texts("patient"), resamples=resamples, seed=seed)

    own = None if val is None else rate(val)
    other = own if own is not None and val is not None and tested.split is val.split else rate(tested)
    results = tuple(
        PointResult(name, spec, None if own is None else _pick(own, name), _pick(other, name))
        for name, spec in points.items()
    )
    apart = val is None or val.split is not tested.split
    return Decisions(
        points=results,
        grey_zone=None
        if zone is None
        else GreyZoneResult(
            zone,
            None if own is None else {name: own[name] for name in ZONE_FIGURES},
            {name: other[name] for name in ZONE_FIGURES},
        ),
        conformal=tuple(_measure_conformal(rule, tested, point, resamples=resamples, seed=seed) for rule in conformal)
        if apart
        else (),
        transfer=_measure_transfer(tested, results, point, resamples=resamples, seed=seed) if apart else None,
    )


def _pick(estimates: Mapping[str, Estimate], name: str) -> dict[str, Estimate]:
    return {rate: estimates[f"{name} {rate}"] for rate in RATES}


def _list_rates(
    labels: BoolArray, probabilities: DoubleArray, points: Mapping[str, OperatingPointSpec]
) -> dict[str, tuple[BoolArray, BoolArray]]:
    ratios = {}
    for name, spec in points.items():
        called = is_positive(probabilities, threshold=spec.threshold)
        ratios[f"{name} sensitivity"] = called, labels
        ratios[f"{name} specificity"] = ~called, ~labels
        ratios[f"{name} ppv"] = labels, called
        ratios[f"{name} npv"] = ~labels, ~called
    return ratios


def _list_zones(
    labels: BoolArray, probabilities: DoubleArray, zone: GreyZone
) -> dict[str, tuple[BoolArray, BoolArray]]:
    places = np.array([zone.place(float(value)) for value in probabilities])
    every = np.ones_like(labels)
    return {
        **{str(name): (places == name, every) for name in Zone},
        "pneumonia_in_ruled_out": (labels, places == Zone.RULED_OUT),
        "normal_in_ruled_in": (~labels, places == Zone.RULED_IN),
    }


def _measure_conformal(
    rule: ConformalRule, tested: ScoredSplit, point: OperatingPoint, *, resamples: int, seed: int
) -> ConformalResult:
    return measure_conformal(
        rule,
        tested.labels,
        point.calibrate(tested.logits),
        tested.texts("patient"),
        resamples=resamples,
        seed=seed,
    )


def _measure_transfer(
    tested: ScoredSplit, points: tuple[PointResult, ...], point: OperatingPoint, *, resamples: int, seed: int
) -> Transfer | None:
    labels = tested.labels
    if labels.all() or not labels.any() or point.prior is None:
        return None
    known = {
        result.name: Rates(result.val["sensitivity"], result.val["specificity"])
        if result.val
        else Rates(Estimate(result.spec.sensitivity), Estimate(result.spec.specificity))
        for result in points
    }
    return measure_transfer(
        labels,
        tested.logits,
        tested.texts("patient"),
        calibration=point.calibration,
        prior=point.prior,
        points={result.name: result.spec for result in points},
        known=known,
        resamples=resamples,
        draws=resamples // _RESAMPLES_A_DRAW,
        seed=seed,
    )


def decisions_to_json(decisions: Decisions) -> dict[str, Any]:
    """Return the entries operating_points, grey_zone, conformal and transfer of metrics.json."""
    return {
        "operating_points": [_point_to_json(result) for result in decisions.points],
        "grey_zone": None if decisions.grey_zone is None else _zone_to_json(decisions.grey_zone),
        "conformal": [conformal_to_json(result) for result in decisions.conformal],
        "transfer": None if decisions.transfer is None else transfer_to_json(decisions.transfer),
    }


def _point_to_json(result: PointResult) -> dict[str, Any]:
    val = result.val
    return {
        "name": result.name,
        "rule": result.spec.rule,
        "threshold": result.spec.threshold,
        "val_sensitivity": result.spec.sensitivity if val is None else val["sensitivity"].value,
        "val_specificity": result.spec.specificity if val is None else val["specificity"].value,
        "sensitivity": result.tested["sensitivity"].value,
        "specificity": result.tested["specificity"].value,
        "val": None if val is None else {name: estimate.to_json() for name, estimate in val.items()},
        "tested": {name: estimate.to_json() for name, estimate in result.tested.items()},
    }


def _zone_to_json(result: GreyZoneResult) -> dict[str, Any]:
    return {
        "rule_out_below": result.zone.low,
        "rule_in_from": result.zone.high,
        "rule_in_point": result.zone.rule_in,
        "empty": result.zone.is_empty,
        "val": None if result.val is None else {name: estimate.to_json() for name, estimate in result.val.items()},
        "tested": {name: estimate.to_json() for name, estimate in result.tested.items()},
    }
