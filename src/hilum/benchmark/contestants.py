"""What takes part in a benchmark: each goes from files to verdicts in its own way, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from hilum.inference.decision import calibrate, decide
from hilum.preprocess import PreprocessSpec

Setting = dict[str, Any]
"""One value for each thing that a contestant may choose, such as {"batch": 16, "workers": 1}."""


class Kind(StrEnum):
    """How a contestant works. The ceiling is the network of a bundle alone, on pictures that lie in memory."""

    TORCH = "torch"
    ONNX = "onnx"
    HILUM = "hilum"
    CEILING = "ceiling"


@dataclass(frozen=True, slots=True)
class Entry:
    """One contestant before it is opened; it can be sent to another process.

    `key` names it in the results, `name` for people. `model` is a run folder (None: weights drawn by chance), an ONNX
    file, or a bundle folder. All contestants get the same number of `threads` and decide by the same calibration and
    threshold.
    """

    key: str
    name: str
    kind: Kind
    model: Path | None
    preprocess: PreprocessSpec
    threads: int
    temperature: float
    threshold: float
    intercept: float = 0.0

    def decide(self, logits: Any) -> None:
        """Turn logits (n,) into probabilities and verdicts, as whoever asks for a verdict must."""
        for probability in calibrate(logits, temperature=self.temperature, intercept=self.intercept):
            decide(float(probability), threshold=self.threshold)


class Contestant(Protocol):
    """An opened contestant."""

    options: Mapping[str, Sequence[Any]]
    """What may be chosen, each with its values, the likeliest first; empty where nothing is to be tuned."""

    def prepare(self, paths: Sequence[Path], setting: Setting) -> None:
        """Do once what is not counted, such as starting the workers of a loader."""

    def score(self, paths: Sequence[Path]) -> list[float]:
        """Score files as fast as possible; return the logits in their order."""

    def score_one(self, path: Path) -> float:
        """Score one file as soon as possible; return its logit."""


def open_contestant(entry: Entry) -> Contestant:
    """Load what an entry names. Imports only the runtime that it needs, so that its memory is its own."""
    # ruff: noqa: PLC0415
    if entry.kind is Kind.TORCH:
        from hilum.benchmark.eager import EagerContestant

        return EagerContestant(entry)
    if entry.kind is Kind.ONNX:
        from hilum.benchmark.onnx import OnnxContestant

        return OnnxContestant(entry)
    from hilum.benchmark.own import Ceiling, HilumContestant

    return HilumContestant(entry) if entry.kind is Kind.HILUM else Ceiling(entry)
