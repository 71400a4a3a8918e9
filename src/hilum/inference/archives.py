"""Pictures in zip archives, read as bytes: nothing is ever extracted, so no name in an archive can reach a file."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from hilum.errors import ImageReadError
from hilum.types import Status

MAX_MEMBER_BYTES = 256 * 1024**2
"""Largest member that is unpacked: a radiograph of 10,000 x 10,000 pixels of 16 bits without compression."""
# Python's bz2 and lzma readers of archives unpack a whole block before they count it.
_BOUNDED_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1
_END_BYTES = 22 + 65_535  # the last record, and the longest comment behind it
_MANY = 0xFFFF  # the count stands elsewhere
_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, eq=False)
class ZipMember:
    """One file in an archive. `name` is safe: relative, without `..`, and the only one of its kind in the archive.

    The archive stays open as long as a member of it is in use. Members may be read by several threads.
    """

    archive: ZipFile
    info: ZipInfo
    name: str

    def read(self) -> bytes:
        """Return the whole content.

        Raises:
            ImageReadError: the member is damaged, encrypted, too large, or packed in another way than by deflate.
        """
        if self.info.file_size > MAX_MEMBER_BYTES:
            raise ImageReadError(
                f"{self.name} has {self.info.file_size:,} bytes unpacked, more than the {MAX_MEMBER_BYTES:,} that are "
                "read from an archive.",
                status=Status.UNSUPPORTED,
            )
        # One byte more than there should be: only at the end of the data is its checksum compared.
        return self.read_head(self.info.file_size + 1)

    def read_head(self, count: int) -> bytes:
        """Return the first `count` bytes, or all if they are fewer; errors as in `read`."""
        if self.info.flag_bits & _ENCRYPTED:
            raise ImageReadError(f"{self.name} is encrypted; unpack the archive first.", status=Status.UNSUPPORTED)
        if self.info.compress_type not in _BOUNDED_METHODS:
            raise ImageReadError(
                f"{self.name} is packed by method {self.info.compress_type}, which is not read; "
                "pack it by deflate, as zip programs do by default.",
                status=Status.UNSUPPORTED,
            )
        try:
            with self.archive.open(self.info) as stream:
                # The count bounds what is unpacked, whatever size the archive claims.
                return stream.read(count)
        except _DAMAGE as error:
            raise ImageReadError(f"{self.name} cannot be unpacked: {_in_one_line(error)}.") from None


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive by its content, or is meant to be one by its name."""
    if path.suffix.lower() == ".zip":
        return True
    if not path.is_file():  # opening a pipe would wait for ever
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(4) in _SIGNATURES
    except OSError:
        return False


def list_members(path: Path) -> Iterator[ZipMember]:
    """Yield the files of an archive in the order of their names.

    Raises:
        ImageReadError: it cannot be opened, its members overlap, or, after the last, it has fewer than it says.
    """
    if not path.is_file():  # opening a pipe would wait for ever
        raise ImageReadError(f"{path} is no regular file.")
    try:
        # Not closed here: members are read after this loop has gone on. The last of them that is dropped closes it.
        archive = ZipFile(path)
    except _DAMAGE as error:
        reason = error.strerror or error if isinstance(error, OSError) else _in_one_line(error)
        raise ImageReadError(f"{path} cannot be opened as a zip archive: {reason}.") from None
    members = archive.infolist()
    if sum(info.compress_size for info in members) > path.stat().st_size:
        raise ImageReadError(f"{path} claims members that are larger than itself or overlap; it is not read.")
    seen: Counter[str] = Counter()
    for info in sorted(members, key=lambda info: info.filename):
        if info.filename.endswith("/"):
            continue
        name = make_safe(info.filename)
        seen[name] += 1
        yield ZipMember(archive, info, name if seen[name] == 1 else f"{name} ({seen[name]})")
    promised = _count_promised(path)
    if promised is not None and promised != len(members):
        raise ImageReadError(
            f"{path} is damaged: its last record counts {promised:,} members, and {len(members):,} are found."
        )


def _count_promised(path: Path) -> int | None:
    """Return how many members the record at the end of an archive counts; None where that is not stated there."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _END_BYTES))
        tail = stream.read()
    place = tail.rfind(_SIGNATURES[1])
    if place < 0 or place + 12 > len(tail):
        return None
    count = int(struct.unpack_from("<H", tail, place + 10)[0])
    return None if count == _MANY else count


def make_safe(name: str) -> str:
    """Return a member's name as a relative path that stays below its folder: no drive, no root, no `..`."""
    parts = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/")).split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "unnamed"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
