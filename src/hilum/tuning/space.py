"""The search space as data: which settings of the configuration vary, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from optuna.trial import Trial
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hilum.config import Config
from hilum.errors import ConfigError
from hilum.files import parse_yaml, read_text

DEFAULT_SPACE = Path(__file__).with_name("space.yaml")

Value = None | bool | int | float | str


class Dimension(BaseModel):
    """One setting: from `low` to `high` (whole numbers where both are, on a grid of `step`), or one of `choices`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = Field(None, gt=0)
    choices: tuple[Value, ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("it takes either choices, or low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("it needs low and high, or choices")
        if self.low > self.high:
            raise ValueError("low is above high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step")
        return self

    @property
    def edges(self) -> tuple[Value, ...]:
        """The values that a configuration must allow, so that it allows all."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Return whether `value` lies in it."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        return isinstance(value, int | float) and self.low <= value <= self.high

    def suggest(self, trial: Trial, name: str) -> Value:
        """Return the value that the optimiser proposes for a trial."""
        if self.choices is not None:
            chosen: Value = trial.suggest_categorical(name, self.choices)
            return chosen
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


Space = Mapping[str, Dimension]


def read_space(path: Path, *, config: Config) -> dict[str, Dimension]:
    """Read a search space, and check that a configuration takes all that it may propose.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown, or its bounds do not fit; the message names it.
    """
    try:
        tree = parse_yaml(read_text(path))
    except OSError as error:
        raise ConfigError(f"The search space {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The search space {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"The search space {path} must hold settings such as 'train.lr: {{low: 1e-4, high: 1e-3}}'.")
    space = {}
    for name, bounds in tree.items():
        try:
            space[str(name)] = Dimension.model_validate(bounds)
            for value in space[str(name)].edges:
                apply_values(config, {str(name): value})
        except ValidationError as error:
            problem = error.errors()[0]
            what = ".".join(map(str, problem["loc"]))
            text = "unknown setting" if problem["type"] == "extra_forbidden" else problem["msg"]
            raise ConfigError(f"The search space {path} does not fit at {name} ({what or 'bounds'}): {text}.") from None
    return space


def apply_values(config: Config, values: Mapping[str, Value]) -> Config:
    """Return a configuration with settings such as "train.lr" replaced.

    Raises:
        pydantic.ValidationError: a setting is unknown or does not fit.
    """
    tree = config.model_dump()
    for name, value in values.items():
        *sections, key = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"{name} is no setting: {section} is a value, not a section.")
        branch[key] = value
    return Config.model_validate(tree)
