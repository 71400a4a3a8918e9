"""The model bundle: one folder that holds all that a prediction needs, and says what it is.

BUNDLE/bundle.json       what the model is, how it decides, where it comes from, and the hashes of the other files
BUNDLE/network.xml,.bin  the network (OpenVINO IR), or network.onnx
BUNDLE/gate.npz          the statistics of the input gate, where there is one
BUNDLE/model_card.md     the same for people

The network takes `pictures`, uint8 (n, size, size), gray 0-255 as `hilum.preprocess.resize` gives them, and has the
outputs `logit` (n,), `cam` (n, h, w) with mean(cam) + bias = logit, and `features` (n, 2048).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hilum.errors import BundleError, HilumError
from hilum.files import atomic_folder, read_json, sha256_file, write_json
from hilum.preprocess import PreprocessSpec
from hilum.types import Label

SCHEMA_VERSION: Final = 1
SPEC = "bundle.json"
NETWORK_IR = "network.xml"
NETWORK_WEIGHTS = "network.bin"
NETWORK_ONNX = "network.onnx"
GATE = "gate.npz"
MODEL_CARD = "model_card.md"
PACKAGED = "packaged"
"""The word that stands for the bundle inside the package, and the folder that it lies in."""
PACKAGED_FOLDER = Path(__file__).parent / PACKAGED
_RUN_MARK = "config.yaml"


class Precision(StrEnum):
    """What the network computes in: float32, bfloat16 where the processor has it, or 8-bit integers."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class NetworkFormat(StrEnum):
    """How the network is stored."""

    OPENVINO = "openvino"
    ONNX = "onnx"


def _check_name(name: str) -> str:
    plain = name not in ("", ".", "..") and all(kind(name).name == name for kind in (PurePosixPath, PureWindowsPath))
    if not plain or name == SPEC:
        raise ValueError(f"{name!r} is not the plain name of a file beside {SPEC}")
    return name


FileName = Annotated[str, AfterValidator(_check_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OperatingPointSpec(_Spec):
    """A threshold on the calibrated probability, and what it gave on the `n` pictures that it was chosen on."""

    threshold: Share
    rule: str
    chosen_on: str
    n: int = Field(ge=1)
    sensitivity: Share
    specificity: Share


class ConformalSpec(_Spec):
    """Split-conformal prediction sets: a label is in where one minus its probability is at most its quantile.

    `quantiles` are those of NORMAL and PNEUMONIA, None where val had too few pictures for `alpha`: then the label is in
    every set. `by_class` says whether each class has its own.
    """

    alpha: float = Field(gt=0, lt=1)
    by_class: bool
    quantiles: tuple[Share | None, Share | None]
    chosen_on: str
    n: int = Field(ge=1)


class GateSpec(_Spec):
    """The input gate: a picture whose score is above `threshold` is no chest radiograph.

    `rejected_val_share` is the share of validation pictures that it rejects. The statistics are in gate.npz.
    """

    method: str
    threshold: float
    rejected_val_share: Share
    n_train: int = Field(ge=1)
    n_val: int = Field(ge=1)


class MetricSpec(_Spec):
    """A metric with its 95 % interval, resampled by patient; None where it is not defined."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


class ParitySpec(_Spec):
    """How the exported network differs from the trained one on the `n` pictures of val.

    `changed_verdicts` counts the pictures whose label changes when both are read at the operating point of the trained
    network; `changed_after_refit` when the exported network is read at its own. `forced` says that the export was asked
    for although it failed this check.
    """

    n: int = Field(ge=1)
    auroc_trained: Share
    auroc_exported: Share
    max_logit_difference: float = Field(ge=0)
    mean_logit_difference: float = Field(ge=0)
    changed_verdicts: int = Field(ge=0)
    changed_after_refit: int = Field(ge=0)
    forced: bool = False


class WeightsSpec(_Spec):
    """What the training started from."""

    name: str
    sha256: str
    licence: str


class ProvenanceSpec(_Spec):
    """Where the model comes from; hashes as `hilum train` wrote them."""

    run: str
    manifest_hash: str
    splits_hash: str
    model_hash: Sha256
    weights: WeightsSpec
    packages: dict[str, str]
    git_commit: str | None
    seed: int
    calibration_pictures: int = Field(0, ge=0)


class RecalibrationSpec(_Spec):
    """On which local pictures a bundle's calibration and operating points were refitted, and what that changed.

    `n` pictures of `patients`, whose labels `normal` and `pneumonia` count. `base` names the bundle that was refitted,
    with the calibration that it had. `before` are its figures on the local pictures, `after` those of the refitted one,
    cross-validated by patient; both at the default operating point.
    """

    base: str
    created: str
    method: str
    n: int = Field(ge=1)
    normal: int = Field(ge=1)
    pneumonia: int = Field(ge=1)
    patients: int = Field(ge=1)
    manifest_hash: str
    base_temperature: float = Field(gt=0)
    base_intercept: float
    base_prior: float = Field(gt=0, lt=1)
    before: dict[str, MetricSpec]
    after: dict[str, MetricSpec]


class BundleSpec(_Spec):
    """The content of bundle.json.

    Probabilities are sigmoid(logit / temperature + intercept). `training_prior` is the share of PNEUMONIA that they
    stand for: that of val where an intercept was fitted to it, else that of train, or 0.5 after balanced training;
    after a recalibration that of the local pictures. `heatmap_full_scale` is the evidence in logits at which heat maps
    of this model saturate. `metrics` are those of val at the default operating point, and flatter: calibration and
    threshold were fitted there; after a recalibration they are cross-validated on the local pictures.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    created: str
    labels: tuple[Literal[Label.NORMAL], Literal[Label.PNEUMONIA]] = (Label.NORMAL, Label.PNEUMONIA)
    preprocess: PreprocessSpec
    precision: Precision
    format: NetworkFormat
    temperature: float = Field(gt=0)
    intercept: float = 0.0
    operating_points: dict[str, OperatingPointSpec]
    default_operating_point: str
    conformal: tuple[ConformalSpec, ...] = ()
    training_prior: float = Field(gt=0, lt=1)
    heatmap_full_scale: float = Field(gt=0)
    gate: GateSpec | None
    metrics: dict[str, MetricSpec]
    parity: ParitySpec
    provenance: ProvenanceSpec
    recalibration: RecalibrationSpec | None = None
    licence: str
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _check_operating_point(self) -> Self:
        if self.default_operating_point not in self.operating_points:
            raise ValueError(f"the default operating point {self.default_operating_point!r} is not among the others")
        return self

    @property
    def operating_point(self) -> OperatingPointSpec:
        """The default operating point."""
        return self.operating_points[self.default_operating_point]

    @property
    def needed_files(self) -> tuple[str, ...]:
        """Names of the files without which the bundle cannot work."""
        network = (NETWORK_ONNX,) if self.format is NetworkFormat.ONNX else (NETWORK_IR, NETWORK_WEIGHTS)
        return (*network, GATE) if self.gate is not None else network

    def describe(self) -> dict[str, str]:
        """Return facts for reports and cards, in the order to show them."""
        parity, provenance = self.parity, self.provenance
        return {
            "Network": "ResNet-50, one logit",
            "Version": self.version,
            "Created": self.created,
            "Precision": f"{self.precision}, {self.format}",
            "Against the trained network": f"{parity.changed_verdicts:,} of {parity.n:,} verdicts on val change; AUROC "
            f"{parity.auroc_trained:.4f} trained, {parity.auroc_exported:.4f} exported",
            **self._describe_recalibration(),
            "Input": f"{self.preprocess.size} x {self.preprocess.size} pixels, gray",
            "Initial weights": provenance.weights.name,
            "Licence of the initial weights": provenance.weights.licence,
            "Licence": self.licence,
            "Seed": str(provenance.seed),
        }

    def _describe_recalibration(self) -> dict[str, str]:
        local = self.recalibration
        if local is None:
            return {}
        return {
            "Recalibrated": f"on {local.n:,} local pictures of {local.patients:,} patients ({local.normal:,} NORMAL, "
            f"{local.pneumonia:,} PNEUMONIA), {local.created}"
        }


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
    if found != SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {found!r}, and this Hilum reads version {SCHEMA_VERSION}; "
            "use the Hilum that wrote it, or export the model again."
        )
    try:
        # From JSON text and not from the dictionary: only there lists may stand for tuples.
        return BundleSpec.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        reason = "is not known" if first["type"] == "extra_forbidden" else f"does not fit ({first['msg']})"
        raise BundleError(f"{path} cannot be used: {where} {reason}; export the model again.") from None


def write_bundle(out: Path, spec: BundleSpec, files: Mapping[str, Path]) -> Bundle:
    """Write a bundle as a whole: a reader sees all of it or nothing.

    Args:
        out: folder to make.
        spec: what bundle.json is to hold; its `files` are filled in here.
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
            target = temporary / _check_name(name)
            shutil.copyfile(source, target)
            hashes[name] = sha256_file(target)
        written = spec.model_copy(update={"files": hashes})
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
    if not folder.exists():
        raise BundleError(f"There is no bundle {folder}; name a bundle folder, or '{PACKAGED}'.")
    if (folder / _RUN_MARK).is_file():
        raise BundleError(
            f"{folder} is a run, and a bundle is needed; make one with 'hilum export {folder} --out BUNDLE'."
        )
    raise BundleError(f"{folder} is not a bundle: it has no {SPEC}. Make one with 'hilum export RUN --out BUNDLE'.")
