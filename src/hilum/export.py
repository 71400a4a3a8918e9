"""From a run to a bundle: convert the network, check it against the trained one, and write all that it needs beside it.

Only train and val are read. The exported network is scored on val as a deployed one would be; a network that says
something else than the trained one is refused.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hilum import bundle as layout
from hilum.bundle import (
    Bundle,
    BundleSpec,
    GateSpec,
    NetworkFormat,
    Precision,
    ProvenanceSpec,
    WeightsSpec,
    write_bundle,
    write_seen,
)
from hilum.data.cache import open_cache
from hilum.data.phantom import is_phantom
from hilum.data.splits import check_leakage, hash_splits
from hilum.errors import BundleError, ConfigError, DataError
from hilum.evaluation.background import Origin, recognise_origin
from hilum.evaluation.deployment import (
    compare_networks,
    explain_difference,
    fit_deployment,
    join_scores,
    measure_prior,
)
from hilum.evaluation.deployment_card import write_deployment_card
from hilum.evaluation.scoring import select_rows
from hilum.files import sha256_file
from hilum.inference.familiarity import METHOD, fit_familiarity
from hilum.inference.framing import place_map
from hilum.inference.runtime import Mode, Network, NetworkOutput
from hilum.model.exported_network import convert_to_openvino, save_onnx, save_openvino
from hilum.model.quantise import CALIBRATION_PICTURES, draw_calibration, quantise
from hilum.model.run import Run, read_run
from hilum.model.scoring import RunScorer
from hilum.progress import track
from hilum.types import FloatArray, Label, Split, UInt8Array

logger = logging.getLogger(__name__)

GATE_PICTURES = 2000
"""Training pictures whose features make the input gate; more move its statistics little and take time."""

_LICENCES = {
    "random": "none: the weights were drawn by chance",
    "torchvision IMAGENET1K_V2": "BSD-3-Clause (torchvision); trained on ImageNet-1k, whose pictures may be used for "
    "non-commercial research",
}
_UNSTATED = "not stated"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a bundle is to be.

    `name`: none given, that of the run's folder. `weights_licence`: of the initial weights; none given,
    what is known by their name. `force`: write the bundle though the network fails its check. `unfinished`: take a
    run whose training has not come to its end, too. `device`: what scores
    val with the trained network for that check.
    """

    precision: Precision = Precision.INT8
    format: NetworkFormat = NetworkFormat.OPENVINO
    name: str | None = None
    version: str = "1"
    licence: str = _UNSTATED
    weights_licence: str | None = None
    force: bool = False
    device: str = "auto"
    unfinished: bool = False


def export_run(folder: Path, out: Path, *, options: ExportOptions | None = None) -> Bundle:
    """Make a bundle of a run.

    Args:
        folder: run folder; the pictures of its train and val must still be where they were.
        out: folder to make.
        options: what the bundle is to be.

    Raises:
        BundleError: no whole run, or a network that differs too much from the trained one.
        ConfigError: format and precision do not go together, or a package is missing.
        DataError: a picture of train or val is missing.
        DeviceError: the device is not there, or has no room for the network.
        HilumError: `out` exists and is not an empty folder.
    """
    options = options or ExportOptions()
    if options.format is NetworkFormat.ONNX and options.precision is not Precision.FP32:
        raise ConfigError(
            f"ONNX bundles are float32: take --precision fp32, or --format openvino for {options.precision}."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"{out} exists and is not an empty folder; name another one with --out, or remove it first.")
    run = read_run(folder, unfinished=options.unfinished)
    check_leakage(run.splits)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-export-") as temporary:
        return _export(run, out, options, Path(temporary))


def _export(run: Run, out: Path, options: ExportOptions, staging: Path) -> Bundle:
    spec, config = run.config.preprocess, run.config
    train, val = _choose_rows(run)
    scorer = RunScorer(run, device=options.device)
    pictures = open_cache(
        [*train["path"], *val["path"]], [*train["sha256"], *val["sha256"]], spec, staging / "pictures"
    )
    train_pictures, val_pictures = pictures[: len(train)], pictures[len(train) :]
    val_rows = val.drop(columns="sha256")

    trained = join_scores(val_rows, *_score_trained(scorer, val_pictures))
    scorer.network.cpu()  # converted there, in float32, whatever has scored
    network_file, calibrated = _write_network(scorer, train, train_pictures, options, staging)
    network = Network.load(network_file, size=spec.side, precision=options.precision, mode=Mode.THROUGHPUT)
    answers = _score_exported(network, val_pictures, description="Scoring val as exported")
    cams = np.stack([place_map(cam, box) for cam, box in zip(answers.cam, answers.box, strict=True)])
    exported = join_scores(val_rows, answers.logit, cams)

    name = options.name or run.folder.resolve().name
    deployment = fit_deployment(
        exported, name=f"{name} {options.version}", splits=run.splits, config=config.evaluate, seed=config.seed,
        trained_prior=measure_prior(run.splits, balanced=config.train.balance != "none"),
    )  # fmt: skip
    parity = compare_networks(trained, exported, deployment, config=config.evaluate)
    difference = explain_difference(parity)
    if difference and not options.force:
        raise BundleError(
            f"The exported network differs too much from the trained one: {difference}; "
            "take another --precision, or --force to write the bundle all the same."
        )
    if difference:
        logger.warning("The exported network differs from the trained one: %s.", difference)
        parity = parity.model_copy(update={"forced": True})

    train_answers = _score_exported(network, train_pictures, description="Scoring train as exported")
    fitted = fit_familiarity(train_answers.features, answers.features)
    fitted.save(staging / layout.GATE)
    gate = GateSpec(method=METHOD, n_train=len(train), n_val=len(val))
    written = BundleSpec(
        name=name,
        version=options.version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        preprocess=spec,
        precision=options.precision,
        format=options.format,
        temperature=deployment.calibration.temperature,
        intercept=deployment.calibration.intercept,
        operating_points=deployment.operating_points,
        default_operating_point=deployment.default,
        conformal=deployment.conformal,
        training_prior=deployment.prior,
        heatmap_full_scale=deployment.heatmap_full_scale,
        gate=gate,
        metrics=deployment.metrics,
        parity=parity,
        provenance=_describe_provenance(run, calibrated, weights_licence=options.weights_licence),
        licence=options.licence,
        files={},
    )
    origin = Origin.PHANTOM if is_phantom(Path(val["path"].iloc[0])) else recognise_origin(run.splits)
    write_deployment_card(
        written, deployment, staging / layout.MODEL_CARD, origin=origin, facts=scorer.describe_training()
    )
    used = run.splits["split"].isin([Split.TRAIN, Split.VAL])
    write_seen(staging / layout.SEEN, run.splits.loc[used, "sha256"])
    names = [*written.needed_files, layout.SEEN, layout.MODEL_CARD]
    return write_bundle(out, written, {file: staging / file for file in names})


def _choose_rows(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of train that calibrate and make the gate, and all of val; both with their sha256.

    Raises:
        DataError: a picture is missing.
    """
    train = run.splits[run.splits["split"] == Split.TRAIN].reset_index(drop=True)
    chosen = draw_calibration((train["label"] == Label.PNEUMONIA).to_numpy(), count=GATE_PICTURES, seed=run.config.seed)
    train = train.iloc[chosen].reset_index(drop=True)
    hashes = run.splits.set_index("path")["sha256"]
    val = select_rows(run.splits, Split.VAL)
    val = val.assign(sha256=val["path"].map(hashes))
    wanted = [*train["path"], *val["path"]]
    missing = [path for path in wanted if not Path(path.partition("#")[0]).is_file()]
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(wanted):,} pictures of {run.folder} that an export needs are not there, the "
            f"first of them {missing[0]}; put the data back where they were when it was trained."
        )
    return train, val


def _score_trained(scorer: RunScorer, pictures: UInt8Array) -> tuple[FloatArray, FloatArray]:
    """Return logits (n,) and class activation maps (n, h, w) of the trained network in float32."""
    blocks = _cut(pictures, scorer.batch)
    scores = [
        score
        for block in track(blocks, description="Scoring val as trained", total=-(-len(pictures) // scorer.batch))
        for score in scorer.score_pictures(block)
    ]
    return np.array([score.logit for score in scores], dtype=np.float32), np.stack([score.cam for score in scores])


def _score_exported(network: Network, pictures: UInt8Array, *, description: str) -> NetworkOutput:
    batches = network.stream(_cut(pictures, network.batch))
    outputs = list(track(batches, description=description, total=-(-len(pictures) // network.batch)))
    return NetworkOutput.join(outputs)


def _cut(pictures: UInt8Array, size: int) -> Iterator[UInt8Array]:
    return (np.ascontiguousarray(pictures[start : start + size]) for start in range(0, len(pictures), size))


def _write_network(
    scorer: RunScorer, train: pd.DataFrame, pictures: UInt8Array, options: ExportOptions, staging: Path
) -> tuple[Path, int]:
    """Write the network file; return its path and how many pictures calibrated it."""
    if options.format is NetworkFormat.ONNX:
        path = staging / layout.NETWORK_ONNX
        save_onnx(scorer.network, scorer.spec, path)
        return path, 0
    model: Any = convert_to_openvino(scorer.network, scorer.spec)
    calibrated = 0
    if options.precision is Precision.INT8:
        labels = (train["label"] == Label.PNEUMONIA).to_numpy()
        chosen = draw_calibration(labels, count=CALIBRATION_PICTURES, seed=scorer.run.config.seed)
        model, calibrated = quantise(model, pictures[chosen]), len(chosen)
    path = staging / layout.NETWORK_IR
    save_openvino(model, path, precision=options.precision)
    return path, calibrated


def _describe_provenance(run: Run, calibrated: int, *, weights_licence: str | None) -> ProvenanceSpec:
    given = run.provenance
    name = str(given["weights"]["name"])
    return ProvenanceSpec(
        run=run.folder.resolve().name,
        manifest_hash=given["manifest_hash"],
        splits_hash=hash_splits(run.splits),
        model_hash=sha256_file(run.weights),
        weights=WeightsSpec(
            name=name,
            sha256=given["weights"]["sha256"],
            licence=weights_licence or _LICENCES.get(name, _UNSTATED),
        ),
        packages=given["packages"],
        git_commit=given["git_commit"],
        seed=run.config.seed,
        calibration_pictures=calibrated,
    )
