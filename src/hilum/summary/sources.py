"""Reading what the results page is made of: evaluation folders, and the run folders that they belong to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hilum.config import Config, read_run_config
from hilum.errors import EvaluationError
from hilum.evaluation.evaluate import METRICS, PREDICTIONS
from hilum.files import read_json, sha256_file
from hilum.model import run as run_folder
from hilum.types import BoolArray, DoubleArray, Label, Split, Status

_ROBUST = "robust.json"
_NOT_RECIPE: Any = {"seed": True, "data": {"workers", "cache_dir"}, "train": {"threads", "logger"}, "evaluate": True}


@dataclass(frozen=True, slots=True)
class Source:
    """One evaluation. What belongs to a run is None for a bundle, and for a run that is not beside its evaluation."""

    folder: Path
    metrics: dict[str, Any]
    config: Config | None = None
    provenance: dict[str, Any] | None = None
    robust: dict[str, Any] | None = None
    weights_sha256: str = ""
    train_seconds: float | None = None
    run: Path | None = None

    @property
    def name(self) -> str:
        """What to call the model: its run folder with the one above, for runs are often but numbered; else its name."""
        if self.run is None:
            return str(self.metrics["model"])
        return "/".join(self.run.resolve().parts[-2:])

    @property
    def is_bundle(self) -> bool:
        """Whether a bundle was evaluated."""
        kind = self.metrics.get("identity", {}).get("kind")
        return kind == "bundle" if kind else self.metrics.get("threshold_rule") == "stored"

    @property
    def is_pathogen(self) -> bool:
        """Whether the model tells bacterial from viral pneumonias besides."""
        task = self.metrics.get("task") or (self.config.task if self.config else "")
        return bool(task == "pathogen")

    @property
    def trained_sha256(self) -> str:
        """SHA-256 of the trained weights, of a bundle those that it was exported from; empty where not known."""
        return str(self.metrics.get("identity", {}).get("trained_sha256") or self.weights_sha256)

    @property
    def seed(self) -> str:
        """Seed of the training, as text."""
        return str(self.metrics.get("model_description", {}).get("Seed", "–"))

    @property
    def test_hash(self) -> str:
        """SHA-256 over the test pictures; empty where not known."""
        return str(self.metrics.get("hashes", {}).get("test", ""))

    @property
    def recipe(self) -> str:
        """Everything in the configuration that is not seed, machine or evaluation, as text; empty where not known."""
        return "" if self.config is None else json.dumps(list_recipe(self.config))

    def get(self, *keys: str) -> Any:
        """Return an entry of metrics.json by its path, None where there is none."""
        value: Any = self.metrics
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def read_scores(self) -> tuple[BoolArray, DoubleArray]:
        """Return labels and calibrated probabilities (n,) of the scored pictures.

        Raises:
            EvaluationError: predictions.csv is missing, or is not that of metrics.json.
        """
        path = self.folder / PREDICTIONS
        try:
            table = pd.read_csv(path, usecols=["status", "label", "probability"])
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None
        scored = table[table["status"] == Status.OK]
        if len(scored) != self.metrics["n"]:
            raise EvaluationError(f"{path} holds {len(scored)} scored pictures, metrics.json {self.metrics['n']}.")
        labels = np.asarray(scored["label"] == Label.PNEUMONIA, dtype=np.bool_)
        return labels, scored["probability"].to_numpy(dtype=np.float64)


def list_recipe(config: Config) -> dict[str, Any]:
    """Return the settings that make a recipe; of the weights their name, for where they lie is no part of it."""
    settings = config.model_dump(mode="json", exclude=_NOT_RECIPE)
    settings["model"]["weights"] = Path(settings["model"]["weights"]).name
    return settings


def read_source(path: Path) -> Source:
    """Read an evaluation folder, or the evaluation of a run: inside it, beside it, or in a folder of `hilum run`.

    Raises:
        EvaluationError: there is no evaluation of test pictures.
        HilumError: a file of it is damaged.
    """
    folder = next((place for place in _list_places(path) if (place / METRICS).is_file()), None)
    if folder is None:
        raise EvaluationError(
            f"{path} is no evaluation, for it has no {METRICS}, and no run with one beside it; make one with 'hilum "
            "evaluate RUN DATA --out DIR'."
        )
    metrics = read_json(folder / METRICS)
    if metrics.get("split") != Split.TEST or "metrics" not in metrics:
        raise EvaluationError(f"{folder} holds no figures of test pictures; results are those of 'hilum evaluate'.")
    source = Source(folder, metrics)
    robust = next((place / _ROBUST for place in _list_robust(folder, path) if (place / _ROBUST).is_file()), None)
    if source.is_bundle:
        return Source(folder, metrics, robust=read_json(robust) if robust else metrics.get("robust"))
    run = next((place for place in (path, folder.parent / "run", folder.parent) if run_folder.is_run(place)), None)
    if run is None:
        return Source(folder, metrics, robust=read_json(robust) if robust else metrics.get("robust"))
    weights = run / run_folder.WEIGHTS
    return Source(
        folder,
        metrics,
        config=read_run_config(run / run_folder.CONFIG),
        provenance=read_json(run / run_folder.PROVENANCE),
        robust=read_json(robust) if robust else metrics.get("robust"),
        weights_sha256=sha256_file(weights) if weights.is_file() else "",
        train_seconds=_add_up_seconds(run / run_folder.HISTORY),
        run=run,
    )


def _add_up_seconds(history: Path) -> float | None:
    """Return the time of all training epochs; that of provenance.json is of the last sitting alone."""
    if not history.is_file():
        return None
    return float(pd.read_csv(history)["seconds"].sum())


def _list_places(path: Path) -> list[Path]:
    places = [path, path / "evaluation"]
    return [*places, path.parent / "evaluation"] if run_folder.is_run(path) else places


def _list_robust(folder: Path, path: Path) -> list[Path]:
    return [folder, folder.parent / "robust", path / "robust", path]


@dataclass(frozen=True, slots=True)
class Grouped:
    """Sources by what they are: runs of the recipe in question, of other recipes, bundles, models with pathogens."""

    runs: tuple[Source, ...]
    others: tuple[Source, ...]
    bundles: tuple[Source, ...]
    pathogen: tuple[Source, ...]


def group_sources(sources: Sequence[Source]) -> Grouped:
    """Sort sources; the first run tells the recipe in question.

    Raises:
        EvaluationError: nothing tells NORMAL from PNEUMONIA, two folders are the same, or the test pictures differ.
    """
    folders = [source.folder.resolve() for source in sources]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise EvaluationError(f"{twice} is named twice; name each evaluation once.")
    pathogen = tuple(source for source in sources if source.is_pathogen)
    rest = [source for source in sources if not source.is_pathogen]
    if not rest:
        raise EvaluationError("None of the evaluations is of a model that tells NORMAL from PNEUMONIA.")
    for source in rest[1:]:
        known = source.test_hash and rest[0].test_hash
        if source.metrics["n"] != rest[0].metrics["n"] or (known and source.test_hash != rest[0].test_hash):
            raise EvaluationError(
                f"{source.folder} is of other test pictures than {rest[0].folder}; their figures cannot be compared."
            )
    bundles = tuple(source for source in rest if source.is_bundle)
    runs = [source for source in rest if not source.is_bundle]
    own = tuple(source for source in runs if source.recipe == runs[0].recipe)
    return Grouped(own, tuple(source for source in runs if source not in own), bundles, pathogen)
