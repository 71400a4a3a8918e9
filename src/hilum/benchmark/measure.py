"""Measuring contestants in turn, so that a drift of the machine's speed meets all of them alike."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from hilum.benchmark.contestants import Entry, Kind, Setting
from hilum.benchmark.worker import Worker, start_worker
from hilum.errors import HilumError
from hilum.progress import track

logger = logging.getLogger(__name__)

TUNING_PICTURES = 32
"""Pictures a thread to tune with: as many as the largest batch, lest it look slow for leaving threads without work."""
SINGLES = 40
"""Pictures a round whose latency is measured one by one."""
_COLD = "import sys; from hilum.cli import main; sys.argv[0] = 'hilum'; main()"


@dataclass(slots=True)
class Measurement:
    """What was measured of one contestant.

    `setting` is what tuning chose. `throughputs` are pictures a second, one a round; `latencies_ms` those of single
    pictures in all rounds; `peak_memory` is that of its process while it scored many, in bytes; `logits` are of one
    round, in the order of the pictures.
    """

    entry: Entry
    setting: Setting
    throughputs: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    peak_memory: int = 0
    logits: list[float] = field(default_factory=list)


def measure(
    entries: Sequence[Entry], paths: Sequence[Path], *, rounds: int, singles: int = SINGLES
) -> list[Measurement]:
    """Measure all contestants on the same files.

    Each is tuned on some of the files first, in a process that ends with that. Then each has a process with its best
    setting, has scored all files once unmeasured, and takes one turn a round, in alternating order.

    Raises:
        HilumError: a contestant fails.
    """
    settings = [tune(entry, paths[: TUNING_PICTURES * entry.threads]) for entry in track(entries, description="Tuning")]
    results = [Measurement(entry, setting) for entry, setting in zip(entries, settings, strict=True)]
    with ExitStack() as stack:
        workers: list[Worker] = []
        for result in track(results, description="Warming up"):
            workers.append(stack.enter_context(start_worker(result.entry)))
            workers[-1].prepare(paths, result.setting)
        pairs = list(zip(results, workers, strict=True))
        for result, worker in _take_turns(pairs, rounds, description="Throughput"):
            timing = worker.score()
            if len(timing.logits) != len(paths):
                raise HilumError(f"{result.entry.name} gave {len(timing.logits)} verdicts for {len(paths)} pictures.")
            result.throughputs.append(len(paths) / timing.seconds)
            logger.info("%s: %.1f pictures/s", result.entry.name, result.throughputs[-1])
            result.logits = timing.logits
        for result, worker in pairs:  # before the latencies, for which Hilum opens a second network
            result.peak_memory = worker.measure_memory()
        chosen = paths[:singles]
        pairs = [(result, worker) for result, worker in pairs if result.entry.kind is not Kind.CEILING]
        for result, worker in _take_turns(pairs, rounds, description="Latency"):
            result.latencies_ms += worker.time_singles(chosen)
    return results


def _take_turns(
    pairs: Sequence[tuple[Measurement, Worker]], rounds: int, *, description: str
) -> Iterator[tuple[Measurement, Worker]]:
    turns = [pair for index in range(rounds) for pair in (pairs if index % 2 == 0 else reversed(pairs))]
    yield from track(turns, description=description)


def tune(entry: Entry, paths: Sequence[Path]) -> Setting:
    """Return the setting with the highest throughput; one option after the other is tried with the best of the others.

    Raises:
        HilumError: the contestant fails.
    """
    with start_worker(entry) as worker:
        options = worker.list_options()
        best = {name: values[0] for name, values in options.items()}
        if not best:
            return best
        fastest = _time(worker, paths, best)
        for name, values in options.items():
            for value in values[1:]:
                tried = {**best, name: value}
                seconds = _time(worker, paths, tried)
                if seconds < fastest:
                    best, fastest = tried, seconds
    logger.info("%s is best with %s", entry.name, ", ".join(f"{name} {value}" for name, value in best.items()))
    return best


def _time(worker: Worker, paths: Sequence[Path], setting: Setting) -> float:
    worker.prepare(paths, setting)
    return min(worker.score().seconds for _ in range(2))


def time_cold_starts(bundle: Path, path: Path, *, rounds: int) -> list[float]:
    """Return the seconds that `hilum predict` takes for one file as a whole process, from start to end.

    Raises:
        HilumError: it fails.
    """
    command = [sys.executable, "-c", _COLD, "predict", str(path), "--model", str(bundle)]
    seconds = []
    for _ in track(range(rounds), description="Cold starts"):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - started)
        # 1: the input gate rejects the picture, as it may a phantom
        if done.returncode not in (0, 1):
            raise HilumError(f"'hilum predict {path}' fails: {done.stderr.strip()}")
    return seconds
