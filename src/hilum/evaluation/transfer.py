"""What becomes of operating points on other pictures: as they are, with an adapted prior, and recalibrated locally.

This is an analysis of the evaluated split. Nothing of it is fed back into the model: each recalibration is fitted on
some pictures of that split and measured on the others, and then thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from hilum.bundle import OperatingPointSpec
from hilum.evaluation.adaptation import estimate_prior, refit_locally, shift_probabilities
from hilum.evaluation.calibration import Calibration, expected_calibration_error
from hilum.evaluation.intervals import Estimate, estimate_ratios
from hilum.inference.decision import is_positive
from hilum.types import BoolArray, DoubleArray, IntArray

SIZES: Final = (20, 50, 100)
_TAILS = (5, 95)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean of a figure over repeated draws, and its 5th and 95th percentile."""

    mean: float
    low: float
    high: float

    @classmethod
    def summarise(cls, values: DoubleArray) -> Spread:
        """Summarise (draws,)."""
        low, high = np.percentile(values, _TAILS)
        return cls(float(values.mean()), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Rates:
    """Sensitivity and specificity with intervals."""

    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True)
class SpreadRates:
    """Sensitivity and specificity over draws."""

    sensitivity: Spread
    specificity: Spread


@dataclass(frozen=True, slots=True)
class PointTransfer:
    """One operating point. `known` are its rates where it was chosen; `recalibrated` is by number of local pictures."""

    threshold: float
    known: Rates
    as_is: Rates
    adapted: Rates
    recalibrated: Mapping[int, SpreadRates]


@dataclass(frozen=True, slots=True)
class Transfer:
    """All operating points, with the expected calibration error by the same steps.

    `assumed` is the share of PNEUMONIA that the probabilities stand for, `estimated` the one that EM finds without
    labels, `observed` the true one.
    """

    assumed: float
    estimated: float
    observed: float
    points: Mapping[str, PointTransfer]
    ece_as_is: float
    ece_adapted: float
    ece_recalibrated: Mapping[int, Spread]
    draws: int
    seed: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of local pictures that the split was large enough for."""
        return tuple(self.ece_recalibrated)


def measure_transfer(
    labels: BoolArray,
    logits: DoubleArray,
    patients: list[str],
    *,
    calibration: Calibration,
    prior: float,
    points: Mapping[str, OperatingPointSpec],
    known: Mapping[str, Rates],
    resamples: int,
    draws: int,
    seed: int,
) -> Transfer:
    """Measure how operating points carry over to a split of both classes.

    Args:
        labels: (n,), as are `logits` and `patients`.
        logits: those of the network.
        patients: whose pictures are drawn together.
        calibration: of the model.
        prior: the share of PNEUMONIA that its probabilities stand for.
        points: of the model, by name.
        known: what they gave where they were chosen.
        resamples: of the intervals.
        draws: how often local pictures are drawn for each of SIZES; sizes above half of the split are left out.
        seed: of resamples and draws.
    """
    probabilities = calibration.apply(logits)
    estimated = estimate_prior(probabilities, trained=prior)
    adapted = shift_probabilities(probabilities, trained=prior, deployed=estimated)
    thresholds = {name: point.threshold for name, point in points.items()}

    def rate(values: DoubleArray) -> dict[str, Rates]:
        return _measure_rates(labels, values, patients, thresholds, resamples=resamples, seed=seed)

    as_is, moved = rate(probabilities), rate(adapted)
    rates: dict[int, dict[str, SpreadRates]] = {}
    errors = {}
    for size in SIZES:
        if size > labels.size / 2:
            continue
        found = measure_local(
            labels, logits, patients,
            calibration=calibration, prior=prior, thresholds=thresholds, size=size, draws=draws, seed=seed,
        )  # fmt: skip
        if found is not None:
            rates[size], errors[size] = found
    return Transfer(
        assumed=prior,
        estimated=estimated,
        observed=float(labels.mean()),
        points={
            name: PointTransfer(
                threshold, known[name], as_is[name], moved[name], {size: rates[size][name] for size in rates}
            )
            for name, threshold in thresholds.items()
        },
        ece_as_is=expected_calibration_error(labels, probabilities),
        ece_adapted=expected_calibration_error(labels, adapted),
        ece_recalibrated=errors,
        draws=draws,
        seed=seed,
    )


def measure_local(
    labels: BoolArray,
    logits: DoubleArray,
    patients: list[str],
    *,
    calibration: Calibration,
    prior: float,
    thresholds: Mapping[str, float],
    size: int,
    draws: int,
    seed: int,
) -> tuple[dict[str, SpreadRates], Spread] | None:
    """Return rates by threshold and ECE on the rest after `size` local pictures refitted calibration and thresholds.

    None where no draw leaves both classes on either side; arguments are as for `measure_transfer`.
    """
    found = [
        _recalibrate(labels, logits, drawn, left, calibration=calibration, prior=prior, thresholds=thresholds)
        for drawn, left in draw_local(labels, patients, size=size, draws=draws, seed=seed)
    ]
    if not found:
        return None
    table = np.array([rows for rows, _ in found])
    rates = {
        name: SpreadRates(Spread.summarise(table[:, place, 0]), Spread.summarise(table[:, place, 1]))
        for place, name in enumerate(thresholds)
    }
    return rates, Spread.summarise(np.array([error for _, error in found]))


def draw_local(
    labels: BoolArray, patients: list[str], *, size: int, draws: int, seed: int
) -> Iterator[tuple[IntArray, BoolArray]]:
    """Yield which pictures were drawn, (size,) places, and which are left, (n,): those of patients that were not drawn.

    Patients come in a random order until each class has its share of `size`, at least one picture. Draws that leave a
    class without a picture, on either side, are left out.
    """
    _, cluster = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    positives = min(max(round(size * float(labels.mean())), 1), size - 1)
    random = np.random.default_rng(seed)
    for _ in range(draws):
        order = np.argsort(random.permutation(int(cluster.max()) + 1)[cluster], kind="stable")
        drawn = np.concatenate(
            [order[labels[order]][:positives], order[~labels[order]][: size - positives]],
        )
        left = ~np.isin(cluster, cluster[drawn])
        if drawn.size == size and labels[left].any() and not labels[left].all():
            yield drawn, left


def _recalibrate(
    labels: BoolArray,
    logits: DoubleArray,
    drawn: IntArray,
    left: BoolArray,
    *,
    calibration: Calibration,
    prior: float,
    thresholds: Mapping[str, float],
) -> tuple[list[tuple[float, float]], float]:
    """Return sensitivity and specificity of each point, and the ECE, on the pictures that are left."""
    fit = refit_locally(labels[drawn], logits[drawn], known=calibration, prior=prior, thresholds=thresholds)
    probabilities, truth = fit.calibration.apply(logits[left]), labels[left]
    rates = []
    for threshold in fit.thresholds.values():
        called = is_positive(probabilities, threshold=threshold)
        rates.append((float(called[truth].mean()), float((~called)[~truth].mean())))
    return rates, expected_calibration_error(truth, probabilities)


def _measure_rates(
    labels: BoolArray,
    probabilities: DoubleArray,
    patients: list[str],
    thresholds: Mapping[str, float],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Rates]:
    ratios = {}
    for name, threshold in thresholds.items():
        called = is_positive(probabilities, threshold=threshold)
        ratios[f"{name} sensitivity"] = called, labels
        ratios[f"{name} specificity"] = ~called, ~labels
    estimates = estimate_ratios(ratios, patients, resamples=resamples, seed=seed)
    return {name: Rates(estimates[f"{name} sensitivity"], estimates[f"{name} specificity"]) for name in thresholds}


def transfer_to_json(transfer: Transfer) -> dict[str, Any]:
    """Return what metrics.json holds of it."""

    def write(rates: Rates) -> dict[str, Any]:
        return {"sensitivity": rates.sensitivity.to_json(), "specificity": rates.specificity.to_json()}

    def by_size(found: Mapping[int, Spread | SpreadRates]) -> dict[str, Any]:
        return {str(size): asdict(value) for size, value in found.items()}

    return {
        "prior": {"assumed": transfer.assumed, "estimated": transfer.estimated, "observed": transfer.observed},
        "points": {
            name: {
                "threshold": point.threshold,
                "val": write(point.known),
                "as_is": write(point.as_is),
                "adapted": write(point.adapted),
                "recalibrated": by_size(point.recalibrated),
            }
            for name, point in transfer.points.items()
        },
        "ece": {
            "as_is": transfer.ece_as_is,
            "adapted": transfer.ece_adapted,
            "recalibrated": by_size(transfer.ece_recalibrated),
        },
        "draws": transfer.draws,
        "seed": transfer.seed,
        "note": "An analysis of this split: nothing of it changes the model. Recalibrations are measured on the "
        "pictures of patients that were not drawn; mean, 5th and 95th percentile over draws.",
    }
