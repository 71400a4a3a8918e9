"""The command line: parse, call, print. Errors become exit codes here and nowhere else."""

from __future__ import annotations

import errno
import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable

import typer

from hilum import __version__, progress
from hilum.cli import (
    adverse,
    average,
    bench,
    data,
    doctor,
    evaluate,
    explore,
    export,
    ledger,
    options,
    pipeline,
    predict,
    recalibrate,
    results,
    robust,
    settings,
    study,
    train,
    tune,
)
from hilum.errors import HilumError, InterruptionError

app = typer.Typer(
    name="hilum",
    help="Pneumonia detection on chest radiographs with ResNet-50, evaluated honestly. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _interruptible(verb: Callable[..., None]) -> Callable[..., None]:
    """Make Ctrl-C an error with its own exit code; Typer would end with 1, which means that some items failed."""

    @functools.wraps(verb)
    def run(*arguments: object, **options: object) -> None:
        try:
            verb(*arguments, **options)
        except KeyboardInterrupt:
            raise InterruptionError("Interrupted; nothing half-written was left under a final name.") from None

    return run


_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start": (pipeline.run, pipeline.demo, predict.predict, doctor.doctor),
    "Data": (data.fetch, data.scan, explore.explore),
    "Model": (train.train, evaluate.evaluate, export.export, recalibrate.recalibrate, settings.config),
    "Deploy": (bench.bench,),
    "Research": (
        study.study,
        tune.tune,
        robust.robust,
        adverse.adverse,
        average.average,
        ledger.ledger,
        results.results,
    ),
}
for _panel, _verbs in _PANELS.items():
    for _verb in _verbs:
        app.command(rich_help_panel=_panel)(_interruptible(_verb))


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=options.print_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line.

    Exit codes: 0 all done; 1 finished, but some items failed; 2 stopped, with one sentence on stderr; 3 an unexpected
    failure, with one sentence and the path of a log that holds the traceback; 130 interrupted.
    """
    options.configure_logging(verbose=False)
    progress.enable(sys.stderr.isatty())
    try:
        app()
    except HilumError as error:
        _stop(str(error), code=130 if isinstance(error, InterruptionError) else 2)
    except OSError as error:
        _stop(_explain(error), code=2)
    except MemoryError:
        _stop("There is not enough memory for this; close other programs, or work on less at a time.", code=2)
    except Exception as error:  # the last net: a traceback is for a log, not for a user
        _stop(_report(error), code=3)


def _stop(message: str, *, code: int) -> None:
    print(f"hilum: {message}", file=sys.stderr)
    raise SystemExit(code)


def _report(error: Exception) -> str:
    """Write the traceback into a log and return what to say of it."""
    reason = " ".join(str(error).split())[:200]
    said = f"An unexpected failure, which is a fault of Hilum ({type(error).__name__}{': ' * bool(reason)}{reason})"
    try:
        handle, name = tempfile.mkstemp(prefix="hilum-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"hilum {__version__}, {sys.platform}, Python {sys.version}\n{sys.argv}\n\n")
            traceback.print_exception(error, file=stream)
    except OSError:
        return f"{said}; no log could be written, and --verbose may tell more."
    return f"{said}; the details are in {name}."


def _explain(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"The disk is full while writing{where}; free some space, or write to another disk with --out."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Permission denied:{where or ' a file'} cannot be read or written; check its rights, or name another."
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and where:
        where = where.strip()
        return f"{where} cannot be read or written: a part of its path is a file and no folder; name another place."
    return f"{error.strerror or error}{':' if where else ''}{where}."


__all__ = ["__version__", "app", "main"]
