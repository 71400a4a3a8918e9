"""Worker processes that train: they import torch once and take one run after the other.

Ctrl-C reaches the parent alone, which stops the workers; a worker whose parent is gone ends by itself. A worker that
dies fails the run that it was at, and another takes its place.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from hilum.config import Config
from hilum.errors import DeviceError, HilumError, InterruptionError
from hilum.files import write_text
from hilum.research.measure import StudyMeasure, run_one, write_figures

logger = logging.getLogger(__name__)

ERROR = "error.txt"
"""In a run folder: the traceback of a failure that is no HilumError."""

_LOOK = 1.0  # seconds between looks at whether workers are alive
_PATIENCE = 5.0  # seconds that a worker gets to end by itself


@dataclass(frozen=True, slots=True)
class Job:
    """One run: where, and with which configuration. `name` is what messages call it."""

    name: str
    folder: Path
    config: Config


@dataclass(frozen=True, slots=True)
class Context:
    """What all runs of a study share; sent to each worker once. `verbose` sends every line of the log back."""

    manifest: pd.DataFrame
    splits: pd.DataFrame
    measure: StudyMeasure
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a job.

    `kind` is started, epoch (`row` is that of history.csv), done (`figures`), failed (`message`) or log (`message`).
    """

    job: Job
    kind: str
    message: str = ""
    row: Mapping[str, float | int | str] = field(default_factory=dict)
    figures: Mapping[str, float | None] = field(default_factory=dict)


def run_jobs(jobs: Sequence[Job], context: Context, *, workers: int) -> Generator[Event, None, None]:
    """Run each job in one of `workers` processes; yield events as they come, one `done` or `failed` for each job.

    All workers have ended when the iterator is exhausted, closed or interrupted.
    """
    waiting = deque(jobs)
    cores = deal_cores(max(1, min(workers, len(jobs))))
    crew: list[_Worker | None] = [None] * len(cores)
    try:
        while waiting or any(worker is not None and worker.job is not None for worker in crew):
            for place, worker in enumerate(crew):
                if waiting and (worker is None or worker.job is None):
                    chosen = crew[place] = worker or _Worker(context, cores[place])
                    if chosen.start(waiting[0]):
                        yield Event(waiting.popleft(), "started")
            for place, worker in enumerate(crew):
                if worker is None:
                    continue
                yield from worker.listen()
                if not worker.usable:
                    crew[place] = None
                    worker.end()
                    worker.stop()
            busy = [worker for worker in crew if worker is not None and worker.job is not None]
            if busy:
                wait([end for worker in busy for end in (worker.connection, worker.process.sentinel)], timeout=_LOOK)
    finally:
        left = [worker for worker in crew if worker is not None]
        for worker in left:
            worker.end()
        for worker in left:
            worker.stop()


def deal_cores(workers: int) -> list[list[int]]:
    """Return the CPU cores of each worker: equal shares of those that this process may use, at least one each."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    share = max(1, len(cores) // workers)
    return [[cores[(place * share + k) % len(cores)] for k in range(share)] for place in range(workers)]


class _Worker:
    """The parent's end of a worker process."""

    def __init__(self, context: Context, cores: Sequence[int]) -> None:
        spawn = multiprocessing.get_context("spawn")  # a forked process could not use CUDA
        self.connection, remote = spawn.Pipe()
        self.process = spawn.Process(target=_work, args=(remote, list(cores)), name="hilum-worker", daemon=True)
        with _ignore_interrupts():
            self.process.start()
        remote.close()
        self.context = context
        self.job: Job | None = None
        self.ready = False
        self.usable = True

    def start(self, job: Job) -> bool:
        """Give it a job; return False where it is dead."""
        try:
            if self.ready:
                self.connection.send(job)
        except OSError:
            self.usable = False
            return False
        self.job = job
        return True

    def listen(self) -> Iterator[Event]:
        """Yield what it has sent; where it has died in a job, that the job failed."""
        alive = self.process.is_alive()  # before reading: what it sent before it died is read all the same
        with suppress(EOFError, OSError):
            while self.job is not None and self.connection.poll():
                kind, content = self.connection.recv()
                yield from self._take(kind, content)
        if not alive and self.job is not None:
            job, self.job, self.usable = self.job, None, False
            yield Event(job, "failed", _explain_death(self.process.exitcode))

    def _take(self, kind: str, content: Any) -> Iterator[Event]:
        job = self.job
        assert job is not None
        if kind == "ready":
            # Only now, for a large message keeps the parent until it is read, and importing torch takes seconds.
            self.ready = True
            self.connection.send(self.context)
            self.connection.send(job)
        elif kind == "epoch":
            yield Event(job, kind, row=content)
        elif kind == "log":
            yield Event(job, kind, content)
        else:
            self.job = None
            if kind == "done":
                yield Event(job, kind, figures=content)
            else:
                message, self.usable = content
                yield Event(job, "failed", message)

    def end(self) -> None:
        """Ask it to end: at once where it is idle, by a signal where it trains."""
        with suppress(OSError):
            if self.job is None and self.ready and self.usable:
                self.connection.send(None)
            else:
                self.process.terminate()

    def stop(self) -> None:
        """Wait until it has ended, and make it end where that takes long."""
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        self.process.close()


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from their first moment on: they inherit that, until they do it themselves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _explain_death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = "; the system does that where memory runs out: take fewer --jobs" if -code == signal.SIGKILL else ""
        return f"The worker process was ended by signal {name}{hint}."
    return f"The worker process ended unexpectedly (exit code {code})."


def _work(connection: Connection, cores: Sequence[int]) -> None:
    """Run jobs until the parent says that there are no more, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    line = _Line(connection)
    with suppress(EOFError, OSError):
        line.say("ready", None)
        context: Context = connection.recv()
        on_gpu = context.measure.device != "cpu"
        if not on_gpu and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)  # so that a training that counts its cores counts these
        torch.set_num_threads(len(cores))
        package = logging.getLogger("hilum")
        package.setLevel(logging.DEBUG if context.verbose else logging.WARNING)
        package.addHandler(line)
        package.propagate = False
        while (job := connection.recv()) is not None:
            kind, content = _run(job, context, line)
            if on_gpu:  # what a finished run has left belongs to the other workers
                gc.collect()
                torch.cuda.empty_cache()
            line.say(kind, content)
            if kind == "failed" and not content[1]:
                return


def _run(job: Job, context: Context, line: _Line) -> tuple[str, Any]:
    """Return what to say of a job: done with its figures, or failed with why, and whether the worker can go on."""
    try:
        outcome = run_one(
            context.manifest,
            context.splits,
            job.folder,
            job.config,
            measure=context.measure,
            device=context.measure.device,
            on_epoch=lambda _, row: line.say("epoch", dict(row)),
        )
        return "done", write_figures(job.folder, outcome)
    except InterruptionError:
        return "failed", ("The worker process was asked to end by a signal.", False)
    except DeviceError as error:
        # What it has of the device's memory is only free again when the process has ended.
        return "failed", (f"{_write_line(error)} Fewer --jobs leave each of them more memory.", False)
    except HilumError as error:
        return "failed", (_write_line(error), True)
    except Exception as error:  # one run must not end the study, whatever is wrong with it
        with suppress(OSError):
            write_text(job.folder / ERROR, traceback.format_exc())
        return "failed", (f"{type(error).__name__}: {_write_line(error) or 'no message'}", False)


def _write_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        time.sleep(0.1)
        os._exit(1)


class _Line(logging.Handler):
    """The worker's end of the pipe; as a handler of the log it sends each message to the parent."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._one_at_a_time = threading.Lock()

    def say(self, kind: str, content: object) -> None:
        """Send something to the parent."""
        with self._one_at_a_time:
            self._connection.send((kind, content))

    def emit(self, record: logging.LogRecord) -> None:
        """Send the message of a record of the log."""
        with suppress(OSError):
            self.say("log", record.getMessage())
