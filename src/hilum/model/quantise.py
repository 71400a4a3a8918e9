"""8-bit integers: post-training quantisation of an exported network with NNCF.

Weights are quantised a channel, activations symmetrically by the ranges that calibration pictures give. The head stays
in float: its convolution has one output channel and costs nothing, and its rounding would go straight into logit and
heat map. So does the locator, whose box moves everything that comes after it.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from hilum.errors import ConfigError
from hilum.inference.runtime import LOCATED
from hilum.progress import track
from hilum.types import BoolArray, IntArray, UInt8Array

CALIBRATION_PICTURES = 300


class _Batches:
    """Calibration pictures one by one, as often as NNCF goes through them."""

    def __init__(self, pictures: UInt8Array) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[UInt8Array]:
        yield from track((picture[None] for picture in self.pictures), description="Calibrating", total=len(self))


def draw_calibration(labels: BoolArray, *, count: int, seed: int) -> IntArray:
    """Return up to `count` places of training pictures, sorted, drawn by chance with the shares of the classes kept.

    `labels` (n,) is True for PNEUMONIA.
    """
    if labels.size <= count:
        return np.arange(labels.size)
    random = np.random.default_rng(seed)
    positives = min(max(round(count * float(labels.mean())), 1), count - 1)
    chosen = [
        random.choice(np.flatnonzero(labels == label), size=size, replace=False)
        for label, size in ((True, positives), (False, count - positives))
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def quantise(model: Any, pictures: UInt8Array) -> Any:
    """Return `model` (an `openvino.Model` of `convert_to_openvino`) with 8-bit weights and activations.

    Args:
        model: the network in float32; it is not changed.
        pictures: (m, size, size) uint8 pictures of train, about CALIBRATION_PICTURES of them.

    Raises:
        ConfigError: NNCF is not installed.
    """
    with _quiet():
        try:
            import nncf  # noqa: PLC0415 - it is heavy, and only this needs it
        except ModuleNotFoundError:
            raise ConfigError(
                "Precision int8 needs NNCF: install the export part with pip install 'hilum[export]'."
            ) from None
        return nncf.quantize(
            model,
            nncf.Dataset(_Batches(pictures)),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(names=[*_name_head(model), *_name_locator(model)]),
        )


def _name_locator(model: Any) -> list[str]:
    """Return the names of the operations that box, views and crop come from."""
    waiting = [node for node in model.get_ordered_ops() if node.get_type_name() == "GridSample"]
    for output in model.outputs:
        if output.get_names() & set(LOCATED):
            waiting.append(output.get_node().input_value(0).get_node())
    names: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if node.get_type_name() in ("Parameter", "Constant", "Convert", "Result") or name in names:
            continue
        names[name] = None
        waiting += [value.get_node() for value in node.input_values()]
    return list(names)


def _name_head(model: Any) -> list[str]:
    """Return the names of the operations between the last feature maps and the outputs.

    The features are the maps' mean, so all that reads the maps but is not part of the backbone belongs to the head.
    """
    features = next(output for output in model.outputs if "features" in output.get_names())
    pooling = features.get_node().input_value(0).get_node()
    maps = pooling.input_value(0)
    names, waiting = [], [target.get_node() for target in maps.get_target_inputs()]
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Result" or node.get_friendly_name() in names:
            continue
        names.append(node.get_friendly_name())
        waiting += [target.get_node() for output in node.outputs() for target in output.get_target_inputs()]
    return names


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence NNCF's own bars and log on stdout, where only results belong, and what torch says of missing GPUs."""
    names = ("nncf", "torch.utils.cpp_extension")
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)
