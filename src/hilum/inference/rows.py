"""One prediction as one row of a table: the columns, and how a row stands in CSV, JSON lines and Parquet.

Names and messages are of one line each, so that a row is a line too, whose end shows that it is whole.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from hilum.errors import ConfigError
from hilum.files import atomic_path, encode_row
from hilum.types import Prediction

COLUMNS = ("path", "status", "probability", "logit", "prediction", "threshold", "message", "familiarity")
ZONE_COLUMNS = (*COLUMNS, "zone")
"""The columns where zones are asked for."""
Row = dict[str, str | float | None]
_NUMBERS = frozenset({"probability", "logit", "threshold", "familiarity"})
_BLOCK = 10_000


class TableFormat(StrEnum):
    """What a table of predictions can be written as, by the suffix of its file."""

    CSV = ".csv"
    JSON_LINES = ".jsonl"
    PARQUET = ".parquet"


def choose_format(path: Path) -> TableFormat:
    """Return the format that a file's suffix asks for.

    Raises:
        ConfigError: it is none of those written, or needs a package that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in set(TableFormat):
        raise ConfigError(f"{path}: predictions are written as {', '.join(TableFormat)}; name such a file with --out.")
    if suffix == TableFormat.PARQUET and find_spec("pyarrow") is None:
        raise ConfigError(f"{path}: Parquet needs pyarrow: install it with pip install 'hilum[parquet]'.")
    return TableFormat(suffix)


def is_table_of_predictions(path: Path) -> bool:
    """Return whether a file begins as the tables that Hilum writes, with zones or without."""
    read = {TableFormat.CSV: read_csv, TableFormat.JSON_LINES: read_json_lines, TableFormat.PARQUET: read_parquet}
    if path.stat().st_size == 0:
        return True  # there is nothing to lose
    for columns in (COLUMNS, ZONE_COLUMNS):
        try:
            if next(iter(read[choose_format(path)](path, columns)), None) is not None:
                return True
        except (ConfigError, csv.Error):
            continue
    return False


def build_row(prediction: Prediction, columns: Sequence[str] = COLUMNS) -> Row:
    """Return a prediction as a row, with None for what is unknown; floats are Python's, of 64 bits."""
    row: Row = {
        "path": prediction.source,
        "status": str(prediction.status),
        "probability": prediction.probability,
        "logit": prediction.logit,
        "prediction": None if prediction.prediction is None else str(prediction.prediction),
        "threshold": prediction.threshold,
        "message": prediction.message,
        "familiarity": prediction.familiarity,
        "zone": None if prediction.zone is None else str(prediction.zone),
    }
    return {name: row[name] for name in columns}


def encode_csv(cells: Iterable[str | float | None]) -> str:
    """Return a line of CSV; floats in the shortest form that reads back equal, None as the empty cell."""
    return encode_row("" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells)


def encode_json(row: Row) -> str:
    """Return a row as a line of JSON; None is null."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_csv(path: Path, columns: Sequence[str] = COLUMNS) -> Iterator[tuple[Row, int]]:
    """Yield the rows of a CSV and the offset in bytes behind each; the header too, as a row without content.

    A last line without its end is left out: writing was interrupted there.

    Raises:
        ConfigError: it was not written by Hilum.
    """
    for number, line, offset in _read_lines(path):
        cells = next(csv.reader([line]), [])
        if number == 1:
            if cells != list(columns):
                raise ConfigError(f"{path} does not have the columns {','.join(columns)}; name another file.")
            yield {}, offset
            continue
        if len(cells) != len(columns):
            raise ConfigError(f"{path}: line {number} has {len(cells)} cells under {len(columns)} columns.")
        try:
            row: Row = {name: _parse_cell(name, cell) for name, cell in zip(columns, cells, strict=True)}
        except ValueError:
            raise ConfigError(f"{path}: line {number} has a number that is none; name another file.") from None
        yield row, offset


def _parse_cell(name: str, cell: str) -> str | float | None:
    if name not in _NUMBERS:
        return cell
    return float(cell) if cell else None


def read_json_lines(path: Path, columns: Sequence[str] = COLUMNS) -> Iterator[tuple[Row, int]]:
    """Yield the rows of a file of JSON lines and the offset in bytes behind each; otherwise as `read_csv`."""
    for number, line, offset in _read_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or list(row) != list(columns):
            raise ConfigError(f"{path}: line {number} is no JSON object with the keys {','.join(columns)}.")
        yield row, offset


def _read_lines(path: Path) -> Iterator[tuple[int, str, int]]:
    offset = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                yield number, line.decode("utf-8"), offset
            except UnicodeDecodeError:
                raise ConfigError(f"{path}: line {number} is not UTF-8; name another file.") from None


def write_parquet(rows: Iterable[Row], path: Path, columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as Parquet, atomically and block by block."""
    import pyarrow as pa  # noqa: PLC0415 - an optional package
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {name: pa.float64() if name in _NUMBERS else pa.string() for name in columns}
    schema = pa.schema(list(types.items()))
    rows = iter(rows)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        while block := list(islice(rows, _BLOCK)):
            writer.write_table(pa.Table.from_pylist(block, schema=schema))


def read_parquet(path: Path, columns: Sequence[str] = COLUMNS) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises:
        ConfigError: it is none, or has other columns.
    """
    import pyarrow as pa  # noqa: PLC0415 - an optional package
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            if list(file.schema_arrow.names) != list(columns):
                raise ConfigError(f"{path} does not have the columns {','.join(columns)}; name another file.")
            for batch in file.iter_batches():
                rows: list[Any] = batch.to_pylist()
                yield from rows
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path} is no sound Parquet file ({' '.join(str(error).split())}).") from None
