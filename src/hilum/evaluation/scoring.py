"""Scoring a split: what a model must offer, and the table of what it said, in input order."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from hilum import progress
from hilum.data.tables import write_csv
from hilum.data.verify import list_changed
from hilum.errors import EvaluationError, ImageReadError
from hilum.evaluation.thresholds import OperatingPoint
from hilum.inference.decision import is_positive
from hilum.types import BoolArray, DoubleArray, FloatArray, Label, Score, Split, Status

logger = logging.getLogger(__name__)

COLUMNS = (
    "path",
    "status",
    "probability",
    "logit",
    "prediction",
    "threshold",
    "message",
    "familiarity",
    "label",
    "patient",
    "split",
    "pathogen",
)


class Scorer(Protocol):
    """A model that gives each picture a logit and a class activation map."""

    @property
    def name(self) -> str:
        """What the model is called in metrics.json and reports, such as a run's folder name."""
        ...

    def describe(self) -> Mapping[str, str]:
        """Return facts for the report, in the order to show them: network, weights, epochs, precision, seed, ..."""
        ...

    def describe_runtime(self) -> Mapping[str, str]:
        """Return what computes the scores: `device`, such as "cuda:0 (NVIDIA H200)", and `precision`."""
        ...

    def score(self, paths: Sequence[str]) -> Iterator[Score | ImageReadError]:
        """Yield one item a path, in order; a picture that cannot be read yields its error and does not raise it."""
        ...


@dataclass(frozen=True, slots=True)
class ScoredSplit:
    """One split after scoring.

    `table` has one row a picture in input order: path, label, pathogen, patient, split, status, message, logit (NaN
    unless status is ok), pathogen_logit where the network has learnt pathogens, and refused where the model has an
    input gate. `cams` holds the class activation map of each row, None unless its status is ok.
    """

    split: Split
    table: pd.DataFrame
    cams: tuple[FloatArray | None, ...]

    @property
    def is_ok(self) -> BoolArray:
        """Return (n,): which rows were scored."""
        return np.asarray(self.table["status"] == Status.OK, dtype=np.bool_)

    @property
    def labels(self) -> BoolArray:
        """Return the labels of the scored rows, True for PNEUMONIA."""
        return np.asarray(self.table["label"] == Label.PNEUMONIA, dtype=np.bool_)[self.is_ok]

    @property
    def logits(self) -> DoubleArray:
        """Return the logits of the scored rows."""
        return self.table["logit"].to_numpy(dtype=np.float64)[self.is_ok]

    @property
    def pathogen_logits(self) -> DoubleArray | None:
        """Return the log-odds of viral against bacterial of the scored rows; None without such an output."""
        if "pathogen_logit" not in self.table:
            return None
        return self.table["pathogen_logit"].to_numpy(dtype=np.float64)[self.is_ok]

    @property
    def refused(self) -> BoolArray | None:
        """Return which of the scored rows the model's input gate would refuse; None without a gate."""
        if "refused" not in self.table:
            return None
        return self.table["refused"].to_numpy(dtype=np.bool_)[self.is_ok]

    @property
    def familiarity(self) -> DoubleArray | None:
        """Return how familiar the scored rows are to the model; None where it does not know."""
        if "familiarity" not in self.table:
            return None
        return self.table["familiarity"].to_numpy(dtype=np.float64)[self.is_ok]

    def texts(self, column: str) -> list[str]:
        """Return a text column of the scored rows."""
        return [str(value) for value in self.table.loc[self.is_ok, column]]

    def count_failures(self) -> dict[str, int]:
        """Return how many rows have each status other than ok."""
        return {str(k): int(v) for k, v in self.table.loc[~self.is_ok, "status"].value_counts(sort=False).items()}


def select_rows(splits: pd.DataFrame, split: Split, *, manifest: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the rows of one split with path, label, pathogen, patient, split, status and message, in input order.

    Splits hold readable pictures alone. With a manifest its pictures of the split that could not be read are put back
    in their places, so that none is dropped silently. (Those of train that might have been dealt to val stay out.)
    """
    rows = splits.loc[splits["split"] == split, ["path", "label", "pathogen", "patient", "split"]].copy()
    rows["status"] = str(Status.OK)
    rows["message"] = ""
    if manifest is not None:
        failed = manifest.loc[(manifest["split"] == split) & (manifest["status"] != Status.OK), list(rows.columns)]
        place = pd.Series(range(len(manifest)), index=manifest["path"])
        rows = pd.concat([rows, failed], ignore_index=True)
        # Rows that the manifest does not know (splits of elsewhere) stay in front, in their order.
        rows = rows.iloc[np.argsort(place.reindex(rows["path"]).fillna(-1).to_numpy(), kind="stable")]
    return rows.reset_index(drop=True)


def select_unchanged(splits: pd.DataFrame, split: Split, *, manifest: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the rows of `select_rows`; pictures that are not those that were scanned are unreadable, and say so."""
    rows = select_rows(splits, split, manifest=manifest)
    known = splits.drop_duplicates("path").set_index("path")["sha256"].reindex(rows["path"]).fillna("")
    asked = (rows["status"] == Status.OK).to_numpy()
    changed = np.zeros(len(rows), dtype=np.bool_)
    changed[asked] = list_changed(rows.loc[asked, "path"].tolist(), known.to_numpy()[asked].tolist())
    rows.loc[changed, "status"] = str(Status.UNREADABLE)
    rows.loc[changed, "message"] = [
        f"{path} has changed since it was scanned (its SHA-256 differs); scan the data again."
        for path in rows.loc[changed, "path"]
    ]
    return rows


def score_split(scorer: Scorer, rows: pd.DataFrame, split: Split, *, name: str | None = None) -> ScoredSplit:
    """Score the rows of `select_rows` whose status is ok, with a progress bar; `name` is the split in words.

    Raises:
        EvaluationError: no picture could be scored, or the scorer's answers do not match the pictures in number.
    """
    name = name or str(split)
    wanted = [place for place, status in enumerate(rows["status"]) if status == Status.OK]
    paths = [str(rows["path"].iloc[place]) for place in wanted]
    statuses, messages = rows["status"].tolist(), rows["message"].tolist()
    logits = [math.nan] * len(rows)
    pathogens: dict[int, float] = {}
    refused: dict[int, bool] = {}
    familiarity: dict[int, float] = {}
    cams: list[FloatArray | None] = [None] * len(rows)
    answers = progress.track(scorer.score(paths), description=f"Scoring {name}", total=len(paths))
    answered = 0
    for place, answer in zip(wanted, answers, strict=False):
        statuses[place], messages[place], logits[place], cams[place] = _read_answer(answer)
        if isinstance(answer, Score) and answer.pathogen is not None:
            pathogens[place] = answer.pathogen
        if isinstance(answer, Score) and answer.refused is not None:
            refused[place] = answer.refused
        if isinstance(answer, Score) and answer.familiarity is not None:
            familiarity[place] = answer.familiarity
        answered += 1
    if answered < len(wanted) or next(answers, None) is not None:
        raise EvaluationError(f"{scorer.name} did not answer each of the {len(paths)} {name} pictures exactly once.")
    table = rows.assign(status=[str(status) for status in statuses], message=messages, logit=logits)
    if pathogens:
        table["pathogen_logit"] = [pathogens.get(place, math.nan) for place in range(len(rows))]
    if refused:
        table["refused"] = [refused.get(place, False) for place in range(len(rows))]
    if familiarity:
        table["familiarity"] = [familiarity.get(place, math.nan) for place in range(len(rows))]
    scored = ScoredSplit(split, table, tuple(cams))
    failures = scored.count_failures()
    if not scored.is_ok.any():
        first = next(iter(table["message"]), "")
        raise EvaluationError(f"None of the {len(table)} {name} pictures could be scored; the first: {first}")
    if failures:
        logger.warning("%d of %d %s pictures could not be scored.", sum(failures.values()), len(table), name)
    return scored


def _read_answer(answer: Score | ImageReadError) -> tuple[Status, str, float, FloatArray | None]:
    if isinstance(answer, ImageReadError):
        return answer.status, str(answer), math.nan, None
    if not math.isfinite(answer.logit):
        return Status.ERROR, "The network's output is not a finite number.", math.nan, None
    return Status.OK, "", answer.logit, answer.cam


def build_predictions(scored: ScoredSplit, point: OperatingPoint) -> pd.DataFrame:
    """Return the table of predictions.csv: COLUMNS, a row a picture in input order; numbers only where status is ok."""
    probabilities = point.calibrate(scored.logits)
    called = is_positive(probabilities, threshold=point.threshold)
    table = scored.table.assign(probability=np.nan, prediction="", threshold=np.nan)
    table.loc[scored.is_ok, "probability"] = probabilities
    table.loc[scored.is_ok, "prediction"] = np.where(called, str(Label.PNEUMONIA), str(Label.NORMAL))
    table.loc[scored.is_ok, "threshold"] = point.threshold
    if "familiarity" not in table:
        table["familiarity"] = np.nan
    return table[list(COLUMNS)]


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write predictions as CSV, atomically; floats in full precision, so that decisions can be redone from the file."""
    write_csv(predictions, path)
