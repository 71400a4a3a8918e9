"""Runs the network of a bundle on the processor, with OpenVINO and without torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from hilum.bundle import Bundle, Precision
from hilum.errors import BundleError
from hilum.inference.cpus import count_cpus
from hilum.inference.framing import WHOLE
from hilum.inference.vino import ov
from hilum.types import FloatArray, UInt8Array

__all__ = ["Mode", "Network", "NetworkOutput", "count_cpus"]

OUTPUTS = ("logit", "cam", "features")
LOCATED = ("box", "views")
"""What the locator adds; networks of bundles of schema version 1 have none."""
THROUGHPUT_BATCH = 4
"""Larger batches are no quicker with one stream a processor, and cost memory, delay, and more where one is not full."""


class Mode(StrEnum):
    """Throughput: many pictures, each may wait. Latency: one picture, at once."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """What the network says of n pictures, float32.

    `logit` (n,), `cam` (n, h, w) of what the classifier sees, pooled `features` (n, 2048), its `box` (n, 4) in the
    picture as `hilum.model.crop.LungCrop` gives it, and logits (n, 6) of the `views`, None without a locator.
    """

    logit: FloatArray
    cam: FloatArray
    features: FloatArray
    box: FloatArray
    views: FloatArray | None

    def take(self, index: int) -> NetworkOutput:
        """Return what is said of one picture, n being 1."""
        row = slice(index, index + 1)
        view = None if self.views is None else self.views[row]
        return NetworkOutput(self.logit[row], self.cam[row], self.features[row], self.box[row], view)

    @classmethod
    def join(cls, outputs: Sequence[NetworkOutput]) -> NetworkOutput:
        """Return several outputs, at least one, as one."""
        views = [output.views for output in outputs if output.views is not None]
        return cls(
            logit=np.concatenate([output.logit for output in outputs]),
            cam=np.concatenate([output.cam for output in outputs]),
            features=np.concatenate([output.features for output in outputs]),
            box=np.concatenate([output.box for output in outputs]),
            views=np.concatenate(views) if views else None,
        )


class Network:
    """A compiled network; `sees_views` says whether a locator is in it.

    It takes batches of up to `batch` pictures; a shorter one costs as much as a full one.
    """

    def __init__(self, compiled: Any, *, batch: int, size: int) -> None:
        self._compiled = compiled
        self._requests = [compiled.create_infer_request() for _ in range(_count_requests(compiled))]
        self._apart: Any = None
        self.sees_views = all(_has_output(compiled, name) for name in LOCATED)
        self.batch = batch
        self.size = size

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        mode: Mode | str = Mode.THROUGHPUT,
        threads: int | None = None,
        batch: int | None = None,
    ) -> Network:
        """Compile the network of a bundle.

        Args:
            bundle: as `hilum.bundle.read_bundle` gives it.
            mode: what to compile for.
            threads: processors to use; none given: all that the process may use.
            batch: pictures at a time; none given: what measurement showed to be best for the mode.

        Raises:
            BundleError: the file holds no network of Hilum, or the processor cannot run it.
        """
        spec = bundle.spec
        return cls.load(
            bundle.network, size=spec.preprocess.side, precision=spec.precision, mode=mode, threads=threads, batch=batch
        )

    @classmethod
    def load(
        cls,
        file: Path,
        *,
        size: int,
        precision: Precision,
        mode: Mode | str = Mode.THROUGHPUT,
        threads: int | None = None,
        batch: int | None = None,
    ) -> Network:
        """Compile a network file that stands in no bundle yet; the rest is as in `open`.

        Args:
            file: .xml (with its .bin beside it) or .onnx.
            size: side of the input in pixels.
            precision: what to compute in.
            mode: what to compile for.
            threads: processors to use; none given: all that the process may use.
            batch: pictures at a time; none given: what measurement showed to be best for the mode.
        """
        mode = Mode(mode)
        if batch is None:
            batch = 1 if mode is Mode.LATENCY else THROUGHPUT_BATCH
        try:
            core = ov.Core()
            model = core.read_model(file)
            _check_interface(model, size)
            model.reshape([batch, size, size])
            compiled = core.compile_model(
                model, "CPU", choose_options(precision, mode=mode, threads=threads or count_cpus())
            )
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BundleError(
                f"The network {file} cannot be used ({reason[-300:]}); export it again with this Hilum."
            ) from None
        return cls(compiled, batch=batch, size=size)

    def infer(self, pictures: UInt8Array) -> NetworkOutput:
        """Score (n, size, size) pictures, gray 0-255; n may be any number, 0 too."""
        outputs = list(
            self.stream(pictures[start : start + self.batch] for start in range(0, len(pictures), self.batch))
        )
        return NetworkOutput.join(outputs) if outputs else self._collect(self._requests[0], 0)

    def infer_apart(self, pictures: UInt8Array) -> NetworkOutput:
        """Score up to `batch` pictures while a stream may be under way."""
        if self._apart is None:
            self._apart = self._compiled.create_infer_request()
        padded = self._pad(pictures)
        self._apart.start_async([padded], share_inputs=True)
        return self._collect(self._apart, len(pictures))

    def stream(self, batches: Iterable[UInt8Array]) -> Iterator[NetworkOutput]:
        """Score batches of 1 to `batch` pictures; yield one output a batch, in order.

        Requests run while the next batch is prepared; as many are under way as the processor can work at, so memory
        stays constant however many batches there are. One stream of a network at a time.
        """
        free = deque(self._requests)
        running: deque[tuple[Any, UInt8Array, int]] = deque()
        try:
            for pictures in batches:
                if not free:
                    request, _, count = running.popleft()
                    output = self._collect(request, count)
                    free.append(request)
                    yield output
                padded = self._pad(pictures)
                request = free.popleft()
                request.start_async([padded], share_inputs=True)
                running.append((request, padded, len(pictures)))  # the shared input must live as long as the request
            while running:
                request, _, count = running.popleft()
                yield self._collect(request, count)
        finally:
            for request, _, _ in running:
                request.wait()

    def _pad(self, pictures: UInt8Array) -> UInt8Array:
        """Fill up to a whole batch: a fixed shape is compiled better than one of any number."""
        count = len(pictures)
        if pictures.shape[1:] != (self.size, self.size) or not 1 <= count <= self.batch:
            raise ValueError(
                f"pictures of shape {pictures.shape}; 1 to {self.batch} of {self.size} x {self.size} are taken"
            )
        if count == self.batch:
            return np.ascontiguousarray(pictures, dtype=np.uint8)
        padded = np.zeros((self.batch, self.size, self.size), dtype=np.uint8)
        padded[:count] = pictures
        return padded

    def _collect(self, request: Any, count: int) -> NetworkOutput:
        """Wait for a request and copy what it says of the first `count` pictures: its memory is used again."""
        request.wait()

        def copy(name: str) -> FloatArray:
            return np.array(request.get_tensor(name).data[:count], dtype=np.float32, copy=True)

        box = copy("box") if self.sees_views else np.tile(np.asarray(WHOLE, dtype=np.float32), (count, 1))
        logit, cam, features = map(copy, OUTPUTS)
        return NetworkOutput(logit, cam, features, box, copy("views") if self.sees_views else None)


def _has_output(compiled: Any, name: str) -> bool:
    return any(name in output.get_names() for output in compiled.outputs)


def choose_options(precision: Precision, *, mode: Mode, threads: int) -> dict[str, Any]:
    """Return OpenVINO's options for a bundle of this precision."""
    # Said for every precision: left alone, OpenVINO takes bfloat16 wherever the processor has it, for float32 too.
    computed = ov.Type.bf16 if precision is Precision.BF16 else ov.Type.f32
    throughput = mode is Mode.THROUGHPUT
    return {
        ov.properties.hint.performance_mode: ov.properties.hint.PerformanceMode.THROUGHPUT
        if throughput
        else ov.properties.hint.PerformanceMode.LATENCY,
        ov.properties.hint.inference_precision: computed,
        ov.properties.inference_num_threads: threads,
        # One stream a processor has no threads that wait for each other; one picture needs all of them.
        ov.properties.num_streams: threads if throughput else 1,
    }


def _count_requests(compiled: Any) -> int:
    """Return how many requests keep the processor busy: one a stream, and one that waits."""
    return int(compiled.get_property(ov.properties.num_streams)) + 1


def _check_interface(model: Any, size: int) -> None:
    """Refuse a network with other inputs or outputs than those of Hilum."""
    if len(model.inputs) != 1 or model.input().element_type != ov.Type.u8 or len(model.input().partial_shape) != 3:
        raise ValueError(f"its input is not one batch of {size} x {size} gray pictures")
    names = {name for output in model.outputs for name in output.get_names()}
    missing = [name for name in OUTPUTS if name not in names]
    if missing:
        raise ValueError(f"it has no output {missing[0]}")
