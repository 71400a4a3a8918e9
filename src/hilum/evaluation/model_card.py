"""model_card.md: the evaluation in short, in the form of Mitchell et al. 2019 (arXiv:1810.03993)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hilum.evaluation.background import Background
from hilum.evaluation.narrative import Passage
from hilum.evaluation.page import tabulate_metrics
from hilum.evaluation.results import Results
from hilum.evaluation.wording import write_interval, write_percent, write_value
from hilum.report.render import Cell, Finding, Severity, render_text, write_markdown_table

_TRAINING = "What was trained on what"


def write_model_card(
    results: Results,
    passages: Sequence[Passage],
    path: Path,
    *,
    verdict: str,
    findings: Sequence[Finding],
    background: Background,
    description: Mapping[str, str],
    hashes: Mapping[str, str],
) -> None:
    """Write the model card, atomically."""
    tested, point = results.tested, results.point
    metrics = tabulate_metrics(results)
    splits: list[Sequence[Cell]] = [
        (name, count.pictures, count.patients, write_percent(count.share)) for name, count in results.counts.items()
    ]
    pathogens: list[Sequence[Cell]] = [
        (name, group.n, write_value(group.recall), write_interval(group.recall))
        for name, group in results.by_pathogen.items()
    ]
    training = next((passage for passage in passages if passage.heading == _TRAINING), None)
    render_text(
        "model_card.md.j2",
        path,
        table=lambda content: write_markdown_table(*content),
        model=results.model,
        verdict=verdict,
        warnings=[finding.text for finding in findings if finding.severity is Severity.WARNING],
        facts=(("Fact", "Value"), list({"Name": results.model, **description, **background.training}.items())),
        splits=(("Split", "Pictures", "Patients", "PNEUMONIA"), splits),
        training=" ".join(training.sentences) if training else "",
        split=str(tested.split),
        n=f"{tested.n:,}",
        patients=f"{tested.patients:,}",
        threshold=f"{point.threshold:.3f}",
        threshold_exact=repr(point.threshold),
        temperature=repr(point.temperature),
        intercept=f" {'+' if point.intercept > 0 else '-'} {abs(point.intercept)!r}" if point.intercept else "",
        metrics=(metrics.headers, metrics.rows),
        pathogens=(("Pathogen", "Pictures", "Recall", "95 % interval"), pathogens) if pathogens else None,
        passages=[passage for passage in passages if passage.heading != _TRAINING],
        hashes=(("What", "SHA-256"), list(hashes.items())),
        command=background.command,
    )
