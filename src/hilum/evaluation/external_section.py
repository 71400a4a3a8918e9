"""The section of a report on external validation: a table, a figure, and what it means in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import MultipleLocator

from hilum.evaluation.external import ExternalResult
from hilum.evaluation.wording import write_decimal, write_estimate, write_interval, write_percent, write_value
from hilum.report.render import Bullets, Cell, Figure, Finding, Section, Severity, Table
from hilum.report.style import COLOURS, FULL_WIDTH, INK, NEUTRAL, draw_figure
from hilum.types import Label

TITLE = "Other hospitals"
_RATES = ("Set", "n", "PNEUMONIA", "AUROC", "Sensitivity", "Specificity", "Sens., refitted", "Spec., refitted")
_INPUTS = ("Set", "Refused", "Familiarity, median", "5 % to 95 %", "Below 0.01")


def build_external_section(results: Sequence[ExternalResult], path: Path, *, own: ExternalResult) -> Section:
    """Return the section, and draw its figure to `path`.

    Args:
        results: sets in order, each followed by its groups.
        path: of the figure, a PNG.
        own: the tested split itself, for comparison.
    """
    shown = [own, *results]
    blocks: list[Bullets | Table | Figure] = [Bullets(tell_external(results, own=own)), _tabulate_rates(shown)]
    if any(result.refused is not None for result in shown):
        blocks.append(_tabulate_inputs(shown))
    if sum(result.estimates["auroc"].value is not None for result in shown) > 1:
        blocks.append(_draw(shown, path))
    return Section(TITLE, blocks)


def tell_external(results: Sequence[ExternalResult], *, own: ExternalResult) -> list[str]:
    """Say what the figures mean."""
    sentences = []
    for result in results:
        if result.group:
            continue
        auroc = result.estimates["auroc"]
        if auroc.value is None:
            sentences.append(
                f"{result.name}: sensitivity {_write(result, 'recall')}, specificity {_write(result, 'specificity')}; "
                f"there is no AUROC, for {auroc.reason}."
            )
            continue
        text = f"{result.name}: AUROC {write_estimate(auroc, percent=False)}"
        if own.estimates["auroc"].value is not None:
            text += f", where {own.name} has {write_value(own.estimates['auroc'], percent=False)}"
        if auroc.ci_low is not None and auroc.ci_low <= 0.5:
            text += "; that may be chance: here the model is not to be used"
        sentences.append(f"{text}.")
    sentences.append(
        "Calibration and threshold are the model's own. The recalibrated columns are means over random draws of 50 "
        "labelled pictures that refit both (hilum recalibrate does so), measured on the rest; they move the threshold "
        "and cannot raise the AUROC."
    )
    return sentences


def describe_external(results: Sequence[ExternalResult]) -> Finding | None:
    """Return a finding on the lowest AUROC of a set; None where no set has both classes."""
    known = [
        (result.estimates["auroc"].value, result)
        for result in results
        if not result.group and result.estimates["auroc"].value is not None
    ]
    if not known:
        return None
    value, worst = min(known, key=lambda pair: pair[0])
    text = f"On {worst.name} the AUROC is {write_estimate(worst.estimates['auroc'], percent=False)}."
    if value < 0.8:
        return Finding(Severity.WARNING, f"{text} The figures of the tested split do not hold there.")
    return Finding(Severity.NOTE, text)


def _write(result: ExternalResult, metric: str) -> str:
    estimate = result.estimates[metric]
    return "–" if estimate.value is None else write_value(estimate, percent=True)


def _tabulate_rates(shown: Sequence[ExternalResult]) -> Table:
    rows: list[list[Cell]] = []
    for result in shown:
        auroc, local = result.estimates["auroc"], result.recalibrated
        interval = "" if auroc.ci_low is None else f" ({write_interval(auroc, percent=False)})"
        rows.append(
            [
                _name(result),
                result.n,
                result.positives,
                None if auroc.value is None else f"{write_decimal(auroc.value)}{interval}",
                _write(result, "recall"),
                _write(result, "specificity"),
                None if local is None else write_percent(local.sensitivity.mean),
                None if local is None else write_percent(local.specificity.mean),
            ]
        )
    return Table(_RATES, rows, caption="External validation. Refitted: after recalibration on 50 images of the set.")


def _tabulate_inputs(shown: Sequence[ExternalResult]) -> Table:
    rows: list[list[Cell]] = []
    for result in shown:
        known = result.familiarity
        rows.append(
            [
                _name(result),
                result.refused,
                None if known is None else write_decimal(known[1]),
                None if known is None else f"{write_decimal(known[0])} to {write_decimal(known[2])}",
                None if result.unfamiliar is None else write_percent(result.unfamiliar),
            ]
        )
    caption = (
        "Refused: what the input gate takes for no chest radiograph; it is scored here all the same. Familiarity: 0.5 "
        "is typical of the training images, and below 0.01 a prediction comes with a warning."
    )
    return Table(_INPUTS, rows, caption=caption)


def _name(result: ExternalResult) -> str:
    return f"{result.name}, {result.group}" if result.group else result.name


def _draw(shown: Sequence[ExternalResult], path: Path) -> Figure:
    known = [result for result in shown if result.estimates["auroc"].value is not None]
    with draw_figure(path, width=FULL_WIDTH, height=1.0 + 0.34 * len(known)) as figure:
        axes = figure.subplots()
        for place, result in enumerate(known):
            auroc = result.estimates["auroc"]
            assert auroc.value is not None
            colour = COLOURS[Label.PNEUMONIA] if not result.group else NEUTRAL
            if auroc.ci_low is not None and auroc.ci_high is not None:
                axes.plot([auroc.ci_low, auroc.ci_high], [place, place], color=colour, linewidth=2, alpha=0.6)
            axes.plot([auroc.value], [place], "o", color=colour, markersize=7 if not result.group else 5)
        names = [f"    {result.group}" if result.group else f"{result.name} (n = {result.n:,})" for result in known]
        axes.set_yticks(range(len(known)), names)
        axes.set_ylim(len(known) - 0.5, -0.5)
        lowest = min(result.estimates["auroc"].ci_low or 0.5 for result in known)
        axes.set_xlim(min(0.45, lowest - 0.03), 1.01)
        axes.xaxis.set_major_locator(MultipleLocator(0.1))
        axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("AUROC with its 95 % interval; 0.5 is chance")
        axes.grid(False, axis="y")
    caption = "AUROC by set and group. Bars are 95 % intervals; the dotted line is chance."
    return Figure(path, "External validation.", caption, alt=caption, wide=True)
