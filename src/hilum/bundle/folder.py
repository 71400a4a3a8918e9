"""Reading, writing and finding bundle folders; what is read has been checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hilum.bundle.spec import GATE, READABLE_VERSIONS, SPEC, BundleSpec, OperatingPointSpec, check_name
from hilum.errors import BundleError, HilumError
from hilum.files import atomic_folder, read_json, sha256_bytes, sha256_file, write_json

PACKAGED = "packaged"
"""The word that stands for the bundle inside the package, and the folder that it lies in."""
PACKAGED_FOLDER = Path(__file__).parents[1] / PACKAGED
_RUN_MARK = "config.yaml"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are all there and are those that were written."""

    folder: Path
    spec: BundleSpec

    @property
    def network(self) -> Path:
        """The file that holds the network."""
        return self.folder / self.spec.needed_files[0]

    @property
    def gate(self) -> Path | None:
        """The file of the input gate, None where the bundle has no gate."""
        return self.folder / GATE if self.spec.gate is not None else None

    def choose_operating_point(self, name: str | None = None) -> OperatingPointSpec:
        """Return an operating point by name; none given: the default one.

        Raises:
            BundleError: there is none of this name.
        """
        if name is None:
            return self.spec.operating_point
        if name not in self.spec.operating_points:
            known = ", ".join(self.spec.operating_points)
            raise BundleError(f"{self.folder} has no operating point {name}; it has {known}.")
        return self.spec.operating_points[name]


def is_bundle(folder: Path) -> bool:
    """Return whether `folder` looks like a bundle."""
    return (folder / SPEC).is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check that it is whole.

    Raises:
        BundleError: the folder is no bundle, of another schema version, has an unknown or unfitting entry, or one of
            its files is missing or altered.
    """
    if not is_bundle(folder):
        raise BundleError(f"{folder} is not a bundle: it has no {SPEC}. Make one with 'hilum export RUN --out BUNDLE'.")
    spec = _read_spec(folder / SPEC)
    unlisted = [name for name in spec.needed_files if name not in spec.files]
    if unlisted:
        raise BundleError(f"{folder / SPEC} names no {unlisted[0]} among its files; export the bundle again.")
    for name, expected in spec.files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"The bundle {folder} lacks its file {name}; copy the whole folder again.")
        if sha256_file(file) != expected:
            raise BundleError(
                f"{file} is not the file that the bundle was written with (its SHA-256 differs); copy the bundle again."
            )
    return Bundle(folder, spec)


def _read_spec(path: Path) -> BundleSpec:
    try:
        content = read_json(path)
    except HilumError as error:
        raise BundleError(f"{error} The bundle cannot be used; copy it again.") from None
    found = content.get("schema_version")
    if found not in READABLE_VERSIONS:
        raise BundleError(
            f"{path} has schema version {found!r}, and this Hilum reads versions {READABLE_VERSIONS[0]} to "
            f"{READABLE_VERSIONS[-1]}; "
            "use the Hilum that wrote it, or export the model again."
        )
    try:
        # From JSON text and not from the dictionary: only there lists may stand for tuples.
        spec = BundleSpec.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        reason = "is not known" if first["type"] == "extra_forbidden" else f"does not fit ({first['msg']})"
        raise BundleError(f"{path} cannot be used: {where} {reason}; export the model again.") from None
    if spec.checksum is not None and spec.checksum != compute_checksum(content):
        raise BundleError(
            f"{path} was altered after it was written (its checksum differs); copy the bundle again. To fit a bundle "
            "to other pictures, use hilum recalibrate."
        )
    return spec


def compute_checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a bundle.json says, but for its checksum, as compact JSON with sorted keys.

    Of the file and not of what is made of it, so that entries of later versions change nothing.
    """
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return sha256_bytes(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


def write_bundle(out: Path, spec: BundleSpec, files: Mapping[str, Path]) -> Bundle:
    """Write a bundle as a whole: a reader sees all of it or nothing.

    Args:
        out: folder to make.
        spec: what bundle.json is to hold; its `files` and `checksum` are filled in here.
        files: name in the bundle -> file to copy.

    Raises:
        BundleError: a file is missing that the spec needs.
        HilumError: `out` exists and is not an empty folder.
    """
    missing = [name for name in spec.needed_files if name not in files]
    if missing:
        raise BundleError(f"A bundle cannot be written to {out} without its file {missing[0]}.")
    with atomic_folder(out) as temporary:
        hashes = {}
        for name, source in files.items():
            target = temporary / check_name(name)
            shutil.copyfile(source, target)
            hashes[name] = sha256_file(target)
        written = spec.model_copy(update={"files": hashes})
        written = written.model_copy(update={"checksum": compute_checksum(written.model_dump(mode="json"))})
        write_json(temporary / SPEC, written.model_dump(mode="json"))
        read_bundle(temporary)
    return Bundle(out, written)


def packaged_bundle(root: Path = PACKAGED_FOLDER) -> Path:
    """Return the folder of the bundle that comes with the package, the last by name where there are several.

    Raises:
        BundleError: this installation has none.
    """
    found = sorted(path.parent for path in root.glob(f"*/{SPEC}"))
    if not found:
        raise BundleError(
            "No bundle comes with this installation of Hilum; train a model and make one with "
            "'hilum export RUN --out BUNDLE'."
        )
    return found[-1]


def resolve_bundle(text: str | Path) -> Path:
    """Return the folder that MODEL on the command line means: the word "packaged", or a bundle folder.

    Raises:
        BundleError: there is no such folder, or it is none of a bundle; a run folder is told apart.
    """
    if str(text) == PACKAGED:
        return packaged_bundle()
    folder = Path(text)
    if is_bundle(folder):
        return folder
    if folder.name == SPEC and is_bundle(folder.parent):
        raise BundleError(f"{folder} is a file of a bundle; name its folder, {folder.parent}.")
    if not folder.exists():
        raise BundleError(f"There is no bundle {folder}; name a bundle folder, or '{PACKAGED}'.")
    if (folder / _RUN_MARK).is_file():
        raise BundleError(
            f"{folder} is a run, and a bundle is needed; make one with 'hilum export {folder} --out BUNDLE'."
        )
    raise BundleError(f"{folder} is not a bundle: it has no {SPEC}. Make one with 'hilum export RUN --out BUNDLE'.")
