"""OpenVINO, as all of Hilum imports it: `from hilum.inference.vino import ov`.

Importing OpenVINO reports the import to its makers over the network (openvino_telemetry). The computer of a hospital
must not do that by itself, so that package is made to look missing, which OpenVINO allows for. It also halves the time
of the import.
"""

from __future__ import annotations

import sys

if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # the documented way to block an import

import openvino as ov

__all__ = ["ov"]
