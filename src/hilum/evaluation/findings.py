"""The few sentences that a hurried reader of the report must see, each with how much it matters."""

from __future__ import annotations

from hilum.evaluation.background import Background, Origin
from hilum.evaluation.calibration import is_at_bound
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.results import Results
from hilum.evaluation.wording import write_count, write_decimal, write_percent, write_value
from hilum.report.render import Finding, Severity
from hilum.types import Split

_FALL = 0.1  # of sensitivity or specificity from val to the tested split
_SHIFT = 0.05  # of the share of PNEUMONIA
_FEW_PATIENTS = 50
_TELLING_METADATA = 0.7


def list_findings(results: Results, *, background: Background, origin: Origin) -> list[Finding]:
    """Return warnings first, then notes, then what is well."""
    warnings = [Finding(Severity.WARNING, text) for text in _list_warnings(results, background, origin)]
    notes = [Finding(Severity.NOTE, text) for text in _list_notes(results)]
    if background.whole:
        whole = "All pictures of the data are scored, whatever split they stand in there; this report calls them test."
        notes.insert(0, Finding(Severity.NOTE, whole))
    good = []
    if results.tested.split is Split.TEST and results.val is not None:
        text = "Thresholds and calibration were fitted on val alone; no patient and no picture stands in two splits."
        good.append(Finding(Severity.GOOD, text))
    return warnings + notes + good


def _list_warnings(results: Results, background: Background, origin: Origin) -> list[str]:
    tested = results.tested
    auroc = tested.estimates["auroc"]
    texts = []
    if origin is Origin.PHANTOM:
        texts.append("The pictures are drawn by a program: nothing here says anything about patients.")
    if tested.split is Split.VAL:
        texts.append("These figures are of the split that chose the threshold, and flatter.")
    if tested.split is Split.TRAIN:
        texts.append("These figures are of the pictures that the network learned from, and flatter greatly.")
    failed = sum(results.failures.values())
    if failed:
        pictures = write_count(failed, "picture")
        texts.append(f"{pictures} of {tested.split} could not be scored and count in no figure; see predictions.csv.")
    if auroc.value is None:
        texts.append(f"What compares the classes is not defined: {auroc.reason}.")
    elif auroc.ci_low is not None and auroc.ci_low <= 0.5:
        texts.append("The interval of AUROC reaches 0.5: these pictures do not show that the model beats chance.")
    for name, key in (("sensitivity", "recall"), ("specificity", "specificity")):
        before, after = _find_rate(results, name, key), tested.estimates[key]
        if before.value is not None and after.value is not None and before.value - after.value > _FALL:
            chosen = results.decisions.source or Split.VAL
            texts.append(
                f"{name.capitalize()} falls from {write_value(before)} on {chosen} to {write_value(after)} on "
                f"{tested.split}: the threshold does not carry over as it stands."
            )
    if is_at_bound(results.point.temperature):
        texts.append("The temperature ended at the bound of its range: do not read the scores as probabilities.")
    if background.metadata_auroc is not None and background.metadata_auroc >= _TELLING_METADATA:
        texts.append(
            f"File metadata alone reach an AUROC of {write_decimal(background.metadata_auroc)} on this split: part of "
            "any result may be a shortcut."
        )
    return texts


def _find_rate(results: Results, name: str, metric: str) -> Estimate:
    """Return sensitivity or specificity where the threshold was chosen, from val or from what a bundle says of it."""
    tested, val = results.tested, results.val
    if val is not None:
        return Estimate(None) if val.split is tested.split else val.estimates[metric]
    points = results.decisions.points
    stored = next((point.spec for point in points if point.spec.threshold == results.point.threshold), None)
    return Estimate(None if stored is None else getattr(stored, name))


def _list_notes(results: Results) -> list[str]:
    tested, val = results.tested, results.val
    texts = []
    if tested.sure_mistakes:
        share = write_percent(tested.sure_mistakes / tested.n)
        mistakes = write_count(tested.sure_mistakes, "mistake")
        texts.append(f"{mistakes} ({share} of all pictures) came with 90 % or more for the wrong class.")
    if val is not None and abs(val.share - tested.share) >= _SHIFT:
        texts.append(
            f"The share of PNEUMONIA is {write_percent(val.share)} on val and {write_percent(tested.share)} on "
            f"{tested.split}, so accuracy, precision and calibration do not compare."
        )
    if tested.patients < _FEW_PATIENTS:
        texts.append(f"Only {write_count(tested.patients, 'patient')}: the intervals are wide and themselves rough.")
    return texts
