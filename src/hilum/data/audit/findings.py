"""What a reader of an audit should know first: findings, each a sentence with how much it matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hilum.data.audit.captions import describe_groups, format_auroc, grade_auroc, judged_split
from hilum.report.render import Finding, Severity
from hilum.report.wording import count, listing, percent, sentence, verb
from hilum.types import Label, Split

Numbers = Mapping[str, Any]

# A shift of the class share between train and test that is worth a warning: five points.
_SHARE_SHIFT = 0.05
# From this AUROC on, metadata are a shortcut worth a warning.
_SHORTCUT_AUROC = 0.65


def list_findings(numbers: Numbers) -> list[Finding]:
    """Return the findings of an audit, warnings first, then notes, then what is well."""
    found = [
        *_judge_patients(numbers["patients"]),
        *_judge_duplicates(numbers["duplicates"]),
        *_judge_shortcuts(numbers["shortcut"]),
        *_judge_modes(numbers["files"]),
        *_judge_classes(numbers["counts"]),
        *_judge_reading(numbers["pictures"]),
        *_judge_contrast(numbers["flat_pictures"]),
    ]
    order = (Severity.WARNING, Severity.NOTE, Severity.GOOD)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _judge_patients(patients: Numbers) -> Iterator[Finding]:
    shared, unknown = patients["in_two_splits"], patients["pictures_of_unknown_patients"]
    if shared:
        yield Finding(
            Severity.WARNING,
            sentence(
                f"{count(len(shared), 'patient')} {verb(len(shared), 'stands', 'stand')} in two splits: "
                f"{listing(shared, most=5)}"
            ),
        )
    elif unknown == 0 and len(patients["by_split"]) > 1:
        yield Finding(Severity.GOOD, f"No patient stands in two splits ({count(patients['total'], 'patient')}).")
    if unknown:
        yield Finding(
            Severity.WARNING if unknown > 0.5 * patients["pictures"] else Severity.NOTE,
            sentence(
                f"{count(unknown, 'file name')} of {patients['pictures']:,} {verb(unknown, 'names', 'name')} no "
                f"patient and {verb(unknown, 'counts as a patient of its own', 'count as one patient each')}: "
                "pictures of one person may stand in two splits"
            ),
        )
    both = patients["in_both_classes"]
    if both:
        yield Finding(
            Severity.NOTE,
            sentence(
                f"{count(len(both), 'patient')} {verb(len(both), 'has', 'have')} pictures of both classes: "
                f"{listing(both, most=5)}"
            ),
        )


def _judge_duplicates(duplicates: Numbers) -> Iterator[Finding]:
    for kind in ("exact", "near"):
        groups = duplicates[kind]
        if groups["groups"] == 0:
            yield Finding(Severity.GOOD, f"There are no {kind} duplicates.")
        else:
            bad = groups["across_splits"] or groups["across_classes"]
            yield Finding(Severity.WARNING if bad else Severity.NOTE, describe_groups(groups, kind=kind))
    if not duplicates["near"]["complete"]:
        yield Finding(Severity.WARNING, "The search for near duplicates stopped at a million pairs: there are more.")


def _judge_shortcuts(shortcut: Numbers) -> Iterator[Finding]:
    if shortcut["reason"]:
        yield Finding(Severity.NOTE, sentence(f"the shortcut check was not done: {shortcut['reason']}"))
        return
    varying = [row for row in shortcut["alone"] if not row["constant"]]
    if not varying:
        yield Finding(
            Severity.GOOD, "Size, colour mode, bytes and mean gray are the same for all pictures: no shortcut there."
        )
        return
    split = judged_split(shortcut)
    whole = shortcut["together"][0][split]
    best = max(varying, key=lambda row: row[split]["auroc"])
    text = f"all of them reach an AUROC of {format_auroc(whole)}, {best['name']} alone {format_auroc(best[split])}"
    value, low = whole["auroc"], whole["ci_low"]
    if best[split]["auroc"] >= _SHORTCUT_AUROC and best[split]["ci_low"] > max(0.5, low):
        # The whole set fell short of one of its parts, as it does where another part misleads it.
        value, low = best[split]["auroc"], best[split]["ci_low"]
    if low <= 0.5 and whole["ci_high"] >= _SHORTCUT_AUROC:
        yield Finding(
            Severity.NOTE, f"Too few pictures to tell whether metadata give the classes away on {split}: {text}."
        )
    elif low <= 0.5:
        yield Finding(Severity.GOOD, f"Metadata alone do not tell the classes apart on {split}: {text}.")
    elif value < _SHORTCUT_AUROC:
        yield Finding(Severity.NOTE, f"Metadata alone tell the classes apart {grade_auroc(value)} on {split}: {text}.")
    else:
        yield Finding(
            Severity.WARNING,
            f"Metadata alone tell the classes apart {grade_auroc(value)} on {split}: {text}. Whatever causes this can "
            "be learnt in place of the lungs.",
        )


def _judge_modes(files: Numbers) -> Iterator[Finding]:
    if len(files) < 2:
        return
    modes = {mode for row in files.values() for mode in row["modes"]}
    for mode in sorted(modes):
        owners = [label for label, row in files.items() if mode in row["modes"]]
        total = sum(row["modes"].get(mode, 0) for row in files.values())
        if len(owners) == 1 and total > 1:
            yield Finding(
                Severity.WARNING,
                f"All {count(total, 'picture')} of colour mode {mode} in train and val are {owners[0]}.",
            )


def _judge_classes(counts: Numbers) -> Iterator[Finding]:
    shares = {split: row[Label.PNEUMONIA] / row["total"] for split, row in counts.items()}
    for split, share in shares.items():
        if share in (0, 1):
            yield Finding(Severity.WARNING, f"{split.capitalize()} holds one class only: {_majority(share)}.")
    if Split.TEST not in shares:
        yield Finding(
            Severity.WARNING, "There is no test split: a network can be trained, but not be judged, on these data."
        )
    elif Split.TRAIN in shares:
        train, test = shares[Split.TRAIN], shares[Split.TEST]
        if abs(train - test) >= _SHARE_SHIFT:
            yield Finding(
                Severity.WARNING,
                sentence(
                    f"the share of PNEUMONIA shifts from {percent(train)} in train to {percent(test)} in test: "
                    "probabilities, precision and accuracy do not carry over from one to the other"
                ),
            )
        else:
            yield Finding(
                Severity.GOOD,
                f"The share of PNEUMONIA is alike in train ({percent(train)}) and test ({percent(test)}).",
            )
    judged = next((split for split in (Split.TEST, Split.VAL, Split.TRAIN) if split in shares), None)
    if judged is not None and 0 < shares[judged] < 1 and max(shares[judged], 1 - shares[judged]) >= 0.6:
        share = shares[judged]
        yield Finding(
            Severity.NOTE,
            sentence(
                f"always answering {_majority(share)} would be right for {percent(max(share, 1 - share))} of {judged}: "
                "compare every accuracy with that"
            ),
        )


def _majority(share: float) -> str:
    return str(Label.PNEUMONIA if share >= 0.5 else Label.NORMAL)


def _judge_reading(pictures: Numbers) -> Iterator[Finding]:
    failed = pictures["files"] - pictures["readable"]
    if failed:
        yield Finding(
            Severity.WARNING,
            sentence(
                f"{failed:,} of {count(pictures['files'], 'file')} cannot be read and {verb(failed, 'is', 'are')} "
                "left out"
            ),
        )
    else:
        yield Finding(Severity.GOOD, sentence(f"all {count(pictures['files'], 'file')} can be read"))


def _judge_contrast(flat: list[str]) -> Iterator[Finding]:
    if flat:
        yield Finding(
            Severity.WARNING,
            sentence(
                f"{count(len(flat), 'picture')} {verb(len(flat), 'is', 'are')} nearly of one gray: "
                f"{listing(flat, most=3)}"
            ),
        )
