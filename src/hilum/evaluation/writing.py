"""The files of an evaluation that people read: classification report, figures, page and model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import classification_report

from hilum.config import EvaluateConfig
from hilum.evaluation.background import Background, recognise_origin
from hilum.evaluation.external import ExternalResult
from hilum.evaluation.external_section import build_external_section
from hilum.evaluation.findings import list_findings
from hilum.evaluation.ledger import LookNumber
from hilum.evaluation.model_card import write_model_card
from hilum.evaluation.narrative import write_passages, write_verdict
from hilum.evaluation.page import build_page
from hilum.evaluation.pathogen import PathogenResults, build_pathogen_section
from hilum.evaluation.plates import draw_plates
from hilum.evaluation.refusals import Refusals
from hilum.evaluation.results import Results
from hilum.evaluation.scoring import ScoredSplit, Scorer
from hilum.evaluation.shortcuts import ShortcutResults, report_shortcuts
from hilum.files import write_text
from hilum.report.render import Finding, Section, Severity, render_page
from hilum.types import Label, Split

CLASSIFICATION_REPORT = "classification_report.txt"
REPORT = "report.html"
MODEL_CARD = "model_card.md"
FIGURES = "figures"


def add_sections(
    background: Background,
    figures: Path,
    *,
    abroad: Sequence[ExternalResult],
    probed: ShortcutResults | None,
    pathogens: PathogenResults | None,
    split: Split,
    full_scale: float,
    seed: int,
) -> Background:
    """Return the background with the sections of what was measured besides, and draw their figures."""
    first: list[Section] = []
    if abroad:
        first.append(build_external_section(abroad[1:], figures / "external.png", own=abroad[0]))
    first.append(report_shortcuts(probed, figures, command=background.command, full_scale=full_scale, seed=seed))
    last = [build_pathogen_section(pathogens, figures / "pathogens.png", split=str(split))] if pathogens else []
    return replace(background, sections=(*first, *background.sections, *last))


def write_report(
    results: Results,
    tested: ScoredSplit,
    val: ScoredSplit | None,
    predictions: pd.DataFrame,
    out: Path,
    *,
    scorer: Scorer,
    splits: pd.DataFrame,
    config: EvaluateConfig,
    background: Background,
    hashes: dict[str, str],
    full_scale: float,
    look: LookNumber | None,
    refusals: Refusals | None,
    abroad: Finding | None,
) -> None:
    """Write classification report, figures, report and model card."""
    text, table = _report_classes(predictions)
    write_text(out / CLASSIFICATION_REPORT, text)
    plates = draw_plates(
        results, tested, val, predictions, out / FIGURES,
        classes=table, worst=config.worst, full_scale=full_scale, background=background, network=_name_network(scorer),
    )  # fmt: skip
    origin = background.origin or recognise_origin(splits)
    description = scorer.describe()
    passages = write_passages(results, background=background, origin=origin, description=description)
    findings = list_findings(results, background=background, origin=origin)
    if abroad is not None:
        findings.insert(0 if abroad.severity is Severity.WARNING else len(findings), abroad)
    if refusals is not None:
        findings.insert(sum(finding.severity is Severity.WARNING for finding in findings), refusals.describe())
    if look is not None:
        findings.append(Finding(Severity.NOTE, look.describe()))
    verdict = write_verdict(results)
    shared: dict[str, Any] = {
        "findings": findings, "background": background, "description": description, "hashes": hashes
    }  # fmt: skip
    page = build_page(results, plates, passages, classification_report=text, **shared)
    render_page("report.html.j2", out / REPORT, page=page, verdict=verdict)
    write_model_card(results, passages, out / MODEL_CARD, verdict=verdict, **shared)


def _name_network(scorer: Scorer) -> str:
    """Return what the scorer calls its network, without what it adds after a comma, or its own name."""
    return scorer.describe().get("Network", scorer.name).partition(",")[0]


def _report_classes(predictions: pd.DataFrame) -> tuple[str, dict[str, Any]]:
    """Return scikit-learn's classification report as text and as its dictionary; NaN where a value is not defined."""
    scored = predictions[predictions["prediction"] != ""]
    names = [str(label) for label in Label]
    options: dict[str, Any] = {"labels": names, "digits": 3, "zero_division": np.nan}
    text = str(classification_report(scored["label"], scored["prediction"], **options))
    text = text.replace("  nan", "    –")  # precision of a class that was never called has no value
    table = classification_report(scored["label"], scored["prediction"], output_dict=True, **options)
    return text, dict(table)
