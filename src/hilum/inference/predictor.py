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
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np

from hilum.bundle import Bundle, read_bundle, resolve_bundle
from hilum.inference.cpus import count_cpus
from hilum.inference.familiarity import Familiarity
from hilum.inference.framing import is_whole, place_map
from hilum.inference.gate import (
    can_put_right,
    choose_view,
    describe_repair,
    explain_refusal,
    put_right,
    warn_of_distance,
)
from hilum.inference.preparation import Picture, Prepared, prepare_picture
from hilum.inference.rule import DecisionRule
from hilum.inference.runtime import Mode, Network, NetworkOutput
from hilum.types import FloatArray, Prediction, Status, UInt8Array, View

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
        familiarity: Familiarity | None,
        rule: DecisionRule,
        *,
        mode: Mode = Mode.THROUGHPUT,
        threads: int | None = None,
        judge_all: bool = False,
        strict: bool = False,
        fix: bool = False,
        keep_pictures: bool = False,
    ) -> None:
        """Put the parts together; `open` does so for a bundle, and explains the options."""
        self.bundle = bundle
        self.rule = rule
        self._network = network
        self._familiarity = familiarity
        self._mode = mode
        self._threads = threads or count_cpus()
        self._judge_all = judge_all
        self._strict = strict
        self._fix = fix
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
        strict: bool = False,
        fix: bool = False,
        keep_pictures: bool = False,
    ) -> Self:
        """Load a bundle.

        Args:
            bundle: a bundle, its folder, or the word `packaged`.
            mode: throughput for many pictures, latency to have each at once.
            threads: processors to use; none given: all that the process may use.
            rule: how logits become verdicts; none given: as the bundle stores it.
            judge_all: give pictures that the input gate rejects a verdict all the same. Their status stays.
            strict: reject pictures, too, that are unlike those of training (familiarity below 0.01).
            fix: turn and invert what the locator takes for a radiograph shown wrongly, and score it so.
            keep_pictures: put the decoded pictures into the predictions, for heat maps.

        Raises:
            BundleError: the bundle is incomplete, altered, or cannot be run here.
        """
        if not isinstance(bundle, Bundle):
            bundle = read_bundle(resolve_bundle(bundle))
        return cls(
            bundle,
            Network.open(bundle, mode=mode, threads=threads),
            Familiarity.open(bundle),
            rule or DecisionRule.choose(bundle),
            mode=Mode(mode),
            threads=threads,
            judge_all=judge_all,
            strict=strict,
            fix=fix,
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
        index = 0
        while index < len(output.logit):
            prepared = pending.popleft()
            if prepared.pixels is None:
                yield _report_failure(prepared)
                continue
            answer = output.take(index)
            index += 1
            yield self._mend(prepared, answer) or self._judge(prepared, answer)

    def _mend(self, prepared: Prepared, answer: NetworkOutput) -> Prediction | None:
        """Score a radiograph that is shown wrongly once more, as it should be shown; None where there is no need."""
        if not self._fix or answer.views is None or prepared.pixels is None:
            return None
        view = choose_view(answer.views[0])
        if not can_put_right(view):
            return None
        pixels = put_right(prepared.pixels, view)
        again = self._network.infer_apart(pixels[None])
        if again.views is None or choose_view(again.views[0]) is not View.FRONTAL:
            return None
        picture = None if prepared.picture is None else put_right(prepared.picture, view)
        mended = self._judge(replace(prepared, pixels=pixels, picture=picture), again)
        return replace(mended, message=f"{describe_repair(view)} {mended.message}".rstrip(), view=view)

    def _judge(self, prepared: Prepared, answer: NetworkOutput) -> Prediction:
        """Say what is to be said of one picture, with the network's output for it alone."""
        logit, box = float(answer.logit[0]), answer.box[0]
        if not math.isfinite(logit):
            return Prediction(prepared.source, Status.ERROR, message="The network's output is not a finite number.")
        assert prepared.pixels is not None
        view = None if answer.views is None else answer.views[0]
        familiarity, too_far = self._measure(answer.features)
        reason = ""
        if self.gated:
            reason = explain_refusal(prepared.pixels, view, colour=prepared.colour) or too_far
        if reason and self.bundle.spec.preprocess.field is not None and is_whole(box):
            reason += " The whole picture was looked at, for no lungs were found."
        judged = not reason or self._judge_all
        probability = self.rule.calibrate(answer.logit)[0]
        return Prediction(
            prepared.source,
            Status.NOT_CHEST_XRAY if reason else Status.OK,
            probability=probability if judged else None,
            logit=logit,
            prediction=self.rule.decide(probability) if judged else None,
            threshold=self.rule.threshold if judged else None,
            message=reason or " ".join(filter(None, (prepared.note, warn_of_distance(familiarity)))),
            familiarity=familiarity,
            view=None if view is None else choose_view(view),
            box=None if is_whole(box) else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            cam=place_map(answer.cam[0], box),
            picture=prepared.picture,
        )

    @property
    def gated(self) -> bool:
        """Whether anything is refused: by the locator, or by the distance of a bundle of schema version 1."""
        return self._network.sees_views or self._familiarity is not None

    def _measure(self, features: FloatArray) -> tuple[float | None, str]:
        """Return the familiarity of one picture's features (1, f), and why it is refused for that, mostly empty."""
        if self._familiarity is None:
            return None, ""
        if self._familiarity.limit is not None:
            distance = float(self._familiarity.measure(features)[0]) / self._familiarity.limit
            refused = f"Unlike the radiographs the model was trained on (distance {distance:.2f}, limit 1.00)."
            return None, refused if distance > 1 else ""
        (familiarity,) = self._familiarity.rank(features)
        return familiarity, warn_of_distance(familiarity) if self._strict else ""


def _report_failure(prepared: Prepared) -> Prediction:
    return Prediction(prepared.source, prepared.status, message=prepared.message)
