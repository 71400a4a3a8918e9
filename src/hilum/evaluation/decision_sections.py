"""The report's section on decisions: operating points, grey zone, prediction sets, and how far all that carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hilum.evaluation.conformal import ConformalResult
from hilum.evaluation.decisions import RATES, ZONE_FIGURES, Decisions, GreyZoneResult
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.results import Results
from hilum.evaluation.transfer import Spread, Transfer
from hilum.evaluation.wording import write_decimal, write_list, write_percent, write_value
from hilum.inference.grey_zone import RULE_OUT
from hilum.report.render import Block, Cell, Figure, Subtitle, Table

# A fall of a rate below this is called none.
_NOTEWORTHY = 0.02


def lay_out_decisions(results: Results, figures: Sequence[Figure]) -> list[Block]:
    """Return the blocks of the section; none where the model has no operating points. `figures` are of the transfer."""
    decisions, split = results.decisions, str(results.tested.split)
    if not decisions.points:
        return []
    blocks: list[Block] = [_tabulate_points(decisions, split)]
    if decisions.grey_zone is not None:
        blocks += [Subtitle("Grey zone"), _tell_grey_zone(decisions.grey_zone, split)]
        blocks.append(_tabulate_zones(decisions.grey_zone, split))
    if decisions.conformal:
        blocks += [Subtitle("Prediction sets"), _tell_conformal(decisions.conformal, split)]
        blocks.append(_tabulate_conformal(decisions.conformal, split))
    if decisions.transfer is not None:
        transfer, source = decisions.transfer, decisions.source
        blocks += [Subtitle("What carries over"), tell_transfer(transfer, split, source)]
        blocks += [*_tabulate_transfer(transfer, split, source), _tell_calibration(transfer), *figures]
    return blocks


def _name_splits(
    val: Mapping[str, Estimate] | None, tested: Mapping[str, Estimate], split: str
) -> Iterator[tuple[str, Mapping[str, Estimate]]]:
    if val is not None and val is not tested:
        yield "val", val
    yield split, tested


def _tabulate_points(decisions: Decisions, split: str) -> Table:
    rows: list[list[Cell]] = []
    for result in decisions.points:
        val = None if split == "val" else result.val
        for name, estimates in _name_splits(val, result.tested, split):
            shown = [_write_cell(estimates[rate]) for rate in RATES]
            rows.append([result.name, f"{result.spec.threshold:.4f}", name, *shown])
    headers = ("Operating point", "Threshold", "Split", "Sensitivity", "Specificity", "PPV", "NPV")
    chosen = sorted({result.spec.chosen_on for result in decisions.points})
    caption = (
        f"In per cent. All thresholds were chosen on {write_list(chosen)}; 95 % intervals over patients. PPV and "
        "NPV hold for the share of PNEUMONIA of their split alone."
    )
    return Table(headers, rows, caption=caption)


def _write_cell(estimate: Estimate) -> str | None:
    """Write a share in per cent, without the sign, and its interval: a table with many columns says it once."""
    if estimate.value is None:
        return None
    value = f"{100 * estimate.value:.1f}"
    if estimate.ci_low is None or estimate.ci_high is None:
        return value
    return f"{value} ({100 * estimate.ci_low:.1f}–{100 * estimate.ci_high:.1f})"


def _tell_grey_zone(result: GreyZoneResult, split: str) -> str:
    zone, tested = result.zone, result.tested
    if zone.is_empty:
        return (
            f"There is no grey zone: {RULE_OUT} does not lie below the decision threshold ({zone.high:.3f}), nor "
            f"{zone.rule_in} above it, so that threshold alone divides all images."
        )
    return (
        f"A probability below {zone.low:.3f} (the smaller of the decision threshold and {RULE_OUT}) rules PNEUMONIA "
        f"out, one from {zone.high:.3f} on (the larger of the decision threshold and {zone.rule_in}) rules it in, and "
        f"what lies between is undetermined: that is {write_value(tested['undetermined'])} of {split}. Of the images "
        f"ruled out there {write_value(tested['pneumonia_in_ruled_out'])} are PNEUMONIA all the same, of those ruled "
        f"in {write_value(tested['normal_in_ruled_in'])} NORMAL."
    )


def _tabulate_zones(result: GreyZoneResult, split: str) -> Table:
    rows: list[list[Cell]] = [
        [name, *(_write_cell(estimates[figure]) for figure in ZONE_FIGURES)]
        for name, estimates in _name_splits(None if split == "val" else result.val, result.tested, split)
    ]
    headers = ("Split", "Ruled out", "Undetermined", "Ruled in", "PNEUMONIA among ruled out", "NORMAL among ruled in")
    return Table(
        headers, rows, caption="In per cent: shares of the pictures in each zone, and errors among those decided."
    )


def _tell_conformal(results: Sequence[ConformalResult], split: str) -> str:
    short = []
    for result in results:
        for name, coverage in _list_promises(result):
            high = coverage.ci_high if coverage.ci_high is not None else coverage.value
            if high is not None and high < 1 - result.rule.alpha:
                kind = "class-conditional" if result.rule.by_class else "marginal"
                promised = write_percent(1 - result.rule.alpha, digits=0)
                short.append(f"{write_value(coverage)} of {name} ({kind}, {promised} promised)")
    opening = (
        "A set holds each label that val does not exclude; it keeps its promise where pictures are like those of val. "
    )
    if not short:
        return f"{opening}On {split} every promise is kept, or missed by no more than chance explains."
    return f"{opening}On {split} it is not kept: the sets hold the true label in {write_list(short)}."


def _list_promises(result: ConformalResult) -> list[tuple[str, Estimate]]:
    if not result.rule.by_class:
        return [("all pictures", result.coverage)]
    return [("NORMAL", result.coverage_normal), ("PNEUMONIA", result.coverage_pneumonia)]


def _tabulate_conformal(results: Sequence[ConformalResult], split: str) -> Table:
    rows: list[list[Cell]] = [
        [
            "by class" if result.rule.by_class else "marginal",
            write_percent(1 - result.rule.alpha, digits=0),
            _write_cell(result.coverage),
            _write_cell(result.coverage_normal),
            _write_cell(result.coverage_pneumonia),
            _write_size(result.mean_size),
            _write_cell(result.empty),
        ]
        for result in results
    ]
    headers = (
        "Sets", "Aim", "Coverage", "of NORMAL", "of PNEUMONIA", "Mean size", "No label",
    )  # fmt: skip
    caption = (
        f"Split-conformal sets of val on {split}: how often the true label is in the set, and how many labels are. By "
        "class: class-conditional (Mondrian). Marginal sets promise coverage on the whole only."
    )
    return Table(headers, rows, caption=caption)


def _write_size(estimate: Estimate) -> str | None:
    if estimate.value is None:
        return None
    value = write_decimal(estimate.value, digits=2)
    if estimate.ci_low is None or estimate.ci_high is None:
        return value
    return f"{value} ({write_decimal(estimate.ci_low, digits=2)}–{write_decimal(estimate.ci_high, digits=2)})"


def tell_transfer(transfer: Transfer, split: str, source: str) -> str:
    """Return the sentence that says what carries over to a split from `source`, which chose, and what does not."""
    carried, lost = [], []
    for name in ("sensitivity", "specificity"):
        worst, fall = find_worst_fall(transfer, name)
        if fall < _NOTEWORTHY:
            carried.append(f"{name} (no point falls by {100 * _NOTEWORTHY:g} points or more)")
        else:
            rates = transfer.points[worst]
            lost.append(
                f"{name} (at {worst} it falls from {write_value(getattr(rates.known, name))} to "
                f"{write_value(getattr(rates.as_is, name))})"
            )
    parts = []
    if carried:
        parts.append(f"from {source} to {split} {write_list(carried)} carries over" if len(carried) == 1 else
                     f"from {source} to {split} {write_list(carried)} carry over")  # fmt: skip
    if lost:
        parts.append(f"{write_list(lost)} {'does' if len(lost) == 1 else 'do'} not")
    gaps = [f"{_measure_gap(transfer, 'as_is'):.1f} points from those of {source} as they are"]
    gaps.append(
        f"{_measure_gap(transfer, 'adapted'):.1f} after adapting the prior without labels (which takes "
        f"{write_percent(transfer.estimated)} for the {write_percent(transfer.observed)} PNEUMONIA that there are)"
    )
    if transfer.sizes:
        size = transfer.sizes[-1]
        gaps.append(f"{_measure_gap(transfer, size):.1f} after recalibration on {size} labelled local pictures")
    text = ", but ".join(parts) if carried and lost else parts[0]
    return f"{text[0].upper()}{text[1:]}; on average the rates lie {write_list(gaps)}."


def find_worst_fall(transfer: Transfer, rate: str) -> tuple[str, float]:
    """Return the operating point whose `rate`, sensitivity or specificity, falls most, and by how much."""
    falls = {
        name: (getattr(point.known, rate).value or 0.0) - (getattr(point.as_is, rate).value or 0.0)
        for name, point in transfer.points.items()
    }
    worst = max(falls, key=lambda name: falls[name])
    return worst, falls[worst]


def _measure_gap(transfer: Transfer, step: str | int) -> float:
    """Return the mean difference, in points, of all rates from those where they were chosen."""
    gaps = []
    for point in transfer.points.values():
        after = point.recalibrated[step] if isinstance(step, int) else getattr(point, step)
        for name in ("sensitivity", "specificity"):
            rate = getattr(after, name)
            value = rate.mean if isinstance(rate, Spread) else rate.value
            gaps.append(abs(value - getattr(point.known, name).value))
    return 100 * float(np.mean(gaps))


def _tabulate_transfer(transfer: Transfer, split: str, source: str) -> list[Table]:
    captions = {
        "sensitivity": f"Sensitivity in per cent, on {split} as it is with its 95 % interval.",
        "specificity": "Specificity likewise. Prior adapted: without labels, by EM (Saerens, Latinne and Decaestecker "
        f"2002). Local: calibration and thresholds refitted on so many labelled pictures of {split}, shrunk towards "
        "those of the model, and measured on the pictures of other patients: mean (5th to 95th percentile) of "
        f"{transfer.draws:,} draws. An analysis only: nothing of it changes the model.",
    }
    steps = [source, f"{split}, as it is", "Prior adapted", *(f"{size} local" for size in transfer.sizes)]
    tables = []
    for rate, caption in captions.items():
        rows: list[list[Cell]] = []
        for name, point in transfer.points.items():
            known, as_is, adapted = (getattr(rates, rate) for rates in (point.known, point.as_is, point.adapted))
            # The interval of where they were chosen stands in the table of operating points.
            cells = [_write_cell(Estimate(known.value)), _write_cell(as_is), _write_cell(Estimate(adapted.value))]
            spreads = [_write_cell(_to_estimate(getattr(rates, rate))) for rates in point.recalibrated.values()]
            rows.append([name, *cells, *spreads])
        tables.append(Table([rate.capitalize(), *steps], rows, caption=caption))
    return tables


def _tell_calibration(transfer: Transfer) -> str:
    sentence = (
        f"The expected calibration error is {write_decimal(transfer.ece_as_is)} as it is and "
        f"{write_decimal(transfer.ece_adapted)} with an adapted prior"
    )
    if not transfer.sizes:
        return f"{sentence}."
    errors = write_list([write_decimal(spread.mean) for spread in transfer.ece_recalibrated.values()])
    sizes = write_list([str(size) for size in transfer.sizes])
    return f"{sentence}; after recalibration on {sizes} local pictures it is {errors} on average."


def _to_estimate(spread: Spread) -> Estimate:
    return Estimate(spread.mean, spread.low, spread.high)
