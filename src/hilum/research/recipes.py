"""The study as a YAML file: which recipes are trained, with which seeds, and which figure ranks them.

    data: ../chest_xray             any DATA; relative paths are taken from the folder of this file
    seeds: [0, 1, 2]                each recipe is trained once with each
    rank_by: nih.auroc              default: robust.objective, without robust validation val.auroc
    robust: 240                     images of val scored under the battery; 0 leaves robust validation out
    also: {nih: nih.csv}            further sets, all of whose labelled images are scored
    settings: {train.epochs: 5}     shared by all recipes, as for --set
    recipes:
      default: {}
      mild: {augment.graded: false, augment.display: 0.2}

All runs share one validation set: `data.split_seed` is 0 unless `settings` give it, so that seeds differ in weights,
order and augmentation, and not in the images that judge them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hilum.config import Config, load_config
from hilum.errors import ConfigError
from hilum.files import parse_yaml, read_text
from hilum.research.names import list_rankable

Value = None | bool | int | float | str | list[int | float]
Settings = Mapping[str, Value]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_RESERVED = ("val", "robust", "test")
# Recipes are compared on one validation set; the seed comes from `seeds`.
_SHARED = ("data.val_fraction", "data.val_fold", "data.split_seed", "data.cache_dir")
_FEWEST = 8  # images of val that robust validation needs
_KEPT_WORDS = ("imagenet", "random")


class StudyFile(BaseModel):
    """What the YAML file holds, before paths and settings are resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=1)
    rank_by: str | None = None
    robust: int = Field(240, ge=0)
    also: dict[str, str] = {}
    settings: dict[str, Value] = {}
    recipes: dict[str, dict[str, Value]] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    @field_validator("robust")
    @classmethod
    def _check_robust(cls, robust: int) -> int:
        if 0 < robust < _FEWEST:
            raise ValueError(f"at least {_FEWEST} images are needed, or 0 to leave robust validation out")
        return robust

    @field_validator("recipes", mode="before")
    @classmethod
    def _fill_empty(cls, recipes: Any) -> Any:
        # `default:` alone is null in YAML, and means the defaults.
        return {name: values or {} for name, values in recipes.items()} if isinstance(recipes, dict) else recipes

    @field_validator("recipes", "also")
    @classmethod
    def _check_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            check_name(name)
        return named


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """A study that has been read and checked.

    `recipes` are configurations with seed 0; `build_config` gives that of a run. `settings` and `changes` are what the
    file says, for the report: what all recipes share, and what each sets besides.
    """

    data: Path
    seeds: tuple[int, ...]
    rank_by: str
    robust: int
    also: Mapping[str, Path]
    recipes: Mapping[str, Config]
    settings: Settings
    changes: Mapping[str, Settings]

    @property
    def shared(self) -> Config:
        """A configuration whose split settings are those of every run."""
        return next(iter(self.recipes.values()))

    def list_runs(self) -> list[tuple[str, int]]:
        """Return recipe and seed of each run in the order of training: all recipes with one seed, then the next."""
        return [(recipe, seed) for seed in self.seeds for recipe in self.recipes]

    def build_config(self, recipe: str, seed: int, *, cache: Path) -> Config:
        """Return the configuration of a run; decoded images are cached in `cache` unless the settings say where."""
        config = self.recipes[recipe]
        data = config.data.model_copy(update={"cache_dir": config.data.cache_dir or cache})
        return config.model_copy(update={"seed": seed, "data": data})


def check_name(name: str) -> None:
    """Refuse a name that cannot stand for a folder or a figure.

    Raises:
        ValueError: another character than letters, digits, - _ and .
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name '{name}' may hold letters, digits, - _ and . alone, and starts with none of - .")


def read_study(path: Path, *, also: Mapping[str, Path] | None = None, weights: str | None = None) -> StudyPlan:
    """Read a study and check every recipe, before anything is trained.

    Args:
        path: the YAML file.
        also: further sets beside those of the file.
        weights: what the networks start from, where a recipe does not say so itself.

    Raises:
        ConfigError: the file cannot be read, or a key, a name or a setting does not fit; the message names it.
    """
    file = _parse(path)
    folder = path.absolute().parent
    sets = {name: _locate(folder, data) for name, data in file.also.items()}
    for name, data in (also or {}).items():
        if name in sets:
            raise ConfigError(f"--also {name}={data}: {path} has a set of this name already; take another name.")
        sets[name] = _locate(Path.cwd(), str(data))
    for name in sets:
        if name in _RESERVED or "." in name:
            raise ConfigError(
                f"A further set cannot be named {name}: figures are NAME.auroc, and val and robust exist."
            )
    for name, values in {"settings": file.settings, **file.recipes}.items():
        taken = [key for key in values if key == "seed" or (name != "settings" and key in _SHARED)]
        if taken:
            where = "'seeds' gives it" if taken == ["seed"] else "all recipes share train and val: set it in 'settings'"
            raise ConfigError(f"The study {path} does not fit at {name}: it cannot set {taken[0]}; {where}.")
    settings: dict[str, Value] = {"data.split_seed": 0, **file.settings}
    if weights is not None:
        settings["model.weights"] = weights if weights in _KEPT_WORDS else str(_locate(Path.cwd(), weights))
    plan = StudyPlan(
        data=_locate(folder, file.data),
        seeds=file.seeds,
        rank_by=file.rank_by or ("robust.objective" if file.robust else "val.auroc"),
        robust=file.robust,
        also=sets,
        recipes={
            name: _resolve(settings | values, folder, f"The study {path} does not fit at recipe {name}")
            for name, values in file.recipes.items()
        },
        settings={key: value for key, value in settings.items() if key != "data.split_seed" or value != 0},
        changes=file.recipes,
    )
    rankable = list_rankable(tuple(plan.also), robust=file.robust > 0)
    if plan.rank_by not in rankable:
        raise ConfigError(f"The study {path} cannot be ranked by {plan.rank_by}; there are {', '.join(rankable)}.")
    return plan


def _locate(folder: Path, path: str) -> Path:
    """Return an absolute path without dots; links are kept, as in manifests."""
    return Path(os.path.normpath(folder / path))


def _parse(path: Path) -> StudyFile:
    try:
        tree = parse_yaml(read_text(path))
    except OSError as error:
        raise ConfigError(f"The study {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The study {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"The study {path} must hold the keys data, seeds and recipes.")
    try:
        return StudyFile.model_validate(tree)
    except ValidationError as error:
        problem = error.errors()[0]
        # A place inside a union of types names the type tried too, which says nothing to a reader.
        place = ".".join(str(part) for part in problem["loc"][:3])
        raise ConfigError(f"The study {path} does not fit at {place}: {_explain(problem, StudyFile)}.") from None


def _explain(problem: Any, model: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key; there are {', '.join(model.model_fields)}"
    if problem["type"] == "missing":
        return "it is missing"
    text = str(problem["msg"]).removeprefix("Value error, ").removesuffix(".")
    return text[0].lower() + text[1:]


def _resolve(values: Settings, folder: Path, place: str) -> Config:
    weights = values.get("model.weights")
    if isinstance(weights, str) and weights not in _KEPT_WORDS:
        values = {**values, "model.weights": str(_locate(folder, weights))}
    try:
        # JSON is YAML, which overrides are read as.
        config = load_config(overrides=[f"{key}={json.dumps(value)}" for key, value in values.items()])
    except ConfigError as error:
        reason = str(error)
        raise ConfigError(f"{place}: {reason.partition('does not fit: ')[2] or reason}") from None
    cache = config.data.cache_dir
    if cache is None:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"cache_dir": _locate(folder, str(cache))})})
