"""The manifest: one row a picture, with what its name, its header and its pixels say.

In memory paths are absolute; in manifest.csv those below its own folder are relative to it, so that the two can be
moved together.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import pandas as pd
from PIL import Image

from hilum.data.images import read_content, read_gray
from hilum.data.listing import TABLE_HELP, Entry, list_folder, list_npz, list_table, warn_of_missing_splits
from hilum.data.npz import convert_array, find_npz_picture
from hilum.data.tables import hash_rows, read_header, read_table, write_table
from hilum.errors import DataError, ImageReadError
from hilum.files import sha256_bytes
from hilum.progress import track
from hilum.types import ImageMeta, Label, Split, Status, UInt8Array

logger = logging.getLogger(__name__)

COLUMNS = (
    "path",
    "label",
    "split",
    "pathogen",
    "patient",
    "patient_known",
    "width",
    "height",
    "mode",
    "format",
    "bytes",
    "mean",
    "sha256",
    "phash",
    "status",
    "message",
    "given_split",
)
_NUMBERS = {
    "patient_known": "bool",
    "width": "int64",
    "height": "int64",
    "bytes": "int64",
    "mean": "float64",
}
_TEXTS = tuple(name for name in COLUMNS if name not in _NUMBERS)
# Columns that no table of labels has.
_MANIFEST_MARKS = {"sha256", "phash", "status"}
# A large JPEG is decoded at a fraction of its size: the mean and the 32 x 32 px that the hash looks at stay the same.
_SCAN_SIDE = 256


def scan(data: Path, *, splits_matter: bool = True) -> pd.DataFrame:
    """Read every picture of a data source once and describe it in a row.

    `data` is a folder (labels and splits from folder names), a CSV of labels, or a MedMNIST .npz. A picture that cannot
    be read keeps its row, with status, message, no size and NaN as mean. Rows are sorted by path.

    Columns, beside the obvious: `split` is the one a picture is used in, `given_split` the one its source names
    (pictures of a folder named val are used in train, see hilum.data.listing); `patient` is a key within its number
    space, and the file itself where `patient_known` is false; `mean` is the mean gray, 0-255; `sha256` is that of the
    file (for .npz: of the pixels); `phash` is the 64-bit perceptual hash of imagehash in hexadecimal.

    Where no split is named, a warning says that pictures are taken for training, unless splits do not matter.

    Raises:
        DataError: the source is missing, empty or of another kind.
    """
    entries = sorted(_list(data), key=lambda entry: entry.reference)
    if splits_matter:
        warn_of_missing_splits(entries)
    # Most of the time goes to C code that lets other threads run.
    pool = ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1)
    try:
        rows = list(track(pool.map(_describe, entries), description="Scanning", total=len(entries)))
    finally:
        pool.shutdown(cancel_futures=True)
    manifest = _build_frame(rows)
    _warn_of_classes(manifest)
    return manifest


def load_data(data: Path, *, splits_matter: bool = True) -> pd.DataFrame:
    """Return the manifest of a data source: scanned as `scan` says, or read where `data` is a manifest.csv already.

    Raises:
        DataError: as for `scan` and `read_manifest`.
    """
    if data.suffix.lower() == ".csv" and data.is_file() and _is_manifest(data):
        return read_manifest(data)
    return scan(data, splits_matter=splits_matter)


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write a manifest as CSV."""
    write_table(manifest.loc[:, list(COLUMNS)], path)


def check_replaceable(path: Path) -> None:
    """Refuse to write a manifest over a file that is none, such as the table of labels that it is made from.

    Raises:
        DataError: `path` is a folder, or a file that Hilum did not write.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; name the manifest to write, such as {path / 'manifest.csv'}.")
    if path.exists() and path.stat().st_size and not _is_manifest(path):
        raise DataError(f"{path} exists and is no manifest that Hilum wrote; name another file with --out.")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest.csv; paths become absolute.

    Raises:
        DataError: the file is missing, lacks columns, or has a label, split or status that there is not.
    """
    manifest = read_table(path, texts=_TEXTS, numbers=_NUMBERS, optional=("given_split",))
    if "given_split" not in manifest:
        manifest["given_split"] = manifest["split"]
    allowed = {"label": {*Label, ""}, "split": {*Split, ""}, "status": {*Status}}
    for column, values in allowed.items():
        wrong = manifest.index[~manifest[column].isin([str(value) for value in values])]
        if len(wrong):
            raise DataError(f"{path}: line {wrong[0] + 2} has the {column} '{manifest.loc[wrong[0], column]}'.")
    return manifest.loc[:, list(COLUMNS)]


def hash_manifest(manifest: pd.DataFrame) -> str:
    """Return the SHA-256 of what a manifest says of its pictures, whatever their order and wherever they lie."""
    return hash_rows(manifest, ("sha256", "label", "split", "patient", "pathogen"))


def require_both_classes(table: pd.DataFrame, split: str) -> None:
    """Refuse a manifest or splits table of which a split lacks readable pictures of a class.

    Raises:
        DataError: the split has no pictures, or those of one class alone.
    """
    rows = table[table["split"] == split]
    if "status" in rows:
        rows = rows[rows["status"] == Status.OK]
    missing = [str(label) for label in Label if not (rows["label"] == label).any()]
    if len(missing) == len(Label):
        raise DataError(f"The {split} split holds no readable pictures.")
    if missing:
        raise DataError(
            f"The {split} split holds no readable {missing[0]} picture beside its {len(rows)} others; both classes are "
            "needed."
        )


def _list(data: Path) -> list[Entry]:
    if data.is_dir():
        return list_folder(data)
    if not data.exists():
        raise DataError(f"{data} does not exist.")
    suffix = data.suffix.lower()
    if suffix == ".npz":
        return list_npz(data)
    if suffix != ".csv":
        advice = "; unpack it first" if suffix in {".zip", ".tar", ".gz", ".tgz"} else f", nor {TABLE_HELP}"
        raise DataError(f"{data} is neither a folder of pictures nor a MedMNIST .npz{advice}.")
    if _is_manifest(data):
        raise DataError(f"{data} is a manifest already; scan the folder or the table that it was made from.")
    return list_table(data)


def _is_manifest(path: Path) -> bool:
    return set(read_header(path)) >= _MANIFEST_MARKS


def _describe(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": entry.reference,
        "label": entry.label,
        "split": entry.split,
        "pathogen": entry.pathogen,
        "patient": entry.patient,
        "patient_known": entry.patient_known,
        "given_split": entry.given_split,
        "width": 0,
        "height": 0,
        "bytes": 0,
        "mean": float("nan"),
        "mode": "",
        "format": "",
        "sha256": "",
        "phash": "",
        "status": str(Status.OK),
        "message": "",
    }
    try:
        gray, meta = _measure(entry, row)
        if entry.problem:
            raise ImageReadError(entry.problem, status=Status.UNSUPPORTED)
    except ImageReadError as error:
        row |= {"status": str(error.status), "message": str(error)}
        return row
    return row | {
        "width": meta.width,
        "height": meta.height,
        "mode": meta.mode,
        "format": meta.format,
        "mean": float(gray.mean()),
        "phash": str(imagehash.phash(Image.fromarray(gray))),
    }


def _measure(entry: Entry, row: dict[str, Any]) -> tuple[UInt8Array, ImageMeta]:
    """Read a picture once; its size in bytes and its hash stand in the row even if it cannot be decoded."""
    pixels = find_npz_picture(Path(entry.reference))
    content = read_content(Path(entry.reference), subject="The file") if pixels is None else pixels.tobytes()
    row |= {"bytes": len(content), "sha256": sha256_bytes(content)}
    if pixels is not None:
        return convert_array(pixels, "The picture")
    return read_gray(content, at_least=_SCAN_SIDE)


def _build_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({**dict.fromkeys(_TEXTS, "str"), **_NUMBERS})


def _warn_of_classes(manifest: pd.DataFrame) -> None:
    failed = manifest[manifest["status"] != Status.OK]
    if len(failed):
        logger.warning("%d of %d pictures cannot be used; each row says why.", len(failed), len(manifest))
    for label in Label:
        if not ((manifest["label"] == label) & (manifest["status"] == Status.OK)).any():
            logger.warning("There is no readable %s picture: training needs both classes.", label)
