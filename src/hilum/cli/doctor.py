"""`hilum doctor`: what is installed, what computes, and what each verb lacks."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from hilum.cli.options import Verbose
from hilum.errors import HilumError
from hilum.inference.cpus import count_cpus

_CORE = ("hilum", "numpy", "pandas", "pillow", "openvino", "simplejpeg", "scikit-learn")
_EXTRAS = {
    "train": (("torch", "torchvision", "safetensors", "tensorboard"), "train, run, demo, robust, average, study"),
    "export": (("nncf", "onnx", "onnxscript"), "export to int8 and ONNX"),
    "tune": (("optuna",), "tune"),
    "fetch": (("kagglehub",), "fetch kaggle"),
    "parquet": (("pyarrow",), "predict --out FILE.parquet"),
    "mlflow": (("mlflow",), "train --set train.logger=mlflow"),
}


def doctor(verbose: Verbose = False) -> None:
    """Say what is installed, which device and precision compute, and what is missing for which verb."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Hilum on this machine", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in list_facts():
        table.add_row(name, escape(text))  # [train] is an extra here, not markup
    Console().print(table)


def list_facts() -> list[tuple[str, str]]:
    """Return what there is to say, as pairs of a name and a text."""
    facts = [
        ("Python", f"{platform.python_version()}, {sys.executable}"),
        ("System", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Packages", ", ".join(f"{name} {_find_version(name)}" for name in _CORE)),
        ("Processors", f"{count_cpus()} that this process may use"),
        ("Predicting", _describe_prediction()),
        ("Training", _describe_training()),
        ("Packaged model", _describe_packaged()),
    ]
    for extra, (packages, purpose) in _EXTRAS.items():
        missing = [name for name in packages if find_spec(name) is None]
        said = f"missing {', '.join(missing)}: pip install 'hilum[{extra}]'" if missing else "there"
        facts.append((f"Extra {extra}", f"{said} (for {purpose})"))
    return facts


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _describe_prediction() -> str:
    from hilum.inference.vino import ov

    core = ov.Core()
    name = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
    able = {str(one) for one in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")}
    kinds = [said for key, said in (("INT8", "int8"), ("BF16", "bfloat16"), ("FP16", "float16")) if key in able]
    return f"OpenVINO {str(ov.get_version()).partition('-')[0]} on {name} ({', '.join(['float32', *kinds])})"


def _describe_training() -> str:
    if find_spec("torch") is None:
        return "not possible: torch is not installed"
    from hilum.config import TrainConfig
    from hilum.model.device import choose_device, choose_dtype, describe_device

    try:
        device = choose_device("auto")
    except HilumError as error:
        return str(error)
    precision = str(choose_dtype(device, TrainConfig().precision)).removeprefix("torch.")
    return f"torch {_find_version('torch')} on {describe_device(device)}, {precision}"


def _describe_packaged() -> str:
    from hilum.bundle import packaged_bundle, read_bundle

    try:
        bundle = read_bundle(packaged_bundle())
    except HilumError as error:
        return str(error)
    return f"{bundle.spec.name} {bundle.spec.version}, {bundle.spec.precision}, whole"
