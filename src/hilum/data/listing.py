"""What a data source says of its pictures before any of them is read: a folder, a CSV of labels or a MedMNIST .npz.

Folders fold and tables keep: pictures in a folder named val belong to train, from which validation is carved anew by
patient, whereas a `val` that a table gives stays validation. Either way `given_split` records what the source said.
"""

from __future__ import annotations

import csv
import filecmp
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

import numpy as np

from hilum.data.images import SUFFIXES
from hilum.data.names import find_label, find_split, parse_cause, parse_file_name, parse_label, parse_split
from hilum.data.npz import read_npz_array
from hilum.data.tables import find_delimiter, read_header
from hilum.errors import DataError, ImageReadError
from hilum.types import Label, Pathogen, Split

logger = logging.getLogger(__name__)

TABLE_HELP = "a CSV with the columns path,label and, where known, patient and split"
# What operating systems leave beside pictures.
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
_SYSTEM_FOLDERS = {"__macosx"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture as its source lists it; texts are empty where unknown. `reference` is read by `read_picture`.

    `split` is the one that the picture is used in, `given_split` the one that the source names. `problem` says why the
    picture cannot be used whatever its pixels are.
    """

    reference: str
    label: str
    split: str
    given_split: str
    pathogen: str
    patient: str
    patient_known: bool
    problem: str = ""


def list_folder(root: Path) -> list[Entry]:
    """List a folder whose subfolders name labels (NORMAL, PNEUMONIA) and splits (train, val, test), at any depth.

    Every file below a label folder is listed, whatever it is, and every file elsewhere that has a picture's suffix.
    Hidden files are skipped. Without any split folder all belongs to train.

    Raises:
        DataError: nothing lies below a folder that names a label, or a folder cannot be read.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - Path.resolve would follow links, and references keep them
    files = list(_walk(root))
    if not files:
        raise DataError(f"{root} holds no files; name a folder with pictures, such as {root}/train/NORMAL/x.jpeg.")
    kept = _without_copies(root, files)
    entries, elsewhere = [], 0
    for path in kept:
        entry = _describe_file(root, path)
        if entry.label or path.suffix.lower() in SUFFIXES:
            entries.append(entry)
        else:
            elsewhere += 1
    if not any(entry.label for entry in entries):
        raise DataError(
            f"No folder below {root} that holds files is named NORMAL or PNEUMONIA (any case, any depth, such as "
            f"train/NORMAL); for pictures in another order name {TABLE_HELP}."
        )
    if elsewhere:
        logger.info("Files skipped outside of the label folders that are no pictures: %d.", elsewhere)
    return entries


def list_table(path: Path) -> list[Entry]:
    """List a CSV with the columns path,label[,patient,split]; paths are relative to the folder of the CSV.

    Without a patient, the file name may tell one; without a split, the folders in the path may, or it is train.

    Raises:
        DataError: columns are missing, or rows do not fit; the message gives their line numbers.
    """
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - as in list_folder
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    problems: list[str] = []
    for line, row in read_rows(path):
        label, split = parse_label(row["label"]), parse_split(row.get("split", ""))
        reference = name_picture(path, row["path"])
        if not row["path"]:
            problems.append(f"line {line} has no path")
        elif label is None:
            problems.append(f"line {line} has the label '{row['label']}'")
        elif row.get("split") and split is None:
            problems.append(f"line {line} has the split '{row['split']}'")
        elif reference in seen:
            problems.append(f"line {line} repeats the path of line {seen[reference]}")
        else:
            seen[reference] = line
            cause = parse_cause(row["label"])
            entries.append(_describe_row(folder, reference, label, split, row.get("patient", ""), cause))
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise DataError(
            f"{path} does not fit: {shown}. A label is NORMAL or PNEUMONIA, a split train, val or test, and a path "
            "stands once."
        )
    if not entries:
        raise DataError(f"{path} has no rows below its header.")
    return entries


def name_picture(table: Path, text: str) -> str:
    """Return the reference of a picture by what stands in the path column of a CSV: relative to the CSV's folder."""
    folder = Path(os.path.abspath(table)).parent  # noqa: PTH100 - as in list_folder
    return os.path.normpath(folder / text.strip())


def list_npz(path: Path) -> list[Entry]:
    """List a .npz in the form of PneumoniaMNIST: train_images with train_labels, and the same of val and test.

    Labels are 0 (normal) and 1 (pneumonia); there are no patients, so each picture is its own.

    Raises:
        DataError: arrays are missing, do not fit each other, or hold other labels.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - as in list_folder
    entries = []
    for split in Split:
        try:
            images = read_npz_array(path, f"{split}_images")
            labels = read_npz_array(path, f"{split}_labels").ravel()
        except ImageReadError as error:
            raise DataError(f"{error} PneumoniaMNIST holds images and labels of train, val and test.") from None
        if len(labels) != len(images):
            raise DataError(f"{path} holds {len(images)} {split}_images but {len(labels)} {split}_labels.")
        if images.dtype != np.uint8 or images.ndim not in {3, 4}:
            raise DataError(
                f"{path}: {split}_images has shape {images.shape} and type {images.dtype}; "
                "(n, h, w) or (n, h, w, 3) of uint8 is read."
            )
        others = sorted(set(labels.tolist()) - {0, 1})
        if others:
            raise DataError(
                f"{path} holds the labels {', '.join(map(str, others[:5]))} in {split}_labels; 0 (normal) and 1 "
                "(pneumonia) are read, as in PneumoniaMNIST."
            )
        entries += [
            Entry(
                reference=f"{path}#{split}_images/{index}",
                label=str(Label.PNEUMONIA if label else Label.NORMAL),
                split=str(split),
                given_split=str(split),
                pathogen="",
                patient=f"file/{split}_images/{index}",
                patient_known=False,
            )
            for index, label in enumerate(labels.tolist())
        ]
    return entries


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder in order; links are followed once, hidden files and folders are counted."""
    hidden = 0
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"The folder {error.filename} cannot be read: {error.strerror}.") from None

    for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            logger.warning("Skipped %s: it links to a folder that was listed already.", folder)
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        visible = sorted(name for name in folders if not name.startswith(".") and name.lower() not in _SYSTEM_FOLDERS)
        hidden += len(folders) - len(visible)
        folders[:] = visible
        for name in sorted(files):
            if name.startswith(".") or name.lower() in _SYSTEM_FILES:
                hidden += 1
            else:
                yield Path(folder, name)
    if hidden:
        logger.info("Hidden files and folders skipped: %d.", hidden)


def _describe_file(root: Path, path: Path) -> Entry:
    relative = path.relative_to(root)
    folders = relative.parts[:-1]
    # The name of the folder that was given counts as a split, since `scan chest_xray/test` must not become train, but
    # not as a label: a whole data set may lie in a folder named pneumonia.
    label, split = find_label(folders), find_split((root.name, *folders))
    if label is None:
        problem = "The file lies in no folder named NORMAL or PNEUMONIA, so it has no label."
        return _build_entry(str(path), relative, None, split, fold=True, problem=problem)
    cause = next((found for name in reversed(folders) if (found := parse_cause(name)) is not None), None)
    return _build_entry(str(path), relative, label, split, fold=True, cause=cause)


def _describe_row(
    folder: Path, reference: str, label: Label, split: Split | None, patient: str, cause: Pathogen | None
) -> Entry:
    path = Path(reference)
    relative = path.relative_to(folder) if path.is_relative_to(folder) else path
    if split is not None:
        return _build_entry(reference, relative, label, split, fold=False, patient=patient, cause=cause)
    split = find_split(relative.parts[:-1])
    return _build_entry(reference, relative, label, split, fold=True, patient=patient, cause=cause)


def _build_entry(
    reference: str,
    relative: PurePath,
    label: Label | None,
    split: Split | None,
    *,
    fold: bool,
    patient: str = "",
    problem: str = "",
    cause: Pathogen | None = None,
) -> Entry:
    facts = parse_file_name(relative.name)
    key = f"patient/{patient}" if patient else facts.patient
    used = Split.TRAIN if split is None or (fold and split is Split.VAL) else split
    return Entry(
        reference=reference,
        label=str(label or ""),
        split=str(used),
        given_split=str(split or ""),
        # A NORMAL picture has no pathogen, whatever its name says.
        pathogen=str(facts.pathogen or cause or "") if label is Label.PNEUMONIA else "",
        patient=key or f"file/{relative.as_posix()}",
        patient_known=key is not None,
        problem=problem,
    )


def _without_copies(root: Path, files: Sequence[Path]) -> list[Path]:
    """Leave out the copy of a tree inside itself, as Kaggle's archive has it in chest_xray/ and chest_xray/chest_xray/.

    A file is left out when another has the same bytes and the same path from its split or label folder on, and lies
    nearer to the root in a folder that holds the former's tree. Other duplicates are pictures in their own right.
    """
    trees: dict[tuple[str, ...], list[tuple[tuple[str, ...], Path]]] = defaultdict(list)
    for path in files:
        parts = path.relative_to(root).parts
        start = next(
            (i for i, name in enumerate(parts[:-1]) if parse_split(name) or parse_label(name)),
            len(parts) - 1,
        )
        trees[parts[start:]].append((parts[:start], path))
    copies: set[Path] = set()
    for places in trees.values():
        kept: list[tuple[tuple[str, ...], Path]] = []
        for wrapper, path in sorted(places, key=lambda place: (len(place[0]), place)):
            outer = [other for above, other in kept if wrapper[: len(above)] == above]
            if any(filecmp.cmp(path, other, shallow=False) for other in outer):
                copies.add(path)
            else:
                kept.append((wrapper, path))
    if copies:
        logger.warning(
            "Left out %d files that repeat a file of the same name and content in an outer folder (such as %s): the "
            "data set holds a copy of itself.",
            len(copies),
            min(copies),
        )
    return [path for path in files if path not in copies]


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells by lower-case column name of each row of a CSV of labels.

    Raises:
        DataError: it is no such CSV.
    """
    columns = read_header(path)
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        header = ascii(",".join(columns))[:80]
        raise DataError(
            f"{path} has no column named {' and none named '.join(missing)} in its header {header}; "
            f"needed is {TABLE_HELP}."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, delimiter=find_delimiter(path), strict=True)
            next(reader)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise DataError(
                        f"{path}: line {reader.line_num} has {len(cells)} cells under {len(columns)} columns."
                    )
                yield reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}.") from None


def warn_of_missing_splits(entries: Sequence[Entry]) -> None:
    """Say which pictures are taken for training because nothing names their split."""
    entries = [entry for entry in entries if entry.label]
    without = sum(not entry.given_split for entry in entries)
    if without and without == len(entries):
        logger.warning("Nothing names a split: all %d pictures are taken for training, and none test.", without)
    elif without:
        logger.warning("%d of %d pictures name no split and are taken for training.", without, len(entries))
