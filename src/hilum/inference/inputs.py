r"""What `hilum predict` is given, one picture after the other: files, folders, globs, zip archives, a list on stdin.

Nothing is listed ahead: at most the names of one folder or archive are in memory. Nothing is left out in silence: what
was named but is not there, links in a circle and folders that cannot be read become items that carry their error.

Which files of a folder or archive are pictures: those with a picture's suffix (`hilum.data.images.SUFFIXES`), whatever
they hold, and those whose content begins like a picture or DICOM file, whatever their name. Hidden files and what
operating systems leave behind are skipped, as by `hilum scan`. A file that is itself named, matched by a glob or listed
on stdin is always read. Archives are opened where they are named so, and left alone inside of folders.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hilum.data.images import SUFFIXES, recognise
from hilum.errors import ImageReadError
from hilum.inference.archives import ZipMember, is_zip, list_members
from hilum.inference.folders import Folder, has_magic, is_hidden, match_paths, walk
from hilum.types import UInt8Array

STDIN = "-"
# Formats that are told by the content alone. Two letters begin a BMP file, and many a text: those need their suffix.
_PICTURE_KINDS = frozenset({"JPEG", "PNG", "TIFF", "GIF", "JPEG 2000", "WebP", "DICOM"})
_HEAD = 132
# Control characters, separators of lines, and bytes of a name that are no UTF-8 (which Python keeps as surrogates).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to score.

    `name` stands in the column path of the result. `content` is where the pixels come from: a file, the bytes of one,
    gray pixels (h, w) of 0-255, a member of a zip archive, or the reason why there are none. `is_input` says that the
    reason concerns a whole INPUT of the command line, such as a folder without pictures.
    """

    name: str
    content: Path | bytes | UInt8Array | ZipMember | ImageReadError = field(repr=False)
    is_input: bool = False


@dataclass(slots=True)
class Inputs:
    """The pictures that INPUTs mean, in their order; those of a folder by name, before those of the folders in it.

    `skip` is a folder that is left out, such as the one that heat maps are written to. `skipped` counts the files
    that were taken for no pictures; it is complete when the iteration is.
    """

    names: Sequence[str]
    stdin: BinaryIO | None = None
    skip: Path | None = None
    skipped: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Item]:
        """Yield the pictures of all inputs."""
        self.skipped = 0
        for name in self.names:
            if name == STDIN:
                yield from self._list_stdin()
            elif has_magic(name) and not os.path.lexists(name):
                yield from self._list_glob(name)
            else:
                yield from self._list_path(name, is_input=True)

    def _list_stdin(self) -> Iterator[Item]:
        empty = True
        for line in self.stdin if self.stdin is not None else sys.stdin.buffer:
            text = os.fsdecode(line.rstrip(b"\r\n"))
            if text:
                empty = False
                yield from self._list_path(text)
        if empty:
            yield _fail(STDIN, "The list on standard input is empty; it names one path a line.", is_input=True)

    def _list_glob(self, pattern: str) -> Iterator[Item]:
        empty = True
        for path in match_paths(pattern):
            if self.skip is not None and path.resolve().is_relative_to(self.skip.resolve()):
                continue
            empty = False
            yield from self._list_path(str(path))
        if empty:
            yield _fail(pattern, f"Nothing matches {pattern}.", is_input=True)

    def _list_path(self, name: str, *, is_input: bool = False) -> Iterator[Item]:
        """Yield what one path means, whether named, matched or listed."""
        path = Path(name)
        problem = _find_problem(path)
        if problem:
            yield _fail(name, problem, is_input=is_input)
            return
        if path.is_dir():
            items, kind = self._list_folder(path), "folder"
        elif is_zip(path):
            items, kind = self._list_archive(path), "archive"
        else:
            yield Item(printable(name), path)
            return
        empty = True
        for item in items:
            empty = False
            # What concerns the whole of it, such as a lack of permissions, concerns the whole input.
            yield Item(item.name, item.content, is_input=is_input and item.is_input)
        if empty:
            yield _fail(name, f"The {kind} {name} holds no pictures.", is_input=is_input)

    def _list_folder(self, root: Path) -> Iterator[Item]:
        for folder in walk(root, skip=self.skip):
            if folder.error:
                yield _fail(str(folder.path), folder.error, is_input=folder.path == root)
                continue
            found = False
            for path in self._choose_files(folder):
                found = True
                yield Item(printable(str(path)), path)
            if not found and not folder.folders and folder.path != root and has_suffix(folder.path.name):
                problem = f"{folder.path} is a folder, though named like a picture, and holds none."
                yield _fail(str(folder.path), problem)

    def _choose_files(self, folder: Folder) -> Iterator[Path]:
        for name in folder.files:
            path = folder.path / name
            if not is_hidden(name) and (has_suffix(name) or _is_picture(path)):
                yield path
            else:
                self.skipped += 1

    def _list_archive(self, path: Path) -> Iterator[Item]:
        if path.suffix.lower() == ".npz":
            yield _fail(
                str(path), f"{path} is a NumPy archive; name a picture in it as {path}#test_images/0.", is_input=True
            )
            return
        try:
            for member in list_members(path):
                hidden = any(is_hidden(part) for part in member.name.split("/"))
                if not hidden and (has_suffix(member.info.filename) or _is_picture(member)):
                    yield Item(printable(f"{path}!/{member.name}"), member)
                else:
                    self.skipped += 1
        except ImageReadError as error:
            yield Item(printable(str(path)), error, is_input=True)


def has_suffix(name: str) -> bool:
    """Return whether a file is named like a picture."""
    return name.lower().endswith(SUFFIXES)


def printable(text: str) -> str:
    r"""Return text as one line that UTF-8 can hold; control characters and undecodable bytes become \x0a and such."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _find_problem(path: Path) -> str:
    """Return why a path leads to nothing, the empty text if it leads somewhere."""
    if ".npz#" in str(path).lower():  # a picture inside of a file, which its reader looks for
        return ""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"{path} is a link that leads nowhere." if path.is_symlink() else f"{path} does not exist."
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}."
    except ValueError as error:  # a NUL character
        return f"{path} is no path: {error}."
    return ""


def _is_picture(source: Path | ZipMember) -> bool:
    """Return whether content begins like a picture. What cannot be opened and has no picture's suffix is none."""
    try:
        if isinstance(source, ZipMember):
            return recognise(source.read_head(_HEAD)) in _PICTURE_KINDS
        if not source.is_file():  # opening a pipe would wait for ever
            return False
        with source.open("rb") as stream:
            return recognise(stream.read(_HEAD)) in _PICTURE_KINDS
    except (OSError, ImageReadError):
        return False


def _fail(name: str, message: str, *, is_input: bool = False) -> Item:
    return Item(printable(name), ImageReadError(message), is_input=is_input)
