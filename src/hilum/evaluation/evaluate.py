"""From a model and a data set to metrics, predictions, figures, report and model card.

Honesty is in the order of the steps: calibration and thresholds are fitted on val, and only then is the split in
question scored with both fixed. Nothing is ever chosen on test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hilum import __version__
from hilum.bundle import OperatingPointSpec
from hilum.config import EvaluateConfig
from hilum.data.manifest import hash_manifest
from hilum.data.splits import check_leakage, hash_splits
from hilum.errors import EvaluationError
from hilum.evaluation.background import Background
from hilum.evaluation.conformal import ConformalRule
from hilum.evaluation.external import ExternalSet, look_abroad
from hilum.evaluation.external_section import describe_external
from hilum.evaluation.ledger import ModelIdentity, append_look, build_look, check_ledger, hash_pictures
from hilum.evaluation.pathogen import (
    measure_pathogens,
    pathogens_to_json,
)
from hilum.evaluation.refusals import count_refusals
from hilum.evaluation.results import measure, to_json
from hilum.evaluation.scoring import (
    ScoredSplit,
    Scorer,
    build_predictions,
    score_split,
    select_unchanged,
    write_predictions,
)
from hilum.evaluation.shortcuts import probe_shortcuts
from hilum.evaluation.thresholds import OperatingPoint, fit_operating_point
from hilum.evaluation.writing import FIGURES, REPORT, add_sections, write_report
from hilum.files import new_folder, write_json
from hilum.inference.explain import FULL_SCALE, fit_full_scale
from hilum.types import Label, Split

METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
VAL_PREDICTIONS = "predictions_val.csv"


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What an evaluation left behind. `metrics` is the content of metrics.json; `failed` pictures have no score.

    `full_scale` is the evidence in logits at which heat maps of this model saturate.
    """

    out: Path
    metrics: dict[str, Any]
    point: OperatingPoint
    predictions: pd.DataFrame
    full_scale: float
    failed: int

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.out / REPORT


def evaluate(
    scorer: Scorer,
    splits: pd.DataFrame,
    out: Path,
    *,
    config: EvaluateConfig,
    seed: int,
    split: Split = Split.TEST,
    manifest: pd.DataFrame | None = None,
    operating_point: OperatingPoint | None = None,
    points: Mapping[str, OperatingPointSpec] | None = None,
    conformal: Sequence[ConformalRule] | None = None,
    trained_prior: float | None = None,
    full_scale: float | None = None,
    background: Background | None = None,
    identity: ModelIdentity | None = None,
    ledger: Path | None = None,
    shortcuts: bool = False,
    external: Sequence[ExternalSet] = (),
) -> EvaluationResult:
    """Evaluate a model on one split and write everything into a new folder.

    Args:
        scorer: the model.
        splits: as `hilum.data.splits.build_splits` or `read_splits` gives them.
        out: folder to write; metrics.json is written last, so that its presence means a whole evaluation.
        config: rule of the threshold, number of resamples, number of mistakes to show.
        seed: of the bootstrap.
        split: what to score with threshold and calibration fixed.
        manifest: where given, its unreadable pictures of the split stand in predictions.csv with their status.
        operating_point: calibration and threshold that came with the model; val is then neither needed nor scored.
        points: the named operating points that came with the model; none given: fitted on val.
        conformal: the prediction sets that came with the model; none given: fitted on val.
        trained_prior: the share of PNEUMONIA that the network's own odds stand for, for calibrations without intercept.
        full_scale: that of the model's heat maps; none given: fitted on val.
        background: what the report tells besides the scores.
        identity: which model it is, for metrics.json and the ledger.
        ledger: where a look at test is recorded, before its figures are written anywhere; none given: nowhere.
        external: labelled sets of other sources, which are scored with calibration and threshold fixed, too.
        shortcuts: check whether the model looks at the lungs, which takes up to 2,500 further forward passes.

    Raises:
        EvaluationError: the split, or the val that is needed, holds no pictures; val lacks a class; nothing could be
            scored; the ledger is damaged; the model cannot score the changed pictures that `shortcuts` needs.
        LeakageError: a patient or picture stands in two splits.
        HilumError: `out` already holds an evaluation.
    """
    background = background or Background()
    check_leakage(splits)
    _check_splits(splits, split, needs_val=operating_point is None)
    if ledger is not None:
        check_ledger(ledger)
    new_folder(out, marker=METRICS)
    val = None
    if operating_point is None:
        val = score_split(scorer, select_unchanged(splits, Split.VAL, manifest=manifest), Split.VAL)
        operating_point = fit_operating_point(
            val.labels, val.logits, val.texts("patient"), config=config, trained_prior=trained_prior
        )
    if full_scale is None:
        full_scale = _fit_full_scale(val, operating_point)
    if val is not None and split is Split.VAL:
        tested = val
    else:
        tested = score_split(scorer, select_unchanged(splits, split, manifest=manifest), split)
    results = measure(
        scorer.name, tested, val, operating_point,
        splits=splits, config=config, seed=seed, points=points, conformal=conformal,
    )  # fmt: skip
    predictions = build_predictions(tested, operating_point)
    hashes = {"splits": hash_splits(splits)}
    if tested.split is Split.TEST:
        hashes["test"] = _hash_scored(tested, splits)
    if manifest is not None:
        hashes = {"manifest": hash_manifest(manifest), **hashes}
    metrics = {
        **to_json(results),
        "heatmap_full_scale": full_scale,
        "hashes": hashes,
        "model_description": dict(scorer.describe()),
        **scorer.describe_runtime(),
        "hilum": __version__,
    }
    if identity is not None:
        metrics["identity"] = asdict(identity)
    look = None
    if ledger is not None and tested.split is Split.TEST:
        row = build_look(metrics)
        look = append_look(ledger, row)
        metrics["look"] = {"date": row.date, **asdict(look)}
    pathogens = measure_pathogens(tested, val, operating_point, config=config, seed=seed)
    refusals = count_refusals(tested, operating_point)
    probed = probe_shortcuts(
        scorer, tested, operating_point, splits=splits, manifest=manifest, config=config, seed=seed
    ) if shortcuts else None  # fmt: skip
    abroad = look_abroad(scorer, external, tested, operating_point, resamples=config.bootstrap, seed=seed)
    metrics |= {
        **({} if pathogens is None else {"pathogen": pathogens_to_json(pathogens)}),
        "gate": refusals.to_json() if refusals else None,
        "shortcuts": probed.to_json() if probed else None,
        "external": [result.to_json() for result in abroad[1:]],
    }
    background = add_sections(
        background, out / FIGURES,
        abroad=abroad, probed=probed, pathogens=pathogens, split=tested.split, full_scale=full_scale, seed=seed,
    )  # fmt: skip
    write_predictions(predictions, out / PREDICTIONS)
    if val is not None and tested is not val:
        write_predictions(build_predictions(val, operating_point), out / VAL_PREDICTIONS)
    write_report(
        results, tested, val, predictions, out,
        scorer=scorer, splits=splits, config=config, background=background, hashes=hashes, full_scale=full_scale,
        look=look, refusals=refusals, abroad=describe_external(abroad[1:]),
    )  # fmt: skip
    write_json(out / METRICS, metrics)
    failed = sum(results.failures.values()) + sum(results.val_failures.values()) * (tested is not val)
    return EvaluationResult(out, metrics, operating_point, predictions, full_scale, failed)


def _check_splits(splits: pd.DataFrame, split: Split, *, needs_val: bool) -> None:
    held = splits["split"].value_counts()
    if not held.get(split, 0):
        if split is Split.TEST:
            raise EvaluationError(
                "The data hold no test pictures, and only pictures that chose nothing can tell how good a model is: "
                "add a test folder, or take --split val and read its figures as flattering."
            )
        raise EvaluationError(f"The data hold no {split} pictures; they hold {_write_held(held)}.")
    if not needs_val:
        return
    val = splits[splits["split"] == Split.VAL]
    if val.empty:
        raise EvaluationError(
            f"The data hold no val pictures to choose the threshold on; they hold {_write_held(held)}. Evaluate with "
            "the splits of the training run, or a bundle, whose threshold comes with it."
        )
    missing = [str(label) for label in Label if not (val["label"] == label).any()]
    if missing:
        raise EvaluationError(
            f"The val split holds no {missing[0]} pictures, so no threshold can be chosen on it; use data with both "
            "classes, or a larger data.val_fraction."
        )


def _write_held(held: pd.Series[int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in held.items()) or "no pictures at all"


def _hash_scored(scored: ScoredSplit, splits: pd.DataFrame) -> str:
    contents = dict(zip(splits["path"], splits["sha256"], strict=True))
    return hash_pictures(contents[path] for path in scored.texts("path"))


def _fit_full_scale(val: ScoredSplit | None, point: OperatingPoint) -> float:
    if val is None:
        return FULL_SCALE
    called = (build_predictions(val, point)["prediction"] == Label.PNEUMONIA).to_numpy()
    return fit_full_scale([cam for cam, positive in zip(val.cams, called, strict=True) if positive and cam is not None])
