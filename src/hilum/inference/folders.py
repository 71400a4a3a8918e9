"""Going through folders: in order, one folder in memory at a time, and never in circles."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FolderId = tuple[int, int]
"""Device and inode: the same for a folder and for any link to it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The content of one folder, by name. `error` says why it could not be listed; it is empty then."""

    path: Path
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    error: str = ""


def identify(folder: Path) -> FolderId | None:
    """Return what tells a folder from all others, None where there is no such folder."""
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def list_folder(path: Path, above: tuple[FolderId, ...]) -> Folder:
    """List one folder. `above` identifies the folders that lead to it; a link to one of them is an error."""
    try:
        if identify(path) in above:
            return Folder(path, error=f"{path} is a link to a folder that it lies in; it is not followed.")
        with os.scandir(path) as entries:
            content = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError as error:
        return Folder(path, error=f"{path} cannot be read: {error.strerror or error}.")
    return Folder(
        path,
        files=tuple(name for name, is_folder in content if not is_folder),
        folders=tuple(name for name, is_folder in content if is_folder),
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def walk(root: Path, *, skip: Path | None = None) -> Iterator[Folder]:
    """Yield a folder, then those below it: links are followed, hidden folders and `skip` are not entered."""
    # Our own stack: nested generators would reach Python's limit of recursion in a deep tree.
    stack: list[tuple[Path, tuple[FolderId, ...]]] = [(root, ())]
    while stack:
        path, above = stack.pop()
        folder = list_folder(path, above)
        yield folder
        own = identify(path)
        if own is None:
            continue
        # Asked anew in each folder: what is to be skipped may be made while this goes on.
        skipped = identify(skip) if skip is not None else None
        for name in reversed(folder.folders):
            inner = path / name
            if not is_hidden(name) and (skipped is None or identify(inner) != skipped):
                stack.append((inner, (*above, own)))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that operating systems leave behind."""
    return name.startswith(".") or name.lower() in {"thumbs.db", "desktop.ini", "__macosx"}


def has_magic(pattern: str) -> bool:
    """Return whether a text has the special characters of a glob."""
    return any(character in pattern for character in "*?[")


def match_paths(pattern: str) -> Iterator[Path]:
    """Yield the paths that match a glob, folder by folder, each in order of names.

    `*`, `?` and `[...]` stay within a name; `**` stands for any number of folders. Hidden names match only where the
    pattern spells the dot. A folder that cannot be read is yielded in place of its content, so that it is reported.
    """
    first, *rest = Path(pattern).parts
    parts = [part for part, before in zip(rest, [first, *rest], strict=False) if not part == before == "**"]
    if Path(first).anchor:
        yield from _match(Path(first), tuple(parts), ())
    else:
        yield from _match(Path(), (first, *parts), ())


def _match(folder: Path, parts: tuple[str, ...], above: tuple[FolderId, ...]) -> Iterator[Path]:
    if not parts:
        yield folder
        return
    head, *rest = parts
    if not has_magic(head):
        if rest and (folder / head).is_dir():
            yield from _match(folder / head, tuple(rest), ())
        elif not rest and os.path.lexists(folder / head):
            yield folder / head
        return
    if identify(folder) in above:  # what lies there has been matched already
        return
    content = list_folder(folder, above)
    if content.error:
        yield folder
    elif head == "**":
        yield from _match(folder, tuple(rest), ())
        yield from _match_below(content, parts, above)
    else:
        for name in sorted((*content.files, *content.folders)):
            if fnmatch.fnmatch(name, head) and (not name.startswith(".") or head.startswith(".")):
                if not rest:
                    yield folder / name
                elif name in content.folders:
                    yield from _match(folder / name, tuple(rest), ())


def _match_below(content: Folder, parts: tuple[str, ...], above: tuple[FolderId, ...]) -> Iterator[Path]:
    """Yield what a pattern that begins with `**` matches in the folders of a folder."""
    own = identify(content.path)
    if len(parts) == 1 or own is None:  # a last `**` has matched the folder itself, with all below it
        return
    for name in content.folders:
        if not is_hidden(name):
            yield from _match(content.path / name, parts, (*above, own))
