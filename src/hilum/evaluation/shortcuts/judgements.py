"""What the checks mean: each says in one sentence whether it is good or bad, with the figures that it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from hilum.evaluation.shortcuts.erasure import ErasureResult
from hilum.evaluation.shortcuts.evidence import EvidenceResult
from hilum.evaluation.shortcuts.markers import MarkerResult
from hilum.evaluation.shortcuts.masking import MaskedResult
from hilum.evaluation.shortcuts.metadata import MetadataResult
from hilum.evaluation.shortcuts.probe import ShortcutResults
from hilum.evaluation.wording import write_count, write_decimal, write_estimate, write_list, write_percent, write_value
from hilum.report.render import Finding, Severity

# Bounds between good, mixed and bad. They are conventions, not statistics: the figures stand beside them.
_KEPT = (0.3, 0.6)  # of what AUROC has above chance, without the lungs
_LOST = (0.05, 0.15)  # of AUROC, with the lungs alone
_RATIO = (1.5, 1.1)  # of evidence in the lungs to their area
_FLIPPED = (0.02, 0.05)
_MOVED = (0.3, 1.0)  # logits
_METADATA = (0.6, 0.75)
_WORDS = {Severity.GOOD: "Good", Severity.NOTE: "Mixed", Severity.WARNING: "Bad"}

_CHANCE = "the whole pictures do not show that the model is better than chance"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one check means, and the figures for it, both as clauses; without figures it could not be done."""

    severity: Severity
    meaning: str
    figures: str = ""

    @property
    def text(self) -> str:
        """One sentence with the figures, for a caption."""
        if not self.figures:
            return f"{self.meaning[0].upper()}{self.meaning[1:]}."
        return f"{_WORDS[self.severity]}: {self.figures}: {self.meaning}."

    @property
    def finding(self) -> Finding:
        """The meaning alone, for a reader in a hurry."""
        return Finding(self.severity, f"{_WORDS[self.severity]}: {self.meaning}." if self.figures else self.text)


def judge_all(results: ShortcutResults) -> list[Judgement]:
    """Return one judgement a check, in the order of the section."""
    return [
        judge_without_lungs(results.masked),
        judge_only_lungs(results.masked),
        judge_evidence(results.evidence),
        judge_erasure(results.erasure),
        judge_markers(results.markers_cleared, results.marker_drawn),
        judge_metadata(results.metadata),
    ]


def judge_without_lungs(result: MaskedResult) -> Judgement:
    """Judge how much is left when the lungs are blacked out."""
    without, box, kept = result.without_lungs, result.without_box, result.kept_without
    if kept is None or without.value is None:
        return _leave_open(f"what is left without the lungs cannot be told, for {without.reason or _CHANCE}")
    severity = _grade(kept, *_KEPT)
    meaning = {
        Severity.GOOD: "what the model knows lies in the lungs for the most part",
        Severity.NOTE: "a good part of what the model knows can be had without seeing a lung",
        Severity.WARNING: "most of what the model knows can be had without seeing a lung",
    }[severity]
    figures = (
        f"with the lungs blacked out the AUROC goes from {write_value(result.whole, percent=False)} to "
        f"{write_estimate(without, percent=False)}, which keeps {write_percent(min(kept, 1.0), digits=0)} of its lead "
        f"over chance, and with a black box around both lungs and the heart to {write_value(box, percent=False)}"
    )
    return Judgement(severity, meaning, figures)


def judge_only_lungs(result: MaskedResult) -> Judgement:
    """Judge how well the lungs alone serve."""
    only, whole = result.only_lungs, result.whole
    if only.value is None or whole.value is None or not result.beats_chance:
        return _leave_open(f"how well the lungs alone serve cannot be told, for {only.reason or _CHANCE}")
    severity = _grade(whole.value - only.value, *_LOST)
    meaning = {
        Severity.GOOD: "the lungs alone serve as well as the whole picture",
        Severity.NOTE: "what surrounds the lungs helps, or the black in its place disturbs",
        Severity.WARNING: "the model needs what surrounds the lungs, or is thrown off by the black in its place",
    }[severity]
    return Judgement(
        severity, meaning, f"with nothing but the lungs the AUROC is {write_estimate(only, percent=False)}"
    )


def judge_evidence(result: EvidenceResult) -> Judgement:
    """Judge whether evidence lies in the lungs more than their area explains."""
    inside = result.inside.value
    if inside is None or result.pointing.value is None:
        return _leave_open("no picture was called PNEUMONIA with positive evidence, so no map can be judged")
    ratio = inside / max(result.area, 1e-9)
    severity = _grade(-ratio, -_RATIO[0], -_RATIO[1])
    meaning = {
        Severity.GOOD: "the evidence of the heat maps gathers in the lungs",
        Severity.NOTE: "the evidence of the heat maps gathers in the lungs only in part",
        Severity.WARNING: "the heat maps find hardly more evidence in the lungs than anywhere else",
    }[severity]
    figures = (
        f"in {write_count(result.n, 'picture')} called PNEUMONIA {write_estimate(result.inside)} of the evidence lies "
        f"in the lungs, which cover {write_percent(result.area)} of the area ({ratio:.2f} times as much as by chance), "
        f"and the strongest evidence lies in them in {write_value(result.pointing)} of the pictures"
    )
    return Judgement(severity, meaning, figures)


def judge_erasure(result: ErasureResult) -> Judgement:
    """Judge whether the maps point at what decides."""
    gains = (result.deletion_gain, result.insertion_gain)
    if any(gain.value is None for gain in gains):
        return _leave_open("no picture was called PNEUMONIA, so no map could be tested by deletion")
    better = sum((gain.ci_low if gain.ci_low is not None else 0) > 0 for gain in gains)
    severity = (Severity.WARNING, Severity.NOTE, Severity.GOOD)[better]
    meaning = {
        Severity.GOOD: "the heat maps point at what decides",
        Severity.NOTE: "only one of deletion and insertion shows that the heat maps point at what decides",
        Severity.WARNING: "the heat maps point at what decides no better than chance does",
    }[severity]
    area = {name: write_value(estimate, percent=False) for name, estimate in result.areas.items()}
    blank = float(result.curves["deletion_map"][-1])
    figures = (
        f"taking out {result.cells} cells in the order of the map leaves an area of {area['deletion_map']} under the "
        f"probability, against {area['deletion_random']} in random order (less is better), and putting them in gives "
        f"{area['insertion_map']} against {area['insertion_random']} (more is better), in "
        f"{write_count(result.n, 'picture')} called PNEUMONIA, whose blur alone gets {write_decimal(blank)}"
    )
    return Judgement(severity, meaning, figures)


def judge_markers(cleared: MarkerResult, drawn: MarkerResult) -> Judgement:
    """Judge whether marks at the edges move logits and verdicts."""
    known = [result for result in (cleared, drawn) if result.flipped.value is not None]
    if not known:
        return _leave_open("there was no picture to test markers on")
    grades = [_grade(result.flipped.value or 0, *_FLIPPED) for result in known]
    grades += [_grade(abs(change), *_MOVED) for result in known for change in result.change_by_label.values()]
    severity = max(grades, key=list(_WORDS).index)
    meaning = {
        Severity.GOOD: "marks at the edges hardly count",
        Severity.NOTE: "marks at the edges count for something",
        Severity.WARNING: "the model reads marks at the edges",
    }[severity]
    parts = []
    if cleared in known:
        moved = write_list([f"{change:+.2f} in {label} pictures" for label, change in cleared.change_by_label.items()])
        parts.append(f"taking bright marks out of the edges moves the logit by {moved}")
    if drawn in known:
        parts.append(f"drawing an R into the corner of NORMAL pictures moves it by {drawn.mean_change.value or 0:+.2f}")
    flips = write_list([f"{write_value(result.flipped)} of {write_count(result.n, 'verdict')}" for result in known])
    return Judgement(severity, meaning, f"{', '.join(parts)}, on average, and {flips} change")


def judge_metadata(result: MetadataResult) -> Judgement:
    """Judge how far the files alone give the label away."""
    value = result.auroc.value
    if value is None:
        return _leave_open(f"a baseline on file metadata alone was not fitted, for {result.auroc.reason}")
    severity = _grade(value, *_METADATA)
    meaning = {
        Severity.GOOD: "the files give little away",
        Severity.NOTE: "the files give something away",
        Severity.WARNING: "the files alone give much away, so a high figure on these data proves little",
    }[severity]
    figures = (
        f"size, file size and mean gray alone, learnt on {write_count(result.trained_on, 'picture')}, reach an AUROC "
        f"of {write_estimate(result.auroc, percent=False)}; where pictures are weighed so that they reach no more than "
        f"{write_value(result.balanced, percent=False)}, the model has "
        f"{write_estimate(result.model_balanced, percent=False)}"
    )
    return Judgement(severity, meaning, figures)


def _leave_open(reason: str) -> Judgement:
    return Judgement(Severity.NOTE, reason)


def _grade(value: float, good: float, bad: float) -> Severity:
    """Return GOOD up to `good`, WARNING from `bad`."""
    if value <= good:
        return Severity.GOOD
    return Severity.WARNING if value >= bad else Severity.NOTE
