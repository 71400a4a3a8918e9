"""Which device computes, in which precision, and what went wrong on it in words."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from hilum.errors import ConfigError, DeviceError
from hilum.model.processor import name_processor

PrecisionName = Literal["auto", "float32", "bfloat16"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that `name` asks for: auto, cpu, cuda, cuda:N or mps.

    auto takes GPU 0 where there is one, else Apple's, else the CPU. A GPU that is chosen becomes torch's current one.

    Raises:
        ConfigError: no such name.
        DeviceError: the device is not there, or torch cannot use it; the message says what to do.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdecimal())):
        raise ConfigError(f"--device {name}: choose auto, cpu, cuda, cuda:1 (a GPU by its number) or mps.")
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("This machine has no Apple GPU that torch can use; take --device cpu.")
        return torch.device("mps")
    if kind == "auto":
        if _count_gpus() > 0:
            return _check_gpu(0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    count = _count_gpus()
    if count == 0:
        raise DeviceError(f"No GPU can be used{_explain_absence()}; take --device cpu.")
    index = int(number or 0)
    if index >= count:
        raise DeviceError(f"There is no GPU {index}: this machine has {count}, counted from 0; take --device cuda:0.")
    return _check_gpu(index)


def choose_dtype(device: torch.device, wanted: PrecisionName = "auto") -> torch.dtype:
    """Return bfloat16 where it is asked for, or where `auto` leaves it to the device and that multiplies in it."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if fast else torch.float32
    if device.type == "cpu" and has_bfloat16():
        return torch.bfloat16
    return torch.float32


def describe_device(device: torch.device) -> str:
    """Return the device as provenance.json names it, such as "cuda:0 (NVIDIA H100 80GB HBM3)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({name_processor()})"


@contextmanager
def explain_device_errors(device: torch.device, *, smaller: str) -> Iterator[None]:
    """Turn what torch raises on a device into a DeviceError; `smaller` says how to need less memory.

    Raises:
        DeviceError: out of memory, or a kernel that failed.
    """
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if is_out_of_memory(error):
            elsewhere = "" if device.type == "cpu" else ", or take --device cpu"
            raise DeviceError(f"{device} has too little free memory; {smaller}{elsewhere}.") from None
        if "no kernel image is available" in text or "not compatible with" in text:
            raise DeviceError(
                f"The installed torch has no code for {describe_device(device)}; install a torch built for it, or take "
                "--device cpu."
            ) from None
        if device.type == "cuda" and ("CUDA error" in text or "CUDNN" in text.upper()):
            first = text.partition(". ")[0].removesuffix(".")
            raise DeviceError(f"{device} failed ({first}); start again, or take --device cpu.") from None
        raise


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch raised `error` because memory was short, on a GPU or on the CPU."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
    )


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere bfloat16 is slower."""
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    flags = Path("/proc/cpuinfo")
    text = flags.read_text(encoding="utf-8") if flags.exists() else ""
    return "avx512_bf16" in text or "amx_bf16" in text


def _count_gpus() -> int:
    # A driver that is too old is told by a warning; `_explain_absence` gives it in words.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _explain_absence() -> str:
    """Return why there is no GPU, as the end of a sentence, as far as torch says."""
    if torch.version.cuda is None and torch.version.hip is None:
        return ": the installed torch is built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        text = " ".join(str(error).split())
        if "driver" in text and "old" in text:
            return f": the NVIDIA driver is too old for CUDA {torch.version.cuda}, update it or install an older torch"
        return f" ({text.partition('. ')[0].removesuffix('.')})"
    return ""


def _check_gpu(index: int) -> torch.device:
    """Return the GPU after it has computed something.

    Raises:
        DeviceError: it cannot.
    """
    device = torch.device("cuda", index)
    with warnings.catch_warnings(), explain_device_errors(device, smaller="close what else uses it"):
        warnings.simplefilter("ignore")
        torch.ones(8, device=device).sum().item()
    torch.cuda.set_device(device)  # streams, events and captured graphs belong to the current GPU
    return device
