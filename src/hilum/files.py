"""Writing files so that a reader never sees half of one, and hashing them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from hilum.errors import HilumError

MAX_TEXT_BYTES: Final = 64 * 1024**2
"""Largest YAML or JSON file that is read."""


_QUOTE = '"'
_TO_QUOTE = re.compile('[,"\r\n]')


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` on success, remove it on any failure.

    The folder is made if missing. Works for whatever writes by name (Pillow, matplotlib, pandas, torch).
    """
    with _name_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept last: many writers choose their format by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=f".partial{path.suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        with _name_in_errors(path, temporary):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` on success, remove it on any failure.

    Raises:
        HilumError: `path` exists and is not an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise HilumError(f"{path} exists and is not an empty folder; name another one, or remove it first.")
    with _name_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-", suffix=".partial"))
    try:
        with _name_in_errors(path, temporary):
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            if path.exists():
                path.rmdir()  # not every system renames onto a folder, even onto an empty one
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _name_in_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let a write that fails name the file that the user asked for, not a temporary one, or none at all.

    Without `temporary` nothing but `path` can be meant.
    """
    try:
        yield
    except OSError as error:
        named = str(error.filename or "")
        if temporary is None or not named or named.startswith(str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically, indented, in the given key order. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """Read a whole file of UTF-8 text.

    Raises:
        HilumError: it is no regular file (a pipe would be waited for without end), or too large for text.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise HilumError(f"{path} is no regular file.")
    if facts.st_size > MAX_TEXT_BYTES:
        raise HilumError(f"{path} has {facts.st_size:,} bytes, more than the {MAX_TEXT_BYTES:,} that are read as text.")
    return path.read_text(encoding="utf-8")


def parse_yaml(text: str) -> Any:
    """Parse YAML.

    Raises:
        ValueError: it is not valid YAML; the message says why in one line.
    """
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-02-30 is a ValueError
        raise ValueError(" ".join(str(error).split())) from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        HilumError: the file is missing or not a JSON object.
    """
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError:
        raise HilumError(f"{path} is missing.") from None
    except RecursionError:
        raise HilumError(f"{path} is not valid JSON (it is nested too deeply).") from None
    except ValueError as error:  # JSON, UTF-8, or a number of thousands of digits
        raise HilumError(f"{path} is not valid JSON ({' '.join(str(error).split())}).") from None
    if not isinstance(content, dict):
        raise HilumError(f"{path} does not hold a JSON object.")
    return content


def lock(descriptor: int, *, wait: bool = True) -> bool:
    """Lock an open file for this process until it is closed; return False where another holds it and `wait` is False.

    Where the system has no such locks (Windows) nothing is locked, and the result is True.
    """
    try:
        import fcntl  # noqa: PLC0415 - Unix alone has it
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def hold(folder: Path, *, what: str) -> Iterator[None]:
    """Keep a second process from a folder while this one works in it; a crash leaves no lock behind.

    Args:
        folder: it must exist; a hidden file `.lock` stays in it.
        what: names it in the message, such as "the study".

    Raises:
        HilumError: another process holds it.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not lock(descriptor, wait=False):
            raise HilumError(f"Another process works on {what} {folder}; wait for it, or name another folder.")
        yield
    finally:
        os.close(descriptor)


def encode_row(cells: Iterable[str]) -> str:
    """Return a line of CSV (RFC 4180, with a line feed alone at its end).

    Python's csv module and pandas leave a carriage return bare, which ends the row for their own readers.
    """
    return ",".join(_quote(cell) for cell in cells) + "\n"


def _quote(cell: str) -> str:
    return f'"{cell.replace(_QUOTE, 2 * _QUOTE)}"' if _TO_QUOTE.search(cell) else cell


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def new_folder(path: Path, *, marker: str) -> Path:
    """Make an output folder; refuse one that already holds a result (the file or folder named `marker`).

    Raises:
        HilumError: `path` is a file, or already holds `marker`.
    """
    if path.exists() and not path.is_dir():
        raise HilumError(f"{path} is a file; name a folder to write to.")
    if (path / marker).exists():
        raise HilumError(
            f"{path} already holds a result ({marker}); name another folder with --out, or remove it first."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path
