"""Tables of pictures as CSV: written atomically, with paths that survive a move, and hashed whatever their order."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.errors import DataError
from hilum.files import atomic_path, encode_row

# pandas would keep texts in Arrow, which cannot hold the bytes of a name that is not UTF-8.
pd.set_option("mode.string_storage", "python")

_LONGEST_HEADER = 65_536
_CONVERTERS: dict[str, Callable[[str], int | float | bool]] = {
    "int64": int,
    # Python's own conversion gives back every digit that was written, which the one of pandas need not.
    "float64": lambda text: float(text or "nan"),
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
}


def read_header(path: Path) -> list[str]:
    """Return the column names of a CSV in lower case, none for an empty file.

    Raises:
        DataError: the file is no CSV.
    """
    try:
        delimiter = find_delimiter(path)
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            return [name.strip().lower() for name in next(csv.reader(stream, delimiter=delimiter), [])]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.") from None


def find_delimiter(path: Path) -> str:
    """Return what separates the cells in the first line of a CSV: comma, semicolon or tab.

    Raises:
        DataError: it is no regular file; a pipe would be waited for without end.
    """
    if not path.is_file():
        raise DataError(f"{path} is no regular file.")
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        line = stream.readline(_LONGEST_HEADER)
    return max(",;\t", key=line.count)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table that has a path column as CSV, atomically. Paths below the folder of the CSV become relative."""
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - links are not followed, so that paths stay alike
    on_disk = table.assign(path=[_shorten(text, folder) for text in table["path"]])
    write_csv(on_disk, path)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, atomically: floats in full, any name of a file so that it reads back equal.

    pandas and Python's csv module leave a carriage return bare, which ends the row for their own readers.
    """
    columns = [_to_texts(table[name]) for name in table.columns]
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        stream.write(encode_row(str(name) for name in table.columns))
        stream.writelines(encode_row(cells) for cells in zip(*columns, strict=True))


def _to_texts(column: pd.Series[Any]) -> list[str]:
    values = column.tolist()
    if column.dtype.kind == "f":
        return ["" if value != value else repr(float(value)) for value in values]  # noqa: PLR0124 - NaN
    return ["" if value is None or value != value else str(value) for value in values]  # noqa: PLR0124


def read_table(
    path: Path, *, texts: Sequence[str], numbers: Mapping[str, str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Read what `write_table` wrote, with absolute paths, empty texts where cells are empty, and NaN for numbers.

    Args:
        path: the CSV.
        texts: names of the columns of text.
        numbers: names of the other columns, each with its type: int64, float64 or bool.
        optional: columns that may be missing.

    Raises:
        DataError: the file is missing or does not fit.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing.")
    columns = set(read_header(path))
    missing = [name for name in (*texts, *numbers) if name not in columns and name not in optional]
    if missing:
        raise DataError(f"{path} lacks the column {missing[0]}; write it anew.")
    try:
        table = pd.DataFrame(_read_cells(path), dtype=str)
        for name, kind in numbers.items():
            table[name] = [_CONVERTERS[kind](text) for text in table[name]]
    except (ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - as in write_table
    table["path"] = [os.path.normpath(folder / text) for text in table["path"]]
    return table


def _read_cells(path: Path) -> dict[str, list[str]]:
    """Return the cells of a CSV by the name of their column.

    Raises:
        ValueError: it is no CSV, or a row has another number of cells than the header.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            header = next(reader, [])
            rows = []
            for cells in reader:
                if len(cells) != len(header):
                    raise ValueError(f"line {reader.line_num} has {len(cells)} cells under {len(header)} columns")
                rows.append(cells)
        except csv.Error as error:
            raise ValueError(str(error)) from None
    return {name: [cells[place] for cells in rows] for place, name in enumerate(header)}


def hash_rows(table: pd.DataFrame, columns: Iterable[str]) -> str:
    """Return the SHA-256 of the rows of some columns of text, in any order."""
    rows = sorted(zip(*(table[name].astype(str) for name in columns), strict=True))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _shorten(text: str, folder: Path) -> str:
    path = Path(text)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else text
