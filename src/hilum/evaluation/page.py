"""report.html: the page as plain data, from the results, the figures and the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hilum.evaluation.architecture import tabulate_stages
from hilum.evaluation.background import Background
from hilum.evaluation.calibration import ECE_BINS, CalibrationMethod
from hilum.evaluation.decision_sections import lay_out_decisions
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.metrics import METRICS
from hilum.evaluation.narrative import Passage
from hilum.evaluation.plates import Plates
from hilum.evaluation.results import Results
from hilum.evaluation.thresholds import OperatingPoint
from hilum.evaluation.wording import write_count, write_interval, write_percent, write_value
from hilum.report.render import (
    Block,
    Bullets,
    Cell,
    Code,
    Finding,
    KeyFigure,
    Page,
    Section,
    Subtitle,
    Table,
)

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall (sensitivity)",
    "specificity": "Specificity",
    "f1": "F1",
    "mcc": "Matthews correlation (MCC)",
    "auroc": "AUROC",
    "auprc": "AUPRC (average precision)",
    "brier": "Brier score",
    "ece": "Expected calibration error (ECE)",
}
_PERCENT = ("accuracy", "precision", "recall", "specificity")


def build_page(
    results: Results,
    plates: Plates,
    passages: Sequence[Passage],
    *,
    findings: Sequence[Finding],
    classification_report: str,
    background: Background,
    description: Mapping[str, str],
    hashes: Mapping[str, str],
) -> Page:
    """Return the page. `hashes` are the SHA-256 of manifest and splits by name."""
    tested = results.tested
    sections = [
        Section("Results and analysis", _lay_out_passages(passages)),
        Section("Decisions at the threshold", _lay_out_decisions(results, plates, classification_report)),
        Section("Scores, thresholds and calibration", _lay_out_scores(results, plates)),
    ]
    decided = lay_out_decisions(results, plates.transfer)
    if decided:
        sections.append(Section("Operating points and grey zone", decided))
    if plates.pictures:
        sections.append(Section("Mistakes and sure calls", list(plates.pictures)))
    network = _lay_out_network(plates, background, description)
    if network:
        sections.append(Section("Network and training", network))
    sections += background.sections
    sections += [
        Section("Data and methods", _lay_out_methods(results, hashes)),
        Section("How to repeat it", _lay_out_repetition(results, background)),
    ]
    facts = {"Model": results.model, "Split": str(tested.split)}
    if background.data:
        facts["Data"] = background.data
    facts |= {"Threshold": f"{results.point.threshold:.3f}", "Seed": str(results.seed)}
    return Page(
        title="Evaluation of a pneumonia classifier",
        subtitle=f"{results.model} on {tested.n:,} {tested.split} pictures of {tested.patients:,} patients",
        sections=sections,
        key_figures=_list_key_figures(results),
        findings=findings,
        facts=facts,
    )


def _list_key_figures(results: Results) -> list[KeyFigure]:
    names = {"auroc": "AUROC", "accuracy": "Accuracy", "recall": "Sensitivity", "specificity": "Specificity"}
    return [
        KeyFigure(write_value(estimate, percent=key in _PERCENT), name, _write_note(key, estimate))
        for key, name in names.items()
        for estimate in [results.tested.estimates[key]]
    ]


def _write_note(key: str, estimate: Estimate) -> str:
    if estimate.value is None:
        return estimate.reason or ""
    if estimate.ci_low is None:
        return "no interval"
    return f"95 % interval {write_interval(estimate, percent=key in _PERCENT)}"


def _lay_out_passages(passages: Sequence[Passage]) -> list[Block]:
    blocks: list[Block] = []
    for passage in passages:
        blocks.append(Subtitle(passage.heading))
        blocks.append(Bullets(passage.sentences) if passage.listed else " ".join(passage.sentences))
    return blocks


def tabulate_metrics(results: Results) -> Table:
    """Return all metrics with their intervals, and those of val beside them where they differ."""
    tested, val = results.tested, results.val
    beside = val is not None and val.split is not tested.split
    headers = ["Metric", str(tested.split), "95 % interval"]
    if beside:
        headers += ["val", "95 % interval of val"]
    rows: list[list[Cell]] = []
    for key in METRICS:
        percent = key in _PERCENT
        row: list[Cell] = [METRIC_NAMES[key], *_write_cells(tested.estimates[key], percent=percent)]
        if beside and val is not None:
            row += _write_cells(val.estimates[key], percent=percent)
        rows.append(row)
    caption = f"All metrics at the threshold {results.point.threshold:.3f}."
    if beside:
        caption += " Those of val flatter: calibration and threshold were fitted on it."
    return Table(headers, rows, caption=caption)


def _write_cells(estimate: Estimate, *, percent: bool) -> list[Cell]:
    if estimate.value is None:
        return ["–", estimate.reason]
    return [write_value(estimate, percent=percent), write_interval(estimate, percent=percent)]


def _lay_out_decisions(results: Results, plates: Plates, classification_report: str) -> list[Block]:
    blocks: list[Block] = [tabulate_metrics(results), *plates.decisions]
    if results.by_pathogen:
        rows: list[list[Cell]] = [
            [name, group.n, group.patients, group.found, *_write_cells(group.recall, percent=True)]
            for name, group in results.by_pathogen.items()
        ]
        headers = ("Pathogen", "Pictures", "Patients", "Found", "Recall", "95 % interval")
        blocks.append(Table(headers, rows, caption="Pneumonias found, by pathogen."))
    return [*blocks, Subtitle("Classification report of scikit-learn"), Code(classification_report)]


def _lay_out_scores(results: Results, plates: Plates) -> list[Block]:
    blocks: list[Block] = list(plates.scores)
    tested = results.tested
    if tested.estimates["auroc"].value is None:
        blocks.insert(0, f"Curves that need both classes are left out: {tested.estimates['auroc'].reason}.")
    return blocks


def _lay_out_network(plates: Plates, background: Background, description: Mapping[str, str]) -> list[Block]:
    blocks: list[Block] = list(plates.network)
    facts = {**description, **background.training}
    if facts:
        blocks.append(Table(("Fact", "Value"), list(facts.items()), caption="The model and its training."))
    if background.stages:
        blocks.append(tabulate_stages(background.stages))
    return blocks


def _lay_out_methods(results: Results, hashes: Mapping[str, str]) -> list[Block]:
    point, failures = results.point, sum(results.failures.values())
    rows: list[list[Cell]] = [
        [name, count.pictures, count.patients, count.positives, write_percent(count.share)]
        for name, count in results.counts.items()
    ]
    table = Table(
        ("Split", "Pictures", "Patients", "PNEUMONIA", "Share"), rows, caption="Readable pictures of each split."
    )
    numbers = (
        f"Temperature ({point.temperature:.4f}), intercept ({point.intercept:.4f}) and threshold "
        f"({point.threshold:.4f})"
    )
    formula = "A picture counts as PNEUMONIA when sigmoid(logit / temperature + intercept) is at least the threshold"
    fitted = (
        f"{numbers} were fitted on {point.source} alone. {formula}, which is {point.describe()}.{_tell_choice(point)}"
        if point.rule != "stored"
        else f"{numbers} came with the model. {formula}."
    )
    return [
        table,
        Bullets(
            [
                fitted,
                f"Intervals are 95 % percentile intervals of {results.resamples:,} bootstrap resamples of whole "
                "patients; proportions of exactly 0 or 1 get Wilson's interval over patients, an AUROC of 0 or 1 "
                "Clopper-Pearson's.",
                f"ECE is the mean gap between probability and share of PNEUMONIA over {ECE_BINS} bins of equally many "
                "pictures (Guo et al. 2017, arXiv:1706.04599; Nixon et al. 2019, arXiv:1904.01685).",
                f"{write_count(failures, 'picture')} of {results.tested.split} could not be scored; predictions.csv "
                "has status and reason, and no figure counts them."
                if failures
                else f"Every picture of {results.tested.split} was scored.",
            ]
        ),
        "Fingerprints of the data (SHA-256):",
        Code("\n".join(f"{name:10}{digest}" for name, digest in hashes.items())),
    ]


def _tell_choice(point: OperatingPoint) -> str:
    choice = point.choice
    if choice is None:
        return ""
    if choice.gain is None or choice.standard_error is None:
        return " There were too few patients to ask whether an intercept helps, so there is none."
    if choice.rule != "auto":
        return (
            f" Held out by patient in ten folds of val, an intercept would change the log loss by {-choice.gain:+.4f}; "
            f"evaluate.calibration={choice.rule} settled the question beforehand."
        )
    verdict = "there is an intercept" if choice.method is CalibrationMethod.PLATT else "there is no intercept"
    return (
        f" Held out by patient in ten folds, an intercept changes the log loss by {-choice.gain:+.4f} (standard error "
        f"{choice.standard_error:.4f}), so {verdict}: it must lower the loss by more than one standard error."
    )


def _lay_out_repetition(results: Results, background: Background) -> list[Block]:
    blocks: list[Block] = []
    if background.command:
        blocks += ["The same command on the same data gives the same figures:", Code(background.command)]
    files = [
        ("metrics.json", "the numbers of this page"),
        ("predictions.csv", "one row a picture: probability, logit, decision, label, status"),
        ("classification_report.txt", "scikit-learn's report"),
        ("model_card.md", "this page in short, to go with the model"),
        ("figures/", "the figures as PNG"),
    ]
    if results.val is not None and results.val.split is not results.tested.split:
        files.insert(2, ("predictions_val.csv", "the same for val, which chose calibration and thresholds"))
    return [*blocks, Table(("File", "Holds"), files, caption="Files beside this page.")]
