"""From pictures to predictions: the one way, which the command line and every service take.

Threads decode while the network computes; results come in the order of the pictures; whatever the number of pictures,
only some dozens are in memory at a time. A picture that cannot be scored becomes a Prediction that says why, and stops
nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np

from hilum.bundle import Bundle, read_bundle, resolve_bundle
from hilum.inference.cpus import count_cpus
from hilum.inference.gate import Gate, GateVerdict
from hilum.inference.preparation import Picture, Prepared, prepare_picture
from hilum.inference.rule import DecisionRule
from hilum.inference.runtime import Mode, Network, NetworkOutput
from hilum.types import FloatArray, Prediction, Status, UInt8Array

# Batches that decoding may be ahead of the network: enough to bridge some large pictures among small ones.
_BATCHES_AHEAD = 4
# Pictures without an answer, failures among them, at which the network is made to finish what it has.
_MAX_PENDING = 512


class Predictor:
    """The network of a bundle with its gate and its rule. Not to be used by several threads at once."""

    def __init__(
        self,
        bundle: Bundle,
        network: Network,
        gate: Gate | None,
        rule: DecisionRule,
        *,
        mode: Mode = Mode.THROUGHPUT,
        threads: int | None = None,
        judge_all: bool = False,
        keep_pictures: bool = False,
    ) -> None:
        """Put the parts together; `open` does so for a bundle, and explains the options."""
        self.bundle = bundle
        self.rule = rule
        self._network = network
        self._gate = gate
        self._mode = mode
        self._threads = threads or count_cpus()
        self._judge_all = judge_all
        self._keep_pictures = keep_pictures

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str,
        *,
        mode: Mode | str = Mode.THROUGHPUT,
        threads: int | None = None,
        rule: DecisionRule | None = None,
        judge_all: bool = False,
        keep_pictures: bool = False,
    ) -> Self:
        """Load a bundle.

        Args:
            bundle: a bundle, its folder, or the word `packaged`.
            mode: throughput for many pictures, latency to have each at once.
            threads: processors to use; none given: all that the process may use.
            rule: how logits become verdicts; none given: as the bundle stores it.
            judge_all: give pictures that the input gate rejects a verdict all the same. Their status stays.
            keep_pictures: put the decoded pictures into the predictions, for heat maps.

        Raises:
            BundleError: the bundle is incomplete, altered, or cannot be run here.
        """
        if not isinstance(bundle, Bundle):
            bundle = read_bundle(resolve_bundle(bundle))
        return cls(
            bundle,
            Network.open(bundle, mode=mode, threads=threads),
            None if bundle.gate is None else Gate.load(bundle.gate),
            rule or DecisionRule.choose(bundle),
            mode=Mode(mode),
            threads=threads,
            judge_all=judge_all,
            keep_pictures=keep_pictures,
        )

    def predict_one(self, picture: Picture) -> Prediction:
        """Score one picture, decoding it in the calling thread."""
        prepared = self._prepare(picture)
        if prepared.pixels is None:
            return _report_failure(prepared)
        return next(self._answer(deque([prepared]), self._network.infer(prepared.pixels[None])))

    def predict(self, pictures: Iterable[Picture]) -> Iterator[Prediction]:
        """Yield one prediction a picture, in order, while pictures are still being taken from the iterable."""
        if self._mode is Mode.LATENCY:
            yield from map(self.predict_one, pictures)
            return
        pending: deque[Prepared] = deque()
        with closing(self._prepare_ahead(pictures)) as ready:
            for first in ready:
                for output in self._network.stream(self._fill_batches(chain([first], ready), pending)):
                    yield from self._answer(pending, output)
                # The network has answered all that it was given: only failures are left.
                while pending:
                    yield _report_failure(pending.popleft())

    def _prepare(self, picture: Picture) -> Prepared:
        spec = self.bundle.spec.preprocess
        return prepare_picture(picture, spec, keep_picture=self._keep_pictures)

    def _prepare_ahead(self, pictures: Iterable[Picture]) -> Generator[Prepared, None, None]:
        """Decode in threads, a bounded number of pictures ahead; yield in order."""
        ahead = max(self._network.batch * _BATCHES_AHEAD, 2 * self._threads)
        waiting: deque[Future[Prepared]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        try:
            for picture in pictures:
                waiting.append(pool.submit(self._prepare, picture))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _fill_batches(self, ready: Iterable[Prepared], pending: deque[Prepared]) -> Iterator[UInt8Array]:
        """Yield batches for the network and note in `pending` what they hold, with the failures in between.

        Ends early when too much is pending, as where thousands of files in a row cannot be read.
        """
        batch: list[UInt8Array] = []
        for prepared in ready:
            pending.append(prepared)
            if prepared.pixels is not None:
                batch.append(prepared.pixels)
            if len(batch) == self._network.batch:
                yield np.stack(batch)
                batch = []
            if len(pending) >= _MAX_PENDING:
                break
        if batch:
            yield np.stack(batch)

    def _answer(self, pending: deque[Prepared], output: NetworkOutput) -> Iterator[Prediction]:
        """Yield predictions for the next pictures that are pending, one for each of `output`, and failures between."""
        answered: list[Prepared] = []
        pixels: list[UInt8Array] = []
        colours: list[float] = []
        while len(pixels) < len(output.logit):
            prepared = pending.popleft()
            answered.append(prepared)
            if prepared.pixels is not None:
                pixels.append(prepared.pixels)
                colours.append(prepared.colour)
        probabilities = self.rule.calibrate(output.logit)
        verdicts = None
        if self._gate is not None:
            verdicts = self._gate.judge(np.stack(pixels), output.features, colours=colours)
        index = 0
        for prepared in answered:
            if prepared.pixels is None:
                yield _report_failure(prepared)
                continue
            yield self._judge(
                prepared,
                logit=float(output.logit[index]),
                probability=probabilities[index],
                cam=output.cam[index],
                gate=None if verdicts is None else verdicts[index],
            )
            index += 1

    def _judge(
        self, prepared: Prepared, *, logit: float, probability: float, cam: FloatArray, gate: GateVerdict | None
    ) -> Prediction:
        if not math.isfinite(logit):
            return Prediction(prepared.source, Status.ERROR, message="The network's output is not a finite number.")
        accepted = gate is None or gate.accepted
        judged = accepted or self._judge_all
        return Prediction(
            prepared.source,
            Status.OK if accepted else Status.NOT_CHEST_XRAY,
            probability=probability if judged else None,
            logit=logit,
            prediction=self.rule.decide(probability) if judged else None,
            threshold=self.rule.threshold if judged else None,
            message="" if gate is None else gate.reason,
            gate_score=None if gate is None else gate.score,
            cam=cam,
            picture=prepared.picture,
        )


def _report_failure(prepared: Prepared) -> Prediction:
    return Prediction(prepared.source, prepared.status, message=prepared.message)
