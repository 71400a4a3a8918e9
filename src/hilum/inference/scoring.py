"""Scores pictures with a bundle for `hilum evaluate`: whatever can be read gets a logit; the gate is only noted."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hilum.bundle import Bundle, Precision, read_bundle, resolve_bundle
from hilum.errors import ImageReadError
from hilum.inference.cpus import count_cpus
from hilum.inference.familiarity import Familiarity
from hilum.inference.predictor import Predictor
from hilum.inference.rule import DecisionRule
from hilum.inference.runtime import Mode, Network
from hilum.inference.vino import ov
from hilum.preprocess import PreprocessSpec
from hilum.types import DoubleArray, Score, Status, UInt8Array

_PRECISIONS = {Precision.FP32: "float32", Precision.BF16: "bfloat16", Precision.INT8: "int8"}


class BundleScorer:
    """The network of a bundle: paths in, one Score or ImageReadError a path out, in the order given."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.name = f"{bundle.spec.name} {bundle.spec.version}"

    @classmethod
    def open(cls, model: Path | str) -> BundleScorer:
        """Read a bundle folder, or the bundle of the package where `model` is "packaged".

        Raises:
            BundleError: the bundle is incomplete, altered, or cannot be run here.
        """
        return cls(read_bundle(resolve_bundle(model)))

    def describe(self) -> Mapping[str, str]:
        """Return what a report says of the model."""
        return {**self.bundle.spec.describe(), "Scored on": "{device}, {precision}".format(**self.describe_runtime())}

    def describe_runtime(self) -> Mapping[str, str]:
        """Return what computes, as metrics.json carries it: the processor with OpenVINO, in the bundle's precision."""
        processor = str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
        version = str(ov.get_version()).partition("-")[0]
        return {
            "device": f"cpu ({processor}, {count_cpus()} cores), OpenVINO {version}",
            "precision": _PRECISIONS[self.bundle.spec.precision],
        }

    @property
    def spec(self) -> PreprocessSpec:
        """How pictures are prepared for the network."""
        return self.bundle.spec.preprocess

    @functools.cached_property
    def _network(self) -> Network:
        return Network.open(self.bundle, mode=Mode.THROUGHPUT)

    def score_prepared(self, pictures: UInt8Array) -> DoubleArray:
        """Return the logits (n,) of prepared pictures (n, side, side), those that `score` gives."""
        return self._network.infer(pictures).logit.astype(np.float64)

    def score(self, paths: Sequence[str]) -> Iterator[Score | ImageReadError]:
        """Yield a Score, or the ImageReadError of a picture that cannot be read, for each path in order."""
        familiarity = Familiarity.open(self.bundle)
        predictor = Predictor(self.bundle, self._network, familiarity, DecisionRule.choose(self.bundle))
        for prediction in predictor.predict(paths):
            if prediction.logit is None or prediction.cam is None:
                yield ImageReadError(prediction.message, status=prediction.status)
            else:
                refused = prediction.status is Status.NOT_CHEST_XRAY if predictor.gated else None
                yield Score(prediction.logit, prediction.cam, refused=refused, familiarity=prediction.familiarity)
