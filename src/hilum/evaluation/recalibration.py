"""Refitting a bundle to a hospital: its network stays, calibration and operating points follow some local pictures."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from hilum.bundle import (
    MODEL_CARD,
    SEEN,
    Bundle,
    BundleSpec,
    MetricSpec,
    OperatingPointSpec,
    RecalibrationSpec,
    read_seen,
    refuse_seen,
    write_bundle,
    write_seen,
)
from hilum.data.manifest import hash_manifest
from hilum.errors import BundleError, DataError, LeakageError
from hilum.evaluation.adaptation import INTERCEPT_SD, SLOPE_SD, LocalFit, refit_locally
from hilum.evaluation.calibration import Calibration, deal_folds
from hilum.evaluation.intervals import Estimate, estimate_metrics, estimate_ratios
from hilum.evaluation.points import sort_points
from hilum.evaluation.scoring import ScoredSplit, score_split, select_rows
from hilum.evaluation.wording import write_count, write_decimal, write_percent
from hilum.inference.decision import is_positive
from hilum.inference.scoring import BundleScorer
from hilum.report.render import render_text
from hilum.types import BoolArray, DoubleArray, IntArray, Label, Split, Status

MIN_PICTURES: Final = 20
MIN_A_CLASS: Final = 5
_FOLDS = 10
_REFITTED = ", refitted on local pictures"
_FIGURES = ("auroc", "accuracy", "recall", "specificity", "brier", "ece")
_METHOD = (
    f"temperature and intercept of the highest posterior, with a Gaussian prior around those of the base moved to the "
    f"local share of PNEUMONIA (standard deviations {SLOPE_SD:g} of the slope, {INTERCEPT_SD:g} of the intercept); "
    "thresholds as weighted means, in log-odds, of those of the base and of the local ones"
)


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """The new bundle, how many local pictures could not be scored, and how many its input gate would refuse."""

    bundle: Bundle
    local: RecalibrationSpec
    failed: int
    refused: int


def recalibrate_bundle(
    scorer: BundleScorer,
    manifest: pd.DataFrame,
    out: Path,
    *,
    data: str,
    version: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Recalibrated:
    """Write a bundle with the same network whose calibration and operating points are refitted on local pictures.

    Args:
        scorer: of the bundle.
        manifest: of the local pictures, as `hilum.data.manifest.load_data` gives it. Its splits have no say.
        out: folder to make.
        data: what the reader knows the pictures by, for messages.
        version: of the new bundle; none given: that of the bundle with -local.
        resamples: of the intervals.
        seed: of folds and resamples.

    Raises:
        DataError: too few readable pictures, or too few of a class.
        LeakageError: the bundle was trained, or recalibrated before, on these pictures or some of them.
        HilumError: `out` exists and is not an empty folder.
    """
    base = scorer.bundle.spec
    _refuse_known(base, hash_manifest(manifest), data)
    refuse_seen(
        scorer.bundle, manifest, task=f"of {data}", advice="they say nothing of another place, so take them out"
    )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"{out} exists and is not an empty folder; name another one with --out, or remove it first.")
    usable = manifest[(manifest["status"] == Status.OK) & (manifest["label"] != "")].drop_duplicates("sha256")
    _check_counts(usable["label"], usable["patient"], data)
    rows = select_rows(usable.assign(split=str(Split.VAL)), Split.VAL)
    scored = score_split(scorer, rows, Split.VAL, name="local")
    _check_counts(scored.texts("label"), scored.texts("patient"), data)

    thresholds = {name: point.threshold for name, point in base.operating_points.items()}
    fit = _refit(scored.labels, scored.logits, base, thresholds)
    local, rates = _compare(scored, base, thresholds, resamples=resamples, seed=seed)
    local = local.model_copy(update={"manifest_hash": hash_manifest(manifest)})
    spec = base.model_copy(
        update={
            "version": version or f"{base.version}-local",
            "created": local.created,
            "temperature": fit.calibration.temperature,
            "intercept": fit.calibration.intercept,
            "training_prior": fit.prior,
            "operating_points": _describe_points(base, fit, rates, n=local.n),
            "conformal": (),  # they take more pictures than a hospital has at hand
            "metrics": local.after,
            "recalibration": local,
        }
    )
    with tempfile.TemporaryDirectory() as temporary:
        card = Path(temporary) / MODEL_CARD
        _write_card(scorer.bundle, spec, local, card)
        seen = Path(temporary) / SEEN
        write_seen(seen, [*read_seen(scorer.bundle), *usable["sha256"]])
        files = {name: scorer.bundle.folder / name for name in base.files} | {MODEL_CARD: card, SEEN: seen}
        bundle = write_bundle(out, spec, files)
    failed = int((manifest["status"] != Status.OK).sum()) + sum(scored.count_failures().values())
    refused = 0 if scored.refused is None else int(scored.refused.sum())
    return Recalibrated(bundle, local, failed, refused)


def _refuse_known(base: BundleSpec, digest: str, data: str) -> None:
    if digest == base.provenance.manifest_hash:
        raise LeakageError(
            f"{data} is the data that {base.name} {base.version} was trained on, and says nothing of another "
            "place; name pictures that it has not seen."
        )
    if base.recalibration is not None and digest == base.recalibration.manifest_hash:
        raise LeakageError(
            f"{base.name} {base.version} was recalibrated on {data} already; name further pictures, or recalibrate the "
            f"bundle that it was made from, {base.recalibration.base}."
        )


def _check_counts(labels: pd.Series[str] | list[str], patients: pd.Series[str] | list[str], data: str) -> None:
    frame = pd.DataFrame({"label": list(labels), "patient": list(patients)})
    if len(frame) < MIN_PICTURES:
        raise DataError(
            f"{data} holds {write_count(len(frame), 'readable picture')} with a label, and a recalibration takes at "
            f"least {MIN_PICTURES}; add some."
        )
    for label in Label:
        rows = frame[frame["label"] == label]
        if len(rows) < MIN_A_CLASS or rows["patient"].nunique() < 2:
            raise DataError(
                f"{data} holds {write_count(len(rows), f'readable {label} picture')} of "
                f"{write_count(rows['patient'].nunique(), 'patient')}, and a recalibration takes at least "
                f"{MIN_A_CLASS} of each class, of two patients or more; add some."
            )


def _refit(labels: BoolArray, logits: DoubleArray, base: BundleSpec, thresholds: Mapping[str, float]) -> LocalFit:
    known = Calibration(base.temperature, base.intercept)
    return refit_locally(labels, logits, known=known, prior=base.training_prior, thresholds=thresholds)


def _deal(labels: BoolArray, patients: list[str], *, seed: int) -> IntArray:
    """Return the fold of each picture, so that both classes are left whichever fold is held out.

    Where all pictures of a class are of few patients, a deal may put these together; then they are dealt again. Each
    class has two patients or more (`_check_counts`), so that some deal parts them.
    """
    deals = (deal_folds(labels, patients, folds=_FOLDS, seed=attempt) for attempt in count(seed))
    return next(folds for folds in deals if all(_has_both(labels[folds != held]) for held in np.unique(folds)))


def _has_both(labels: BoolArray) -> bool:
    return bool(labels.any() and not labels.all())


def _compare(
    scored: ScoredSplit, base: BundleSpec, thresholds: Mapping[str, float], *, resamples: int, seed: int
) -> tuple[RecalibrationSpec, dict[str, tuple[float, float]]]:
    """Measure base and refit on the local pictures, the latter on those held out by patient.

    Return what is to be recorded, and the held-out sensitivity and specificity of each operating point.
    """
    labels, logits, patients = scored.labels, scored.logits, scored.texts("patient")
    folds = _deal(labels, patients, seed=seed)
    probabilities = np.zeros(labels.size)
    called = {name: np.zeros(labels.size, dtype=np.bool_) for name in thresholds}
    for fold in np.unique(folds):
        held = folds == fold
        fit = _refit(labels[~held], logits[~held], base, thresholds)
        probabilities[held] = fit.calibration.apply(logits[held])
        for name, threshold in fit.thresholds.items():
            called[name][held] = is_positive(probabilities[held], threshold=threshold)
    as_is = Calibration(base.temperature, base.intercept).apply(logits)
    cut = thresholds[base.default_operating_point]
    before = estimate_metrics(labels, as_is, patients, threshold=cut, resamples=resamples, seed=seed)
    after = estimate_metrics(labels, probabilities, patients, threshold=cut, resamples=resamples, seed=seed)
    chosen = called[base.default_operating_point]
    # Each fold has its own threshold, and the order of pictures is the network's: it does not change.
    after |= {"auroc": before["auroc"]}
    after |= estimate_ratios(
        {
            "accuracy": (chosen == labels, np.ones_like(labels)),
            "recall": (chosen, labels),
            "specificity": (~chosen, ~labels),
        },
        patients,
        resamples=resamples,
        seed=seed,
    )
    local = RecalibrationSpec(
        base=f"{base.name} {base.version}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        method=_METHOD,
        n=labels.size,
        normal=int((~labels).sum()),
        pneumonia=int(labels.sum()),
        patients=len(set(patients)),
        manifest_hash="",
        base_temperature=base.temperature,
        base_intercept=base.intercept,
        base_prior=base.training_prior,
        before=_store(before),
        after=_store(after),
    )
    rates = {name: (float(held[labels].mean()), float((~held)[~labels].mean())) for name, held in called.items()}
    return local, rates


def _store(estimates: Mapping[str, Estimate]) -> dict[str, MetricSpec]:
    return {
        name: MetricSpec(value=estimates[name].value, ci_low=estimates[name].ci_low, ci_high=estimates[name].ci_high)
        for name in _FIGURES
    }


def _describe_points(
    base: BundleSpec, fit: LocalFit, rates: Mapping[str, tuple[float, float]], *, n: int
) -> dict[str, OperatingPointSpec]:
    points = {
        name: OperatingPointSpec(
            threshold=fit.thresholds[name],
            rule=f"{point.rule.removesuffix(_REFITTED)}{_REFITTED}",
            chosen_on="local pictures, cross-validated",
            n=n,
            sensitivity=rates[name][0],
            specificity=rates[name][1],
        )
        for name, point in base.operating_points.items()
    }
    return sort_points(points)


def tell_gain(local: RecalibrationSpec) -> str:
    """Return in one sentence whether the refitted bundle is the better one on local patients that it has not seen."""
    before, after = (metrics["brier"].value or 0.0 for metrics in (local.before, local.after))
    figures = f"Brier score {write_decimal(after)}, and {write_decimal(before)} as it was"
    if after < before:
        return f"On local patients held out the refitted bundle is the better one ({figures})."
    return f"On local patients held out the refitted bundle is no better ({figures}): {local.base} may as well stay."


def tabulate_change(local: RecalibrationSpec) -> list[tuple[str, str, str]]:
    """Return name, value before and value after, with intervals, of each figure."""
    names = {"auroc": "AUROC", "recall": "sensitivity", "brier": "Brier score", "ece": "ECE"}
    percent = {"accuracy", "recall", "specificity"}
    return [
        (
            names.get(key, key),
            _write(local.before[key], percent=key in percent),
            _write(local.after[key], percent=key in percent),
        )
        for key in _FIGURES
    ]


def _write(metric: MetricSpec, *, percent: bool) -> str:
    def text(value: float) -> str:
        return write_percent(value) if percent else write_decimal(value)

    if metric.value is None:
        return "–"
    if metric.ci_low is None or metric.ci_high is None:
        return text(metric.value)
    return f"{text(metric.value)} ({text(metric.ci_low)} to {text(metric.ci_high)})"


def _write_card(bundle: Bundle, spec: BundleSpec, local: RecalibrationSpec, path: Path) -> None:
    """Write the card: what the recalibration did, above the card that the bundle had."""
    earlier = bundle.folder / MODEL_CARD
    text = earlier.read_text(encoding="utf-8") if MODEL_CARD in bundle.spec.files else ""
    render_text(
        "recalibration_card.md.j2",
        path,
        spec=spec,
        local=local,
        share=write_percent(local.pneumonia / local.n),
        change=tabulate_change(local),
        gain=tell_gain(local),
        intercept=f" {'+' if spec.intercept > 0 else '-'} {abs(spec.intercept)!r}" if spec.intercept else "",
        earlier=re.sub(r"^#", "##", text, flags=re.MULTILINE).strip(),
    )
