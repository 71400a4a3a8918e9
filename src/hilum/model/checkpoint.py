"""The checkpoint at the end of an epoch: all that a resumed training needs, written whole or not at all."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from hilum.errors import BundleError
from hilum.files import atomic_path
from hilum.model.average import WeightAverage
from hilum.model.network import RadiographNet

logger = logging.getLogger(__name__)

_FORMAT = "hilum checkpoint 2"


def write_checkpoint(
    path: Path,
    rows: list[dict[str, float | int | str]],
    network: RadiographNet,
    average: WeightAverage | None,
    optimizer: AdamW,
) -> None:
    """Write the state after the last epoch of `rows`; a kill or a full disk leaves the checkpoint before whole."""
    content = {
        "format": _FORMAT,
        "rows": rows,
        "network": network.state_dict(),
        "average": None if average is None else average.network.state_dict(),
        "average_count": 0 if average is None else average.count,
        "optimizer": optimizer.state_dict()["state"],
    }
    if path.exists():
        path.replace(previous(path))
    # Through a Python stream: torch's own writer turns a full disk into a RuntimeError without a reason.
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save(content, stream)


def previous(path: Path) -> Path:
    """Return where the checkpoint before that at `path` is."""
    return path.with_name(f"before-{path.name}")


def find_checkpoint(path: Path) -> bool:
    """Return whether there is a checkpoint to continue from."""
    return path.exists() or previous(path).exists()


def read_checkpoint(
    path: Path, network: RadiographNet, average: WeightAverage | None, optimizer: AdamW
) -> list[dict[str, float | int | str]]:
    """Fill network, average and optimiser from a checkpoint and return the rows of its epochs. Nothing is unpickled.

    Where the last one is missing or damaged the one before it is taken, and a warning says so.

    Raises:
        BundleError: both are damaged, or of another version of Hilum.
    """
    earlier = previous(path)
    if not earlier.exists():
        return _fill(path, network, average, optimizer)
    if path.exists():
        try:
            return _fill(path, network, average, optimizer)
        except BundleError as error:
            logger.warning("%s Continuing from the one before it.", error)
    return _fill(earlier, network, average, optimizer)


def _fill(
    path: Path, network: RadiographNet, average: WeightAverage | None, optimizer: AdamW
) -> list[dict[str, float | int | str]]:
    content = _load(path)
    try:
        network.load_state_dict(content["network"])
        if average is not None:
            average.network.load_state_dict(content["average"])
            average.count = content["average_count"]
        state: dict[int, dict[str, Tensor]] = content["optimizer"]
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return [dict(row) for row in content["rows"]]
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"The checkpoint {path} is damaged ({_shorten(error)}); remove it to start anew.") from None


def _load(path: Path) -> Mapping[str, Any]:
    try:
        if not zipfile.is_zipfile(path) or zipfile.ZipFile(path).testzip() is not None:
            raise ValueError("a checksum does not fit")
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch.load raises half a dozen types on a damaged file
        raise BundleError(f"The checkpoint {path} is damaged ({_shorten(error)}); remove it to start anew.") from None
    if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
        raise BundleError(
            f"The checkpoint {path} is of another version of Hilum; resume with that one, or remove it to start anew."
        )
    return content


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0][:120]
