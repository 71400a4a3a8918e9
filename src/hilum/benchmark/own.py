"""Hilum itself with the settings that all its users get, and the ceiling: its network alone, with nothing to decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hilum.benchmark.contestants import Entry, Setting
from hilum.bundle import Bundle, read_bundle
from hilum.errors import DataError
from hilum.inference.predictor import Predictor
from hilum.inference.preparation import prepare_picture
from hilum.inference.runtime import Mode, Network
from hilum.types import Prediction, UInt8Array


class HilumContestant:
    """A bundle with its input gate, as `hilum predict` runs it. Nothing is tuned."""

    def __init__(self, entry: Entry) -> None:
        self.options: Mapping[str, Sequence[Any]] = {}
        self._bundle = _read(entry)
        self._threads = entry.threads
        self._predictor = Predictor.open(self._bundle, mode=Mode.THROUGHPUT, threads=entry.threads)
        self._single: Predictor | None = None

    def prepare(self, paths: Sequence[Path], setting: Setting) -> None:
        """Do nothing: all is ready when it is opened."""

    def score(self, paths: Sequence[Path]) -> list[float]:
        """Score files as a stream."""
        return [_take_logit(prediction) for prediction in self._predictor.predict(paths)]

    def score_one(self, path: Path) -> float:
        """Score one file. The network for single pictures is opened at the first one."""
        if self._single is None:
            self._single = Predictor.open(self._bundle, mode=Mode.LATENCY, threads=self._threads)
        return _take_logit(self._single.predict_one(path))


class Ceiling:
    """The network of a bundle on pictures that lie in memory: what no pipeline around it can exceed."""

    def __init__(self, entry: Entry) -> None:
        self.options: Mapping[str, Sequence[Any]] = {"batch": (8, 1, 4, 16, 32)}
        self._entry = entry
        self._bundle = _read(entry)
        self._network: Network | None = None
        self._batches: list[UInt8Array] = []
        self._single: Network | None = None

    def prepare(self, paths: Sequence[Path], setting: Setting) -> None:
        """Decode all pictures and compile the network for the batch."""
        size = int(setting["batch"])
        if self._network is None or self._network.batch != size:
            self._network = Network.open(self._bundle, threads=self._entry.threads, batch=size)
        pictures = np.stack([self._read(path) for path in paths])
        self._batches = [np.ascontiguousarray(pictures[start : start + size]) for start in range(0, len(paths), size)]

    def score(self, paths: Sequence[Path]) -> list[float]:
        """Score what was prepared."""
        if self._network is None:
            raise ValueError("nothing was prepared")
        return [float(logit) for output in self._network.stream(self._batches) for logit in output.logit]

    def score_one(self, path: Path) -> float:
        """Refuse: a ceiling of latency would have to leave the decoding out of the time."""
        raise NotImplementedError

    def _read(self, path: Path) -> UInt8Array:
        prepared = prepare_picture(path, self._entry.preprocess)
        if prepared.pixels is None:
            raise DataError(prepared.message)
        return prepared.pixels


def _read(entry: Entry) -> Bundle:
    if entry.model is None:
        raise ValueError("Hilum needs a bundle")
    return read_bundle(entry.model)


def _take_logit(prediction: Prediction) -> float:
    if prediction.logit is None:
        raise DataError(prediction.message)
    return prediction.logit
