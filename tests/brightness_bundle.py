"""A bundle whose network is a few operations: bright pictures are PNEUMONIA, dark ones NORMAL.

It is a real OpenVINO network with the inputs and outputs of every bundle, and small enough to be made in each test.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from hilum.bundle import (
    GATE,
    NETWORK_IR,
    NETWORK_WEIGHTS,
    Bundle,
    BundleSpec,
    GateSpec,
    NetworkFormat,
    OperatingPointSpec,
    ParitySpec,
    Precision,
    ProvenanceSpec,
    WeightsSpec,
    write_bundle,
)
from hilum.inference.familiarity import METHOD, Familiarity
from hilum.inference.vino import ov
from hilum.preprocess import PreprocessSpec
from hilum.types import FloatArray, UInt8Array

SIZE = 64
PRIOR = 0.75
TEMPERATURE = 2.0
THRESHOLD = 0.5
SENSITIVE_THRESHOLD = 0.05
FEATURES = SIZE * SIZE // 2
_CELL = 32
_GAIN = 40.0


def compute_logit(pixels: UInt8Array) -> float:
    """Return the logit of network input (SIZE, SIZE): 0 for mid-gray, 20 for white."""
    return _GAIN * (float(pixels.mean()) / 255 - 0.5)


def compute_features(pixels: UInt8Array) -> FloatArray:
    """Return the features (n, 2048) of network input (n, SIZE, SIZE): the picture, two pixels averaged to one."""
    return pixels.reshape(len(pixels), FEATURES, 2).mean(axis=2).astype(np.float32)


def write_brightness_bundle(
    folder: Path,
    *,
    familiarity: Familiarity | None = None,
    locator: bool = False,
    points: dict[str, OperatingPointSpec] | None = None,
) -> Bundle:
    """Write the bundle with familiarity, locator and operating points (the first is the default), if given."""
    with tempfile.TemporaryDirectory() as name:
        staging = Path(name)
        ov.save_model(_build_network(locator=locator), staging / NETWORK_IR, compress_to_fp16=False)
        files = {name: staging / name for name in (NETWORK_IR, NETWORK_WEIGHTS)}
        spec = _build_spec()
        if points is not None:
            spec = spec.model_copy(update={"operating_points": points, "default_operating_point": next(iter(points))})
        if familiarity is not None:
            files[GATE] = staging / GATE
            familiarity.save(files[GATE])
            described = GateSpec(method=METHOD, n_train=10, n_val=10)
            spec = spec.model_copy(update={"gate": described})
        return write_bundle(folder, spec, files)


def _build_network(*, locator: bool) -> ov.Model:
    ops = ov.opset13
    cells = SIZE // _CELL
    pictures = ops.parameter([-1, SIZE, SIZE], ov.Type.u8, name="pictures")
    planes = ops.reshape(ops.convert(pictures, "f32"), np.array([-1, 1, SIZE, SIZE]), special_zero=False)
    pooled = ops.avg_pool(planes, [_CELL] * 2, [0, 0], [0, 0], [_CELL] * 2, exclude_pad=False)
    evidence = ops.multiply(ops.subtract(ops.divide(pooled, np.float32(255)), np.float32(0.5)), np.float32(_GAIN))
    cam = ops.reshape(evidence, np.array([-1, cells, cells]), special_zero=False)
    logit = ops.reduce_mean(cam, np.array([1, 2]), keep_dims=False)
    pairs = ops.avg_pool(planes, [1, 2], [0, 0], [0, 0], [1, 2], exclude_pad=False)
    features = ops.reshape(pairs, np.array([-1, FEATURES]), special_zero=False)
    outputs = {"logit": logit, "cam": cam, "features": features}
    results = [ops.result(node) for node in outputs.values()]
    for result, output in zip(results, outputs, strict=True):
        result.output(0).get_tensor().set_names({output})
    model = ov.Model(results, [pictures], "brightness")
    if not locator:
        return model
    from hilum.model.exported_network import attach_locator  # noqa: PLC0415 - most tests do without torch

    return attach_locator(model, PreprocessSpec(size=SIZE))


def _build_spec() -> BundleSpec:
    def point(threshold: float) -> OperatingPointSpec:
        return OperatingPointSpec(
            threshold=threshold, rule="as given", chosen_on="val", n=100, sensitivity=0.9, specificity=0.9
        )

    return BundleSpec(
        name="brightness",
        version="1",
        created="2024-01-01T00:00:00+00:00",
        preprocess=PreprocessSpec(size=SIZE),
        precision=Precision.FP32,
        format=NetworkFormat.OPENVINO,
        temperature=TEMPERATURE,
        operating_points={"balanced": point(THRESHOLD), "sensitive": point(SENSITIVE_THRESHOLD)},
        default_operating_point="balanced",
        training_prior=PRIOR,
        heatmap_full_scale=10.0,
        gate=None,
        metrics={},
        parity=ParitySpec(
            n=100,
            auroc_trained=0.9,
            auroc_exported=0.9,
            max_logit_difference=0,
            mean_logit_difference=0,
            changed_verdicts=0,
            changed_after_refit=0,
        ),
        provenance=ProvenanceSpec(
            run="brightness",
            manifest_hash="0",
            splits_hash="0",
            model_hash="0" * 64,
            weights=WeightsSpec(name="none", sha256="", licence="none"),
            packages={},
            git_commit=None,
            seed=0,
        ),
        licence="Apache-2.0",
        files={},
    )
