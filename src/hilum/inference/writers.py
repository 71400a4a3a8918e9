"""Where predictions go: a file that grows row by row beside its final name, or standard output.

Rows stand in FILE.partial until all are there; then it takes the final name. An interruption leaves FILE.partial, with
whole rows of all that was done, and writing can go on from it. (A Parquet file cannot be appended to: its FILE.partial
holds JSON lines, which become Parquet at the end.)
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from hilum.errors import ConfigError
from hilum.files import lock, read_json, write_json
from hilum.inference.rows import (
    COLUMNS,
    TableFormat,
    build_row,
    choose_format,
    encode_csv,
    encode_json,
    is_table_of_predictions,
    read_csv,
    read_json_lines,
    read_parquet,
    write_parquet,
)
from hilum.types import Prediction, Status


@dataclass(slots=True)
class Earlier:
    """What an output holds already: how often each path, how many rows of each verdict or status, which thresholds."""

    paths: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    thresholds: set[float] = field(default_factory=set)


class TableWriter:
    """Writes a table of predictions to a file; a context manager that leaves FILE.partial unless `finish` is called.

    `earlier` tells what the file holds already, where writing goes on.
    """

    def __init__(self, path: Path, *, resume: bool = False, columns: Sequence[str] = COLUMNS) -> None:
        """Open FILE.partial; with `resume`, behind the rows that it or the finished file holds.

        Raises:
            ConfigError: the suffix is not known, rows of an interrupted run are in the way, or the file is none that
                Hilum wrote. (An earlier table of predictions is replaced once the new one is whole.)
        """
        self.path = path
        self.columns = columns
        self.format = choose_format(path)
        self.partial = path.with_name(f"{path.name}.partial")
        self.earlier = Earlier()
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; name a file with --out.")
        if path.exists() and not is_table_of_predictions(path):
            raise ConfigError(f"{path} exists and holds no predictions of Hilum; name another file with --out.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.partial.exists() and not self.partial.is_file():
            raise ConfigError(f"{self.partial} is no regular file; name another file with --out, or remove it first.")
        reopens = resume and not self.partial.exists() and path.exists()
        self._stream = self.partial.open("a", encoding="utf-8", newline="")
        try:
            if not lock(self._stream.fileno(), wait=False):
                raise ConfigError(f"Another process writes {path}; wait for it, or name another file with --out.")
            if reopens:
                self._reopen()
            self._begin(resume=resume)
        except BaseException:
            self._stream.close()
            raise

    def _begin(self, *, resume: bool) -> None:
        """Find where the rows that are there end, and stand behind them."""
        end = self._read_earlier()
        if self.earlier.paths and not resume:
            raise ConfigError(
                f"{self.partial} holds the rows of an interrupted run; go on with --resume, or remove it first."
            )
        self._empty = not self.earlier.paths
        self._stream.truncate(end)
        if end == 0 and self.format is TableFormat.CSV:
            self._put(encode_csv(self.columns))

    def _reopen(self) -> None:
        """Take the rows of the finished file back into FILE.partial."""
        if self.format is not TableFormat.PARQUET:
            shutil.copyfile(self.path, self.partial)
            return
        with self.partial.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(encode_json(row) for row in read_parquet(self.path, self.columns))

    def _read_earlier(self) -> int:
        """Count what FILE.partial holds; return where its last whole row ends."""
        end = 0
        read = read_csv if self.format is TableFormat.CSV else read_json_lines
        for row, offset in read(self.partial, self.columns):
            end = offset
            if row:
                self.earlier.paths[str(row["path"])] += 1
                self.earlier.outcomes[str(row["prediction"] or row["status"])] += 1
                if row["threshold"] is not None:
                    self.earlier.thresholds.add(float(row["threshold"]))
        return end

    def check_origin(self, origin: Mapping[str, str | float | bool], *, threshold: float) -> None:
        """Refuse to go on in a table that another model or other options began, and note what makes the rows.

        `origin` stands in a hidden file beside the table, .NAME.origin.json, and is compared with what stands there;
        rows whose file is gone are compared by their threshold alone.

        Raises:
            ConfigError: the rows that are there were made otherwise.
        """
        note = self.path.with_name(f".{self.path.name}.origin.json")
        if self.earlier.paths and note.is_file():
            before = read_json(note)
            for name, value in origin.items():
                if name in before and before[name] != value:
                    raise ConfigError(
                        f"{self.path} was begun with {name} {before[name]}, and now it is {value}; resume with the "
                        "same model and options, or name another file with --out."
                    )
        self._check_threshold(threshold)
        write_json(note, origin)

    def _check_threshold(self, threshold: float) -> None:
        others = self.earlier.thresholds - {threshold}
        if others:
            raise ConfigError(
                f"{self.path} was begun at the threshold {min(others)}, and now it is {threshold}; resume with the "
                "same model and options, or name another file with --out."
            )

    def write(self, prediction: Prediction) -> None:
        """Write one row; it is there, whole, when this returns."""
        row = build_row(prediction, self.columns)
        self._put(encode_csv(row.values()) if self.format is TableFormat.CSV else encode_json(row))
        self._empty = False

    def _put(self, line: str) -> None:
        self._stream.write(line)
        self._stream.flush()

    def finish(self) -> None:
        """Give the table its final name, in place of a file that had it before."""
        self._stream.close()
        if self.format is TableFormat.PARQUET:
            rows = (row for row, _ in read_json_lines(self.partial, self.columns))
            write_parquet(rows, self.path, self.columns)
            self.partial.unlink()
        else:
            self.partial.replace(self.path)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close FILE.partial; where `finish` was not reached it stays, unless it holds no row."""
        self._stream.close()
        if kind is not None and self._empty:
            self.partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class StreamWriter:
    """Writes predictions to an open stream of text: as CSV, or in aligned columns for people (`readable`)."""

    stream: IO[str]
    readable: bool = False
    columns: Sequence[str] = COLUMNS

    def __post_init__(self) -> None:
        """Write the header."""
        zone = f"{'zone':<12}  " if "zone" in self.columns else ""
        self._put(f"{'verdict':<14}  {'p':>6}  {zone}path\n" if self.readable else encode_csv(self.columns))

    def write(self, prediction: Prediction) -> None:
        """Write one row; it is there, whole, when this returns."""
        if not self.readable:
            self._put(encode_csv(build_row(prediction, self.columns).values()))
            return
        probability = "" if prediction.probability is None else f"{prediction.probability:.4f}"
        zone = f"{prediction.zone or '':<12}  " if "zone" in self.columns else ""
        self._put(f"{name_outcome(prediction):<14}  {probability:>6}  {zone}{describe_source(prediction)}\n")

    def _put(self, line: str) -> None:
        self.stream.write(line)
        self.stream.flush()


def name_outcome(prediction: Prediction) -> str:
    """Return the verdict, or the status of a picture that has none."""
    return str(prediction.prediction or prediction.status)


def describe_source(prediction: Prediction) -> str:
    """Return which picture it is, and what is to be said of it; most messages begin with its name."""
    if prediction.message.startswith(prediction.source):
        return prediction.message
    return f"{prediction.source}: {prediction.message}" if prediction.message else prediction.source


def is_failure(outcome: str) -> bool:
    """Return whether an outcome is no verdict."""
    return outcome in set(Status)
