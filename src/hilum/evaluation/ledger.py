"""The ledger of looks: one row for each scoring of a test set, appended and never changed.

A test set is worn out by looking: who looks often enough finds a good figure by chance. The ledger keeps every look on
record, also those that nobody liked, and tells how many there were at the same pictures.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hilum.errors import EvaluationError
from hilum.files import lock, read_json, sha256_bytes, sha256_file
from hilum.types import Split, Status

LEDGER = "test_ledger.csv"
LEDGER_VARIABLE = "HILUM_LEDGER"
"""Environment variable with the ledger of a whole project, for evaluations that name none."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model it is, whatever it is called.

    `sha256` is that of the weights file (RUN/model.safetensors, or the network file of a bundle), `trained_sha256` that
    of the weights that a bundle was exported from. `seed` is that of the training.
    """

    kind: str
    precision: str
    sha256: str
    trained_sha256: str = ""
    seed: int | None = None
    git_commit: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One row of the ledger; what is not known, or not defined on these pictures, is None or empty.

    `date` is ISO 8601 in UTC. `test_hash` is the SHA-256 over the sorted SHA-256 of the scored pictures: equal for the
    same pictures wherever they lie. The figures are those of metrics.json, unrounded.
    """

    date: str
    model: str
    model_hash: str
    kind: str
    precision: str
    splits_hash: str
    manifest_hash: str
    test_hash: str
    seed: int | None
    n: int
    auroc: float | None
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None
    ece: float | None
    threshold: float | None
    hilum: str
    git_commit: str
    note: str = ""

    def describes_same(self, other: Look) -> bool:
        """Return whether both rows record one and the same look, whatever their notes say."""
        return replace(self, note="") == replace(other, note="")


COLUMNS = tuple(field.name for field in fields(Look))
_WHOLE = ("seed", "n")
_FLOATS = ("auroc", "accuracy", "sensitivity", "specificity", "ece", "threshold")


@dataclass(frozen=True, slots=True)
class LookNumber:
    """How often the test set has been looked at, this time included: by any model (`total`), and by this one."""

    total: int
    by_model: int

    def describe(self) -> str:
        """Return the sentence for report and command line."""
        return f"This is look number {self.total:,} at this test set (by this model: {self.by_model:,})."


def choose_ledger(out: Path, *, given: Path | None = None, phantom: bool = False) -> Path:
    """Return where a look is recorded: the given file, else HILUM_LEDGER, else test_ledger.csv in the folder above.

    Evaluations that stand side by side thus share a ledger. Looks at phantoms stay out of HILUM_LEDGER: they wear out
    nothing.
    """
    if given is not None:
        return given
    named = os.environ.get(LEDGER_VARIABLE)
    if named and not phantom:
        return Path(named)
    return Path(os.path.abspath(out)).parent / LEDGER  # noqa: PTH100 - links are not followed


def hash_pictures(hashes: Iterable[str]) -> str:
    """Return the SHA-256 over the pictures' own SHA-256, in any order."""
    return sha256_bytes("\n".join(sorted(hashes)).encode())


def build_look(metrics: Mapping[str, Any], *, date: str = "", note: str = "") -> Look:
    """Return the row for the content of a metrics.json of split test.

    `date` is now unless given.

    Raises:
        EvaluationError: the metrics are not those of a test set, or lack what a row needs.
    """
    if metrics.get("split") != Split.TEST:
        raise EvaluationError(f"A ledger records looks at test, and these metrics are of {metrics.get('split')}.")
    try:
        hashes, values = metrics["hashes"], metrics["metrics"]
        identity = metrics.get("identity", {})
        return Look(
            date=date or datetime.now(UTC).isoformat(timespec="seconds"),
            model=str(metrics["model"]),
            model_hash=identity.get("sha256", ""),
            kind=identity.get("kind", ""),
            precision=identity.get("precision", ""),
            splits_hash=hashes.get("splits", ""),
            manifest_hash=hashes.get("manifest", ""),
            test_hash=hashes.get("test", ""),
            seed=identity.get("seed"),
            n=int(metrics["n"]),
            auroc=values["auroc"]["value"],
            accuracy=values["accuracy"]["value"],
            sensitivity=values["recall"]["value"],
            specificity=values["specificity"]["value"],
            ece=values["ece"]["value"],
            threshold=metrics["threshold"],
            hilum=metrics.get("hilum", ""),
            git_commit=identity.get("git_commit") or "",
            note=note,
        )
    except (KeyError, TypeError) as error:
        raise EvaluationError(f"The metrics lack {error}, so that no row of a ledger can be made of them.") from None


def read_past_look(folder: Path, *, identity: ModelIdentity | None = None, note: str = "") -> Look:
    """Return the look of an evaluation folder that was written earlier, as it would have been recorded then.

    `identity` says which model it was, for a metrics.json that does not. Where metrics.json has no date, it is that of
    the file; where it has no hash of the test pictures, they are hashed as they are now.

    Raises:
        EvaluationError: the folder is no evaluation of a test set, or says of another model than `identity`.
        HilumError: metrics.json is missing or not valid.
    """
    path = folder / "metrics.json"
    metrics = read_json(path)
    known = metrics.setdefault("identity", {} if identity is None else {**asdict(identity), "git_commit": None})
    if identity is not None and known["sha256"] != identity.sha256:
        raise EvaluationError(f"{path} is of another model (SHA-256 {known['sha256'][:12]}…) than the one named.")
    if metrics.get("split") == Split.TEST and "test" not in metrics.get("hashes", {}):
        metrics.setdefault("hashes", {})["test"] = _hash_predicted(folder / "predictions.csv")
    date = metrics.get("look", {}).get("date")
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return build_look(metrics, date=date or written, note=note)


def _hash_predicted(predictions: Path) -> str:
    try:
        with predictions.open(newline="", encoding="utf-8") as stream:
            paths = [row["path"] for row in csv.DictReader(stream) if row["status"] == Status.OK]
        return hash_pictures(sha256_file(Path(path)) for path in paths)
    except (OSError, KeyError) as error:
        raise EvaluationError(
            f"The pictures of {predictions} cannot be hashed ({error}); the look is entered only where they are."
        ) from None


def append_look(path: Path, look: Look) -> LookNumber:
    """Append a look in one write, while no other process writes, and return how many there were of its kind.

    Raises:
        EvaluationError: the ledger is damaged, or holds this very look already.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            lock(descriptor)
            with open(descriptor, "rb", closefd=False) as stream:
                content = stream.read()
            looks = _parse(content, path)
            if any(look.describes_same(other) for other in looks):
                raise EvaluationError(f"{path} holds this look of {look.date} by {look.model} already.")
            rows = [_write_row(COLUMNS)] if not content else []
            os.write(descriptor, "".join([*rows, _write_row(_to_cells(look))]).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    return number_look(looks, look)


def read_ledger(path: Path) -> list[Look]:
    """Read all looks, oldest first.

    Raises:
        EvaluationError: the ledger is missing or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise EvaluationError(f"The ledger {path} is missing.") from None
    except IsADirectoryError:
        raise EvaluationError(f"{path} is a folder; name the ledger, a CSV such as test_ledger.csv.") from None
    return _parse(content, path)


def check_ledger(path: Path) -> None:
    """Refuse a damaged ledger before anything is scored; one that is not there yet is fine.

    Raises:
        EvaluationError: the ledger is damaged.
    """
    if path.exists():
        read_ledger(path)


def number_look(before: Iterable[Look], look: Look) -> LookNumber:
    """Count a look after those `before` it at the same pictures."""
    same = [other for other in before if other.test_hash == look.test_hash]
    own = [other for other in same if other.model_hash == look.model_hash]
    return LookNumber(len(same) + 1, len(own) + 1)


def _to_cells(look: Look) -> list[str]:
    return ["" if value is None else str(value) for value in asdict(look).values()]


def _write_row(cells: Iterable[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _parse(content: bytes, path: Path) -> list[Look]:
    if not content:
        return []
    try:
        lines = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damage(path, f"it is not CSV in UTF-8: {error}") from None
    if tuple(lines[0]) != COLUMNS:
        raise _damage(path, "its first line does not name the columns of a ledger")
    if not content.endswith(b"\n"):
        raise _damage(path, "its last line is cut short")
    looks = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(COLUMNS):
            raise _damage(path, f"row {number} has {len(cells)} cells where {len(COLUMNS)} belong")
        try:
            looks.append(_parse_row(cells))
        except ValueError as error:
            raise _damage(path, f"row {number}: {error}") from None
    return looks


def _parse_row(cells: list[str]) -> Look:
    values: dict[str, Any] = dict(zip(COLUMNS, cells, strict=True))
    datetime.fromisoformat(values["date"])
    for name in _WHOLE:
        values[name] = int(values[name]) if values[name] else None
    for name in _FLOATS:
        values[name] = float(values[name]) if values[name] else None
    if values["n"] is None:
        raise ValueError("it does not say how many pictures were scored")
    return Look(**values)


def _damage(path: Path, what: str) -> EvaluationError:
    return EvaluationError(f"The ledger {path} is damaged ({what}); restore it, or name another with --ledger.")
