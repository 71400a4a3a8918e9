"""The sections of eda.html in their order, and the cards at its top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.data.audit.captions import judged_split
from hilum.data.audit.check_sections import show_duplicates, show_failures, show_shortcuts
from hilum.data.audit.content_sections import show_classes, show_files, show_gray_levels, show_patients, show_sample
from hilum.data.audit.measurements import Measurements
from hilum.report.render import KeyFigure, Section
from hilum.report.wording import count, percent
from hilum.types import Label


def build_sections(measured: Measurements) -> list[Section]:
    """Draw the figures of an audit into its folder and return its sections in the order of the page."""
    sections = [
        show_sample(measured),
        show_classes(measured),
        show_patients(measured),
        show_files(measured),
        show_gray_levels(measured),
        show_duplicates(measured),
        show_failures(measured),
        show_shortcuts(measured),
    ]
    return [section for section in sections if section.blocks]


def list_key_figures(numbers: Mapping[str, Any]) -> list[KeyFigure]:
    """Return the cards at the top of the page."""
    counts, patients, exact = numbers["counts"], numbers["patients"], numbers["duplicates"]["exact"]
    cards = [
        KeyFigure(
            f"{numbers['pictures']['readable']:,}",
            "pictures",
            ", ".join(f"{r['total']:,} {s}" for s, r in counts.items()),
        ),
        KeyFigure(f"{patients['total']:,}", "patients", f"{patients['with_several_pictures']:,} with several pictures"),
    ]
    shares = {split: percent(row[Label.PNEUMONIA] / row["total"]) for split, row in counts.items()}
    first = next(iter(shares))
    rest = ", ".join(f"{share} in {split}" for split, share in shares.items() if split != first)
    cards.append(KeyFigure(shares[first], f"PNEUMONIA in {first}", rest))
    cards.append(KeyFigure(f"{len(patients['in_two_splits']):,}", "patients in two splits"))
    within = (
        f"in {count(exact['groups'], 'group')}, {exact['across_splits']:,} across splits" if exact["groups"] else ""
    )
    cards.append(KeyFigure(f"{exact['files']:,}", "files with a byte-equal copy", within))
    shortcut = numbers["shortcut"]
    if not shortcut["reason"]:
        split = judged_split(shortcut)
        score = shortcut["together"][0][split]
        note = f"{score['ci_low']:.2f}–{score['ci_high']:.2f}; 0.50 is chance"
        cards.append(KeyFigure(f"{score['auroc']:.2f}", f"AUROC of metadata alone, {split}", note))
    return cards
