"""Who takes part in a benchmark, given what there is: a run, bundles, and the packages that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from hilum.benchmark.contestants import Entry, Kind
from hilum.bundle import Bundle, NetworkFormat, Precision, packaged_bundle, read_bundle, resolve_bundle
from hilum.errors import BundleError, ConfigError
from hilum.preprocess import PreprocessSpec

_TORCH = ("torch", "torchvision", "safetensors")


def gather_bundles(run: Path | None, models: Sequence[Path], scratch: Path) -> tuple[list[Bundle], list[str]]:
    """Return the bundles to measure, and one sentence for each that cannot be had.

    Those given come first; a run is exported, into `scratch`, to the precisions that are missing among them. With
    neither it is the bundle of the package.

    Raises:
        BundleError: a bundle cannot be used, two are of one precision, or there is none at all.
        ConfigError: a run is given, and the packages that export it are missing.
    """
    bundles = [read_bundle(resolve_bundle(folder)) for folder in models]
    notes: list[str] = []
    if run is not None:
        missing = [name for name in _TORCH if find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"Measuring a run needs {', '.join(missing)}: install the training part with pip install 'hilum[train]'"
                ", or give bundles alone."
            )
        from hilum.export import ExportOptions, export_run

        given = {bundle.spec.precision for bundle in bundles if bundle.spec.format is NetworkFormat.OPENVINO}
        for precision in (precision for precision in Precision if precision not in given):
            try:
                options = ExportOptions(precision, force=True)
                bundles.append(export_run(run, scratch / precision, options=options))
            except ConfigError as error:
                notes.append(f"Hilum {precision} is left out: {error}")
    elif not models:
        bundles = [read_bundle(packaged_bundle())]
    names = [(bundle.spec.format, bundle.spec.precision) for bundle in bundles]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BundleError(f"Two bundles are {twice[1]} ({twice[0]}); give one of each precision.")
    if len({bundle.spec.preprocess for bundle in bundles}) > 1:
        raise BundleError("The bundles take pictures of different sizes or scales; measure those of one model.")
    if not any(bundle.spec.format is NetworkFormat.OPENVINO for bundle in bundles):
        raise BundleError("None of the bundles is one of OpenVINO; give one that was exported with --format openvino.")
    return bundles, notes


def build_entries(
    run: Path | None, bundles: Sequence[Bundle], *, threads: int, scratch: Path
) -> tuple[list[Entry], list[str]]:
    """Return the contestants, the peers first, and one sentence for each peer that is left out or not quite the same.

    Without a run the peers get a network whose weights are drawn by chance: the time does not depend on them.
    """
    bundles = sorted(bundles, key=lambda bundle: list(Precision).index(bundle.spec.precision))
    openvino = [bundle for bundle in bundles if bundle.spec.format is NetworkFormat.OPENVINO]
    spec = openvino[0].spec

    def enter(key: str, name: str, kind: Kind, model: Path | None) -> Entry:
        return Entry(
            key=key,
            name=name,
            kind=kind,
            model=model,
            preprocess=spec.preprocess,
            threads=threads,
            temperature=spec.temperature,
            threshold=spec.operating_point.threshold,
            intercept=spec.intercept,
        )

    entries, notes = [], []
    by_chance = False
    missing = [name for name in _TORCH if find_spec(name) is None]
    if missing:
        notes.append(f"PyTorch is left out: {missing[0]} is not installed (pip install 'hilum[train]').")
    else:
        entries.append(enter("torch", "PyTorch eager fp32", Kind.TORCH, run))
        by_chance = run is None
    stored = next((bundle.network for bundle in bundles if bundle.spec.format is NetworkFormat.ONNX), None)
    absent = [name for name in ("onnxruntime", *(() if stored else ("onnx", "onnxscript"))) if find_spec(name) is None]
    if absent:
        notes.append(f"ONNX Runtime is left out: {absent[0]} is not installed (pip install {absent[0]}).")
    elif stored is None and missing:
        notes.append("ONNX Runtime is left out: without torch its network cannot be made; give an ONNX bundle.")
    else:
        network = stored or _write_onnx(run, spec.preprocess, scratch / "peer.onnx")
        entries.append(enter("onnxruntime", "ONNX Runtime fp32", Kind.ONNX, network))
        by_chance |= stored is None and run is None
    if by_chance:
        notes.append("Without --run the peers compute with weights drawn by chance, which take the same time.")
    for bundle in openvino:
        precision = bundle.spec.precision
        entries.append(enter(f"hilum-{precision}", f"Hilum {precision}", Kind.HILUM, bundle.folder))
    quickest = openvino[-1]  # precisions are in the order of their speed
    entries.append(enter("ceiling", f"Network alone, {quickest.spec.precision}", Kind.CEILING, quickest.folder))
    return entries, notes


def _write_onnx(run: Path | None, spec: PreprocessSpec, path: Path) -> Path:
    # ruff: noqa: PLC0415
    from hilum.model.exported_network import save_onnx
    from hilum.model.network import RadiographNet
    from hilum.model.run import WEIGHTS
    from hilum.model.weights import load_strictly, read_state

    network = RadiographNet()
    if run is not None:
        load_strictly(network, read_state(run / WEIGHTS), source=str(run / WEIGHTS))
    save_onnx(network.eval(), spec, path)
    return path
