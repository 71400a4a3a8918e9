"""Sections that check a data set: duplicates, unreadable files, shortcuts."""

from __future__ import annotations

from pathlib import Path

from hilum.data.audit import captions, figures, sheets
from hilum.data.audit.duplicates import NEAR_THRESHOLD
from hilum.data.audit.measurements import Measurements, draw_into
from hilum.report.render import Block, Section, Table
from hilum.report.wording import count
from hilum.types import Split

# Unreadable files and groups of duplicates that the page's tables show; eda.json has all.
_ROWS_SHOWN = 40
_GROUPS_SHOWN = 12


def show_duplicates(measured: Measurements) -> Section:
    """Show exact and near duplicates, and the most alike pictures on the two sides of test."""
    numbers = measured.numbers["duplicates"]
    near = numbers["near"]
    search = (
        "Exact duplicates have equal bytes. Near duplicates are sought among all pairs by the correlation of 64 × 64 "
        f"thumbnails, from {NEAR_THRESHOLD:.2f} on: recompressed, rescaled or brightened copies are found; mirrored, "
        "rotated or cropped ones are not."
    )
    if near["screened"]:
        search += (
            " As there are more than 30,000 pictures, pairs were screened on 16 × 16 thumbnails first, and the most "
            "alike pictures across test and the rest were not looked for."
        )
    blocks: list[Block] = [search]
    for kind, groups in (("exact", measured.exact), ("near", measured.near)):
        sentence = captions.describe_groups(numbers[kind], kind=kind)
        if not groups:
            blocks.append(sentence)
            continue
        shown = min(len(groups), sheets.GROUPS_SHOWN)
        rest = "" if shown == len(groups) else f" The first {shown} are shown; the table lists more."
        blocks.append(
            draw_into(
                measured,
                f"{kind}_duplicates",
                lambda path, groups=groups: sheets.draw_groups(  # type: ignore[misc]
                    measured.frame, measured.pictures, groups, path
                ),
                title=f"{kind.capitalize()} duplicates",
                caption=sentence + rest,
                alt=f"Pairs of pictures that are {kind} duplicates, side by side",
                wide=True,
            )
        )
    if measured.closest:
        blocks.append(
            draw_into(
                measured,
                "closest_across_test",
                lambda path: sheets.draw_pairs(measured.frame, measured.pictures, measured.closest, path),
                title="Most alike pictures of test and the rest",
                caption=captions.describe_closest(numbers["closest_across_test"], NEAR_THRESHOLD),
                alt="Pairs of a test picture and the picture of another split that is most like it",
                wide=True,
            )
        )
    listed = [*numbers["exact"]["list"], *near["list"]]
    if listed:
        body = [
            [
                ", ".join(Path(file).name for file in group["files"]),
                ", ".join(group["splits"]),
                ", ".join(group["labels"]),
                ", ".join(group["patients"]),
                "equal bytes" if group["exact"] else f"{group['correlation']:.3f}",
            ]
            for group in listed[:_GROUPS_SHOWN]
        ]
        more = f"{_GROUPS_SHOWN} of {len(listed)} groups; eda.json lists all." if len(listed) > _GROUPS_SHOWN else ""
        blocks.append(Table(["files", "split", "class", "patient", "correlation"], body, caption=more))
    return Section("Duplicates", blocks)


def show_failures(measured: Measurements) -> Section:
    """List the files that could not be read."""
    failures = measured.numbers["unreadable"]
    total = measured.numbers["pictures"]["files"]
    if not failures:
        return Section("Unreadable files", [f"All {count(total, 'file')} could be read."])
    body = [[row["path"], row["status"], row["message"]] for row in failures[:_ROWS_SHOWN]]
    more = f"{_ROWS_SHOWN} of {len(failures)}; eda.json lists all." if len(failures) > _ROWS_SHOWN else ""
    return Section(
        "Unreadable files",
        [
            f"{count(len(failures), 'file')} of {total:,} could not be read. They are in the manifest with their "
            "status, and in no split.",
            Table(["file", "status", "why"], body, caption=more),
        ],
    )


def show_shortcuts(measured: Measurements) -> Section:
    """Show how well metadata alone tell the classes apart."""
    shortcut = measured.numbers["shortcut"]
    blocks: list[Block] = [
        "A network can be right for the wrong reason. This check trains small classifiers on what a file says without "
        "its anatomy: width, height, aspect ratio, file size, colour mode and mean gray. The more they get right, the "
        "more a network could learn from how a picture was made instead of what it shows."
    ]
    caption = captions.describe_shortcuts(shortcut)
    if shortcut["reason"]:
        return Section("Shortcut check", [*blocks, caption])
    blocks.append(
        draw_into(
            measured,
            "shortcuts",
            lambda path: figures.draw_shortcuts(measured.shortcuts, path),
            title="How well metadata alone tell the classes apart",
            caption=caption,
            alt="AUROC with 95 % interval of classifiers on metadata, together and one by one, on val and test",
            wide=True,
        )
    )
    splits = [split for split in (Split.VAL, Split.TEST) if split in shortcut["together"][0]]
    body = [
        [row["name"], *("does not vary" if row["constant"] else captions.format_auroc(row[split]) for split in splits)]
        for row in (*shortcut["together"], *shortcut["alone"])
    ]
    trained = f"Trained on {count(shortcut['trained_on'], 'train picture')}; 95 % intervals from resampled patients."
    blocks.append(Table(["metadata", *(f"AUROC on {split}" for split in splits)], body, caption=trained))
    return Section("Shortcut check", blocks)
