"""Configuration: frozen models with every default in one place; defaults < YAML file < --set options.

Unknown keys are errors. The resolved configuration is written into each run as config.yaml, and reading that file
back gives an equal object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hilum.errors import ConfigError
from hilum.files import parse_yaml, read_text
from hilum.preprocess import PreprocessSpec


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Where validation comes from and how pictures reach the network."""

    val_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of train pictures that validate, by patient")
    val_fold: int = Field(0, ge=0, description="which of the 1/val_fraction folds of patients validates")
    split_seed: int | None = Field(None, ge=0, lt=2**31, description="seed of the folds; none given: that of the run")
    cache_dir: Path | None = Field(
        None, description="where decoded images and lung masks are cached; none given: in the run folder"
    )


class AugmentConfig(_Section):
    """Random changes of training pictures. A strength of 0 (or a scale of 1) switches a change off."""

    enabled: bool = True
    crop_scale_min: float = Field(0.3, gt=0, le=1, description="smallest share of the area that a random crop keeps")
    aspect_jitter: float = Field(0.3, ge=0, lt=1, description="crops are up to this much wider or taller than square")
    rotate_degrees: float = Field(15.0, ge=0, le=90)
    translate: float = Field(0.08, ge=0, le=0.5, description="largest shift as a share of the side")
    shear_degrees: float = Field(5.0, ge=0, le=45)
    brightness: float = Field(0.3, ge=0, lt=1)
    contrast: float = Field(0.4, ge=0, lt=1)
    gamma: float = Field(0.8, ge=0, lt=1, description="gamma is drawn from 1/(1+g) to 1+g, evenly in its logarithm")
    noise: float = Field(0.06, ge=0, le=0.5, description="largest standard deviation of noise; full range is 1")
    blur: float = Field(1.5, ge=0, le=10, description="largest standard deviation of blur in pixels at 224")
    blur_probability: float = Field(0.3, ge=0, le=1)
    erase_probability: float = Field(0.25, ge=0, le=1)
    erase_scale: float = Field(0.1, ge=0, lt=1, description="largest share of the area that is erased")
    flip_probability: float = Field(
        0.0, ge=0, le=1, description="left-right flips; off, for they move the heart to the right side"
    )
    zoom_out: float = Field(0.5, ge=0, le=1, description="the field of view widens by up to this share, over black")
    display: float = Field(0.8, ge=0, le=1, description="strength of other display curves, windows and equalisation")
    local_contrast: float = Field(0.8, ge=0, le=3, description="largest share of local detail that is added")
    shading: float = Field(0.3, ge=0, lt=1, description="largest change of brightness towards an edge")
    resolution_min: float = Field(0.35, gt=0.1, le=1, description="smallest share of the resolution that is kept")
    jpeg_quality_min: int = Field(15, ge=5, le=100, description="lowest JPEG quality; 100: none is compressed again")
    collimation: float = Field(0.1, ge=0, le=0.3, description="widest black strip at an edge, as a share of the side")
    marks: float = Field(0.3, ge=0, le=1, description="how probable letters and covers near the edges are")
    corners: float = Field(
        0.7, ge=0, le=1, description="how often each corner, as far as no lung lies there, is another child's"
    )
    acquisition_probability: float = Field(
        0.3, ge=0, le=1, description="of each of local contrast, shading, resolution, JPEG and collimation"
    )
    graded: bool = Field(
        True, description="give each picture a strength of its own, from a quarter of all the others to the whole"
    )

    @property
    def exchanges_corners(self) -> bool:
        """Whether training pictures get corners of others, for which their lungs must be known."""
        return self.enabled and self.corners > 0

    def scale(self, strength: float) -> AugmentConfig:
        """Return the same changes at a share of their strength, 0 to 1; probabilities stay, but that of marks."""
        linear = (
            "aspect_jitter", "rotate_degrees", "translate", "shear_degrees", "brightness", "contrast", "gamma",
            "noise", "blur", "erase_scale", "zoom_out", "display", "local_contrast", "shading", "collimation", "marks",
        )  # fmt: skip
        changed: dict[str, float] = {name: getattr(self, name) * strength for name in linear}
        changed["crop_scale_min"] = 1 - (1 - self.crop_scale_min) * strength
        changed["resolution_min"] = 1 - (1 - self.resolution_min) * strength
        changed["jpeg_quality_min"] = round(100 - (100 - self.jpeg_quality_min) * strength)
        return self.model_copy(update=changed)


class ModelConfig(_Section):
    """The network and the weights it starts from."""

    weights: str = Field("imagenet", description="imagenet, random, or the path of a .pth or .safetensors file")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the last layer")


class TrainConfig(_Section):
    """Two phases: the head alone, then the whole network with smaller learning rates towards the input."""

    epochs: int = Field(5, ge=1, description="epochs of the whole network, after those of the head")
    head_epochs: int = Field(1, ge=0, description="epochs in which only the last layer learns")
    batch_size: int = Field(
        32, ge=2, description="images a step; learning rates are for 32 and are scaled by the square root of its share"
    )
    lr: float = Field(3e-4, gt=0, description="peak learning rate of the last layer and block, at a batch of 32")
    head_lr: float = Field(1e-3, gt=0, description="learning rate while only the head learns, at a batch of 32")
    layer_decay: float = Field(0.7, gt=0, le=1, description="each earlier stage learns at this share of the next one")
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    label_smoothing: float = Field(0.05, ge=0, lt=0.5)
    mixup: float = Field(0.0, ge=0, le=2, description="alpha of MixUp's Beta distribution; 0: pictures are not mixed")
    pathogen_loss: float = Field(0.5, gt=0, le=10, description="weight of bacterial or viral beside sick or healthy")
    balance: Literal["none", "weights", "sampler", "surroundings"] = Field(
        "weights",
        description="how rare classes are made to count: in the loss, by drawing them more often, or by drawing the "
        "more often, too, what does not give its label away by its surroundings",
    )
    clip_norm: float | None = Field(1.0, gt=0)
    ema_decay: float | None = Field(
        0.995, gt=0, lt=1, description="decay of the averaged weights in a step of 32 images; null: none"
    )
    freeze: Literal["none", "conv1", "layer1", "layer2", "layer3"] = Field(
        "none", description="the stages up to this one keep their initial weights, which halves the time and more"
    )
    batch_norm: Literal["adapt", "freeze"] = Field("adapt", description="whether BatchNorm statistics follow the data")
    monitor: Literal["val_loss", "val_auroc"] = Field("val_loss", description="what chooses the best epoch")
    patience: int | None = Field(None, ge=1, description="epochs without improvement before training stops")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int | None = Field(None, ge=1, description="CPU threads; none given: all that the process may use")
    logger: Literal["tensorboard", "mlflow", "none"] = "tensorboard"


CalibrationRule = Literal["auto", "temperature", "platt"]


class EvaluateConfig(_Section):
    """How the threshold is chosen on val, and how intervals are made."""

    operating_point: Literal["youden", "sensitivity"] = "youden"
    min_sensitivity: float = Field(0.95, gt=0, le=1, description="used when operating_point is sensitivity")
    calibration: CalibrationRule = Field(
        "temperature",
        description="platt: temperature and intercept; auto: the intercept where held-out val pictures ask for it",
    )
    bootstrap: int = Field(1000, ge=100, description="resamples, drawn by patient")
    worst: int = Field(12, ge=0, description="how many of the worst mistakes the report shows")


class Config(_Section):
    """All settings of a run."""

    seed: int = Field(0, ge=0, lt=2**31)
    task: Literal["pneumonia", "pathogen"] = Field(
        "pneumonia", description="pathogen: the network learns besides whether a pneumonia is bacterial or viral"
    )
    data: DataConfig = DataConfig()
    preprocess: PreprocessSpec = PreprocessSpec()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _check_patience(self) -> Self:
        if self.train.patience is not None and self.train.patience > self.train.epochs + self.train.head_epochs:
            raise ValueError("train.patience is longer than the training itself")
        return self

    @property
    def needs_lungs(self) -> bool:
        """Whether a training must know the lungs in its images."""
        return self.augment.exchanges_corners or self.train.balance == "surroundings"

    @property
    def split_seed(self) -> int:
        """Seed of the folds of patients."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    def to_yaml(self) -> str:
        """Return the configuration as YAML that `load_config` reads back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


# What augmentation was before a setting of it existed, and settings that exist no more: runs have them switched off.
_BEFORE: dict[str, Any] = {
    "zoom_out": 0.0,
    "display": 0.0,
    "local_contrast": 0.0,
    "shading": 0.0,
    "resolution_min": 1.0,
    "jpeg_quality_min": 100,
    "collimation": 0.0,
    "marks": 0.0,
    "corners": 0.0,
    "graded": False,
}
_GONE = ("background", "framing")
_GONE_DATA = ("workers",)  # of no consequence for what was learnt


def load_config(path: Path | None = None, *, overrides: Sequence[str] = (), base: Config | None = None) -> Config:
    """Build the configuration from defaults, a YAML file and `section.key=value` overrides, the later ones winning.

    `base` takes the place of the defaults, for a run that has its own.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or a value does not fit; the message names each.
    """
    tree: dict[str, Any] = {} if base is None else base.model_dump(mode="json")
    if path is not None:
        for section, values in _read_yaml(path).items():
            known = tree.get(section)
            tree[section] = {**known, **values} if isinstance(known, dict) and isinstance(values, dict) else values
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"--set {override}: write it as section.key=value, for example --set train.lr=3e-4.")
        _put(tree, key.strip(), _parse_value(text))
    return _validate(tree, source=str(path) if path is not None else "--set")


def read_run_config(path: Path) -> Config:
    """Read the config.yaml of a run. It has every setting that there was: what it lacks of augmentation was off.

    (Settings of other sections that came later have defaults that change nothing.)

    Raises:
        ConfigError: as for `load_config`.
    """
    tree = _read_yaml(path)
    if not tree:
        raise ConfigError(f"The configuration {path} is empty, though each run writes all its settings; copy it again.")
    data = tree.get("data")
    if isinstance(data, dict):
        tree["data"] = {key: value for key, value in data.items() if key not in _GONE_DATA}
    augment = tree.get("augment")
    if isinstance(augment, dict):
        gone = [f"augment.{key}" for key in _GONE if augment.get(key)]
        if gone:
            raise ConfigError(
                f"The run {path.parent} was trained with {gone[0]}, which this Hilum no longer has; use the one that "
                "trained it."
            )
        tree["augment"] = {**_BEFORE, **{key: value for key, value in augment.items() if key not in _GONE}}
    return _validate(tree, source=str(path))


def list_differences(
    left: Mapping[str, Any], right: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings in which two dumped configurations differ, as (section.key, left, right)."""
    for key, value in left.items():
        other = right.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from list_differences(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}", value, other


def _validate(tree: dict[str, Any], *, source: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'configuration'}: {_explain(e)}" for e in error.errors()
        )
        raise ConfigError(f"The configuration ({source}) does not fit: {problems}.") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = parse_yaml(read_text(path))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The configuration {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"The configuration {path} must hold sections such as 'train:', not a {type(tree).__name__}.")
    return tree


def _parse_value(text: str) -> Any:
    try:
        value = parse_yaml(text)
    except ValueError:
        return text
    if isinstance(value, str):
        # YAML 1.1 takes 3e-4 for a string: it wants 3.0e-4.
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        branch = tree.setdefault(section, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"--set {dotted}: {section} is a value, not a section.")
        tree = branch
    tree[key] = value


def _list_keys(sections: Sequence[str]) -> list[str]:
    model: Any = Config
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not hasattr(field.annotation, "model_fields"):
            return []
        model = field.annotation
    return list(model.model_fields)


def _explain(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        *sections, key = (str(part) for part in error["loc"])
        near = get_close_matches(key, _list_keys(sections), n=1)
        return f"unknown key; did you mean {near[0]}?" if near else "unknown key"
    return str(error["msg"][0].lower() + error["msg"][1:])
