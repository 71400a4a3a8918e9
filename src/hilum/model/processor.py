"""What the processor is; without torch, for a run folder is read where none is installed."""

from __future__ import annotations

import platform
from pathlib import Path


def name_processor() -> str:
    """Return the CPU's name and number of cores, as the system gives them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()
