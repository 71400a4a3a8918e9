"""The audit of a data set: measure, judge, draw, and write eda.html, eda.json and figures/*.png."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.data.audit.census import combine
from hilum.data.audit.duplicates import find_exact_duplicates, find_near_duplicates
from hilum.data.audit.findings import list_findings
from hilum.data.audit.measurements import Measurements
from hilum.data.audit.numbers import collect_numbers, rank_groups
from hilum.data.audit.pixels import measure_pixels, read_square
from hilum.data.audit.sections import build_sections, list_key_figures
from hilum.data.audit.sheets import GROUPS_SHOWN, choose_samples
from hilum.data.audit.shortcut import check_shortcuts
from hilum.errors import DataError
from hilum.files import write_json
from hilum.report.render import Finding, Page, Section, render_page
from hilum.report.wording import count
from hilum.types import Split, Status


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found: its `numbers` (the content of eda.json), its findings, and where the page is."""

    numbers: Mapping[str, Any]
    findings: Sequence[Finding]
    page: Path


def build_audit(
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    out: Path,
    *,
    seed: int = 0,
    source: str = "",
    extra_sections: Sequence[Section] = (),
) -> Audit:
    """Audit a data set and write eda.html, eda.json and figures/*.png into `out`.

    Test pictures enter counts, duplicates and the shortcut check; all that design could follow (file properties, gray
    levels, mean pictures, the sample) is measured on train and val.

    Args:
        manifest: all files, as `hilum.data.manifest.load_data` returns it.
        splits: the readable ones with their split, as `hilum.data.splits.build_splits` returns it.
        out: the folder to write to; files of the same names are replaced.
        seed: draws the sample and the bootstrap.
        source: what the page calls the data; by default the folder that holds all files.
        extra_sections: more sections of the page, shown last; their figures must exist.

    Raises:
        DataError: no file is readable, or a readable picture has no split.
        ImageReadError: a picture that the manifest calls readable cannot be decoded any more.
    """
    if not (manifest["status"] == Status.OK).any():
        raise DataError(f"None of the {count(len(manifest), 'file')} can be read, so there is nothing to explore.")
    frame = combine(manifest, splits)
    hashes = frame["sha256"].tolist()
    held_out = (frame["split"] == Split.TEST).to_numpy(dtype=bool)
    samples = choose_samples(frame, seed=seed)
    exact = rank_groups(frame, find_exact_duplicates(hashes))

    shown = {row for rows in samples.values() for row in rows}
    shown |= {row for group in exact[:GROUPS_SHOWN] for row in group.rows[:2]}
    pixels = measure_pixels(frame["path"].tolist(), frame["label"].tolist(), averaged=~held_out, keep=shown)
    similar = find_near_duplicates(pixels.thumbnails, hashes, held_out=held_out)
    similar = dataclasses.replace(similar, groups=rank_groups(frame, similar.groups))
    closest = similar.closest_across or ()
    # That these few are shown was not known in the pass, so they are read again.
    late = {row for group in similar.groups[:GROUPS_SHOWN] for row in group.rows[:2]}
    late |= {row for pair in closest for row in (pair.first, pair.second)}
    pictures = {**pixels.kept, **{row: read_square(str(frame.at[row, "path"])) for row in late - shown}}
    shortcuts = check_shortcuts(frame, seed=seed)

    numbers = collect_numbers(
        manifest, frame, pixels=pixels, exact=exact, similar=similar, shortcuts=shortcuts, source=source, seed=seed
    )
    findings = list_findings(numbers)
    numbers["findings"] = [{"severity": str(finding.severity), "text": finding.text} for finding in findings]
    measured = Measurements(
        frame=frame,
        numbers=numbers,
        pixels=pixels,
        samples=samples,
        exact=exact,
        near=similar.groups,
        closest=closest,
        shortcuts=shortcuts,
        pictures=pictures,
        folder=out / "figures",
        seed=seed,
    )
    page = Page(
        title="Exploring the chest radiographs",
        subtitle=f"What {count(len(frame), 'picture')} of {count(numbers['patients']['total'], 'patient')} hold, and "
        "what in them could mislead a network.",
        sections=[*build_sections(measured), *extra_sections],
        key_figures=list_key_figures(numbers),
        findings=findings,
        facts={"Data": numbers["source"], "Seed": str(seed)},
    )
    write_json(out / "eda.json", numbers)
    render_page("eda.html.j2", out / "eda.html", page=page)
    return Audit(numbers, findings, out / "eda.html")
