"""Every error that Hilum raises on purpose.

    HilumError
    ├── InterruptionError    the user stopped the work
    ├── ConfigError          a configuration file, --set option or argument that does not fit
    ├── DataError            the data as a whole cannot be used
    │   ├── ImageReadError   one picture cannot be decoded (carries the Status that its row gets)
    │   └── LeakageError     a patient or picture stands in two splits
    ├── WeightsError         weights that do not fit the network, or cannot be had
    ├── DeviceError          a GPU that is missing, too small or cannot be used
    ├── BundleError          a run or bundle folder that is incomplete, altered or of another version
    ├── EvaluationError      an evaluation that the data do not allow
    └── ServingError         the network services

A message says what failed, on which file, and what to do next. Only the edges (command line, HTTP, DIMSE) turn errors
into exit codes and statuses.
"""

from __future__ import annotations

from hilum.types import Status


class HilumError(Exception):
    """Base of all errors that are a user's to mend: shown as one sentence, without a traceback."""


class InterruptionError(HilumError):
    """The user stopped the work; the message says how to go on."""


class ConfigError(HilumError):
    """A configuration, option or argument that does not fit."""


class DataError(HilumError):
    """Data that cannot be used as a whole."""


class ImageReadError(DataError):
    """One picture that cannot be decoded. `status` is what its row in a manifest or result gets."""

    def __init__(self, message: str, *, status: Status = Status.UNREADABLE) -> None:
        super().__init__(message)
        self.status = status


class LeakageError(DataError):
    """A patient or a picture that stands in two splits."""


class WeightsError(HilumError):
    """Weights that do not fit the network or cannot be had."""


class DeviceError(HilumError):
    """A device that is not there, has too little memory or cannot compute."""


class BundleError(HilumError):
    """A run or bundle folder that is incomplete, altered or of another version."""


class EvaluationError(HilumError):
    """An evaluation that the data do not allow."""


class ServingError(HilumError):
    """A failure of the network services."""
