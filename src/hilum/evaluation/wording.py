"""How numbers stand in sentences: "96.9 %", "94.8 to 98.4 %", "1 picture", "2,048 pictures"."""

from __future__ import annotations

from collections.abc import Sequence

from hilum.evaluation.intervals import Estimate

_UNIT = "\N{NO-BREAK SPACE}%"  # a line must not break between figure and sign


def write_percent(share: float, *, digits: int = 1) -> str:
    """Write a share as per cent; only what is exactly 0 or 1 is written as 0 % or 100 %."""
    if share in {0.0, 1.0}:
        return f"{share * 100:.0f}{_UNIT}"
    # 99.97 % must not read as 100 %.
    edge = 0.5 * 10 ** -(digits + 2)
    shown = min(max(share, 10 ** -(digits + 2)), 1 - 10 ** -(digits + 2)) if min(share, 1 - share) < edge else share
    return f"{shown * 100:.{digits}f}{_UNIT}"


def write_decimal(value: float, *, digits: int = 3) -> str:
    """Write a number such as an AUROC with a fixed count of decimals, -0 as 0."""
    return f"{value + 0.0:.{digits}f}"


def write_value(estimate: Estimate, *, percent: bool = True) -> str:
    """Write the value alone, a dash where it is not defined."""
    if estimate.value is None:
        return "–"
    return write_percent(estimate.value) if percent else write_decimal(estimate.value)


def write_interval(estimate: Estimate, *, percent: bool = True) -> str:
    """Write the interval as "94.8 to 98.4 %" or "0.948 to 0.984", or "no interval"."""
    if estimate.ci_low is None or estimate.ci_high is None:
        return "no interval"
    if percent:
        return f"{write_percent(estimate.ci_low).removesuffix(_UNIT)} to {write_percent(estimate.ci_high)}"
    return f"{write_decimal(estimate.ci_low)} to {write_decimal(estimate.ci_high)}"


def write_estimate(estimate: Estimate, *, percent: bool = True) -> str:
    """Write value and interval as "96.9 % (95 % interval 94.8 to 98.4 %)", or "not defined (reason)"."""
    if estimate.value is None:
        return f"not defined ({estimate.reason})"
    value = write_percent(estimate.value) if percent else write_decimal(estimate.value)
    if estimate.ci_low is None:
        return f"{value} (no interval)"
    return f"{value} (95 % interval {write_interval(estimate, percent=percent)})"


def write_probability(value: float) -> str:
    """Write a probability with three decimals, never as 0 or 1: "p = 0.312", "p < 0.001", "p > 0.999"."""
    if value < 0.001:
        return "p < 0.001"
    return "p > 0.999" if value > 0.999 else f"p = {value:.3f}"


def write_count(count: int, noun: str, plural: str | None = None) -> str:
    """Write "1 picture", "2,048 pictures", "no pictures"."""
    name = noun if count == 1 else plural or f"{noun}s"
    return f"{count:,} {name}" if count else f"no {name}"


def write_list(items: Sequence[str]) -> str:
    """Write "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
