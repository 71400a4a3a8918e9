"""Sentences from numbers: counts with the right plural, shares, and lists in words."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Write "1 picture", "5,840 pictures", "0 pictures"; `plural` is given where it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def verb(number: int, singular: str, plural: str) -> str:
    """Return the form of a verb that agrees with `number` things."""
    return singular if number == 1 else plural


def percent(share: float) -> str:
    """Write a share, 0-1, as "74.3 %"."""
    return f"{100 * share:.1f} %"


def listing(words: Sequence[str], *, most: int | None = None) -> str:
    """Write "a", "a and b", "a, b and c"; beyond `most` words "a, b and 3 more"."""
    if most is not None and len(words) > most:
        words = [*words[:most], f"{len(words) - most:,} more"]
    if len(words) <= 1:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def sentence(text: str) -> str:
    """Return a clause with a capital first letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
