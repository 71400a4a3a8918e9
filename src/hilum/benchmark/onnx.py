"""A peer: ONNX Runtime in float32. Threads decode the next batch while the session computes this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from hilum.benchmark.contestants import Entry, Setting
from hilum.types import FloatArray, UInt8Array


class OnnxContestant:
    """ONNX Runtime, tuned by whether its threads spin, batch size and number of decoding threads."""

    def __init__(self, entry: Entry) -> None:
        if entry.model is None:
            raise ValueError("ONNX Runtime needs a network file")
        self.options: Mapping[str, Sequence[Any]] = {
            "spinning": (True, False),
            "batch": (8, 1, 16, 32),
            "decoders": (1, 2, 0),
        }
        self._entry = entry
        self._file = entry.model
        self._setting: Setting = {name: values[0] for name, values in self.options.items()}
        self._session = self._open_session()

    def prepare(self, paths: Sequence[Path], setting: Setting) -> None:
        """Open the session anew where its threads shall wait in another way."""
        renew = setting["spinning"] != self._setting["spinning"]
        self._setting = setting
        if renew:
            self._session = self._open_session()

    def score(self, paths: Sequence[Path]) -> list[float]:
        """Score files in batches."""
        size, decoders = int(self._setting["batch"]), int(self._setting["decoders"])
        batches = [paths[start : start + size] for start in range(0, len(paths), size)]
        return [logit for batch in self._decode(batches, decoders) for logit in self._score_batch(batch)]

    def score_one(self, path: Path) -> float:
        """Score one file."""
        return self._score_batch(self._read(path)[None])[0]

    def _open_session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._entry.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._setting["spinning"])))
        return onnxruntime.InferenceSession(self._file, options, providers=["CPUExecutionProvider"])

    def _decode(self, batches: Sequence[Sequence[Path]], decoders: int) -> Iterator[UInt8Array]:
        if decoders == 0:
            yield from (np.stack([self._read(path) for path in batch]) for batch in batches)
            return
        with ThreadPoolExecutor(decoders) as pool:
            ahead = [pool.map(self._read, batch) for batch in batches[:2]]
            for index in range(len(batches)):
                pictures = np.stack(list(ahead.pop(0)))
                if index + 2 < len(batches):
                    ahead.append(pool.map(self._read, batches[index + 2]))
                yield pictures

    def _read(self, path: Path) -> UInt8Array:
        size = self._entry.preprocess.side
        with Image.open(path) as image:
            gray = image.convert("L")
        return np.asarray(gray.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)

    def _score_batch(self, pictures: UInt8Array) -> list[float]:
        # The network normalises by itself, and what feeds other outputs is not computed: both save the peer work.
        logits: FloatArray = self._session.run(["logit"], {"pictures": pictures})[0]
        self._entry.decide(logits)
        return [float(logit) for logit in logits]
