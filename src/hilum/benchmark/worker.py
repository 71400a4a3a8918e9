"""One contestant in a process of its own, so that its memory is its own, and that waits while another has its turn."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hilum.benchmark.contestants import Contestant, Entry, Setting, open_contestant
from hilum.errors import HilumError

_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one pass took over all pictures, and the logits that it gave, one a picture."""

    seconds: float
    logits: list[float]


class Worker:
    """The near end of a contestant's process; each method waits for its answer."""

    def __init__(self, process: Any, connection: Connection, name: str) -> None:
        self._process = process
        self._connection = connection
        self._name = name

    def prepare(self, paths: Sequence[Path], setting: Setting) -> None:
        """Get ready to score these files, and score them once for nothing."""
        self._ask("prepare", list(paths), setting)

    def list_options(self) -> dict[str, tuple[Any, ...]]:
        """Return what may be tuned."""
        options: dict[str, tuple[Any, ...]] = self._ask("options")
        return options

    def score(self) -> Timing:
        """Time one pass over the files that were prepared."""
        timing: Timing = self._ask("score")
        return timing

    def time_singles(self, paths: Sequence[Path]) -> list[float]:
        """Return the time in ms from file to verdict of each file by itself."""
        latencies: list[float] = self._ask("singles", list(paths))
        return latencies

    def measure_memory(self) -> int:
        """Return the peak of the process's memory so far in bytes."""
        peak: int = self._ask("memory")
        return peak

    def _ask(self, *question: Any) -> Any:
        try:
            self._connection.send(question)
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise HilumError(
                f"The process of {self._name} ended in the middle of the benchmark (exit code "
                f"{self._process.exitcode}); see what it wrote above, or free some memory."
            ) from None
        if isinstance(answer, Exception):
            raise HilumError(f"{self._name} cannot be measured: {answer}") from answer
        return answer


@contextmanager
def start_worker(entry: Entry) -> Iterator[Worker]:
    """Start the process of a contestant; it ends with the context.

    Raises:
        HilumError: the contestant cannot be opened, or fails.
    """
    # A fresh interpreter, not a copy of this one: nothing that is loaded here counts as the contestant's memory.
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, entry), name=entry.key)
    process.start()
    far.close()
    try:
        worker = Worker(process, near, entry.name)
        worker._ask("options")
        yield worker
    finally:
        near.close()
        process.join(10)
        if process.is_alive():
            process.terminate()
            process.join()


def _serve(connection: Connection, entry: Entry) -> None:
    """Answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the near end, which then ends this
    contestant: Contestant | None = None
    paths: list[Path] = []
    while True:
        try:
            verb, *arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            contestant = contestant or open_contestant(entry)
            if verb == "prepare":
                paths = arguments[0]
            connection.send(_answer(contestant, verb, arguments, paths))
        except Exception as error:  # whatever it is, it is told at the near end
            connection.send(HilumError(f"{type(error).__name__}: {' '.join(str(error).split())}"))


def _answer(contestant: Contestant, verb: str, arguments: list[Any], paths: list[Path]) -> Any:
    if verb == "options":
        return {name: tuple(values) for name, values in contestant.options.items()}
    if verb == "prepare":
        contestant.prepare(paths, arguments[1])
        contestant.score(paths)
        return None
    if verb == "score":
        started = time.perf_counter()
        logits = contestant.score(paths)
        return Timing(time.perf_counter() - started, logits)
    if verb == "singles":
        return _time_singles(contestant, arguments[0])
    if verb == "memory":
        return read_peak_memory()
    raise ValueError(f"unknown verb {verb}")


def _time_singles(contestant: Contestant, paths: Sequence[Path]) -> list[float]:
    for path in paths[:_WARM_UP]:
        contestant.score_one(path)
    latencies = []
    for path in paths:
        started = time.perf_counter()
        contestant.score_one(path)
        latencies.append(1000 * (time.perf_counter() - started))
    return latencies


def read_peak_memory() -> int:
    """Return the peak of this process's resident memory in bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        # Not ru_maxrss where this can be had: a new process inherits that from the one that started it.
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource  # noqa: PLC0415 - not on every system
    import sys  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
