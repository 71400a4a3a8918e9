"""The content of bundle.json: what the model is, how it decides, where it comes from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hilum.preprocess import PreprocessSpec
from hilum.types import Label

SCHEMA_VERSION: Final = 2
READABLE_VERSIONS: Final = (1, 2)
SPEC = "bundle.json"
NETWORK_IR = "network.xml"
NETWORK_WEIGHTS = "network.bin"
NETWORK_ONNX = "network.onnx"
GATE = "gate.npz"
MODEL_CARD = "model_card.md"
SEEN = "seen.txt"


class Precision(StrEnum):
    """What the network computes in: float32, bfloat16 where the processor has it, or 8-bit integers."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class NetworkFormat(StrEnum):
    """How the network is stored."""

    OPENVINO = "openvino"
    ONNX = "onnx"


def check_name(name: str) -> str:
    """Return the name of a file beside bundle.json; refuse one that could lead elsewhere (ValueError)."""
    plain = name not in ("", ".", "..") and all(kind(name).name == name for kind in (PurePosixPath, PureWindowsPath))
    if not plain or name == SPEC:
        raise ValueError(f"{name!r} is not the plain name of a file beside {SPEC}")
    return name


FileName = Annotated[str, AfterValidator(check_name)]
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
    """How the familiarity of pictures is measured; the statistics, of train and val, are in gate.npz.

    Bundles of schema version 1 refused what was farther than `threshold`, `rejected_val_share` of val.
    """

    method: str
    threshold: float | None = None
    rejected_val_share: Share | None = None
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


def describe_input(spec: PreprocessSpec) -> str:
    """Say what the network sees."""
    if spec.field is None:
        return f"{spec.size} x {spec.size} pixels, gray, the whole picture"
    return (
        f"{spec.field} x {spec.field} pixels, gray; the classifier sees the lungs with {spec.margin:+.0%} at each "
        f"side, {spec.size} x {spec.size}"
    )


class BundleSpec(_Spec):
    """The content of bundle.json.

    Probabilities are sigmoid(logit / temperature + intercept). `training_prior` is the share of PNEUMONIA that they
    stand for: that of val where an intercept was fitted to it, else that of train, or 0.5 after balanced training;
    after a recalibration that of the local pictures. `heatmap_full_scale` is the evidence in logits at which heat maps
    of this model saturate. `metrics` are those of val at the default operating point, and flatter: calibration and
    threshold were fitted there; after a recalibration they are cross-validated on the local pictures. `checksum` is
    that of all the rest, against accidents: whoever alters a bundle on purpose can renew it.
    """

    schema_version: Literal[1, 2] = SCHEMA_VERSION
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
    checksum: Sha256 | None = None

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
            "Input": describe_input(self.preprocess),
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
