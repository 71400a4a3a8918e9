"""What was measured, as figures that can be compared: medians, percentiles, and ratios within rounds."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from hilum import __version__
from hilum.benchmark.contestants import Entry, Kind
from hilum.benchmark.measure import Measurement
from hilum.inference.decision import calibrate, is_positive
from hilum.types import BoolArray

PERCENTILES = (50, 95, 99)
_PACKAGES = ("openvino", "numpy", "pillow", "torch", "torchvision", "onnxruntime")
# Instruction sets that these networks gain from, as Linux names them.
_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def summarise(
    results: Sequence[Measurement],
    paths: Sequence[Path],
    *,
    notes: Sequence[str],
    source: str,
    cold_starts: Sequence[float],
) -> dict[str, Any]:
    """Return all figures as one JSON object.

    Ratios are the medians over the rounds of ratios within a round: how many times as fast as each peer a contestant
    is, which share of the ceiling it reaches, and its median latency over that of each peer.
    """
    peers = [result for result in results if result.entry.kind in (Kind.TORCH, Kind.ONNX)]
    ceiling = next((result for result in results if result.entry.kind is Kind.CEILING), None)
    contestants = [_describe(result, peers, ceiling) for result in results]
    return {
        "hilum": __version__,
        "machine": describe_machine(),
        "threads": results[0].entry.threads,
        "pictures": {"n": len(paths), "files": len(set(paths)), "source": source, **measure_files(paths)},
        "rounds": len(results[0].throughputs),
        "contestants": contestants,
        "cold_start_seconds": {"median": float(np.median(cold_starts)), "all": list(cold_starts)}
        if cold_starts
        else None,
        "notes": list(notes),
    }


def _describe(result: Measurement, peers: Sequence[Measurement], ceiling: Measurement | None) -> dict[str, Any]:
    others = [peer for peer in peers if peer is not result]
    described: dict[str, Any] = {
        "key": result.entry.key,
        "name": result.entry.name,
        "setting": result.setting,
        "pictures_per_second": {"median": float(np.median(result.throughputs)), "rounds": result.throughputs},
        "times_as_fast_as": {peer.entry.key: _compare(result.throughputs, peer.throughputs) for peer in others},
        "share_of_ceiling": None
        if ceiling is None or result is ceiling or not _share_network(result.entry, ceiling.entry)
        else _compare(result.throughputs, ceiling.throughputs),
        "latency_ms": None,
        "latency_share_of": {},
        "peak_memory_mb": result.peak_memory / 1e6,
        "same_verdicts_as": {peer.entry.key: _agree(result, peer) for peer in others},
    }
    if result.latencies_ms:
        values = np.percentile(result.latencies_ms, PERCENTILES)
        described["latency_ms"] = {f"p{name}": float(value) for name, value in zip(PERCENTILES, values, strict=True)}
        described["latency_share_of"] = {
            peer.entry.key: float(np.median(result.latencies_ms) / np.median(peer.latencies_ms)) for peer in others
        }
    return described


def _share_network(entry: Entry, ceiling: Entry) -> bool:
    return entry.kind is Kind.HILUM and entry.model == ceiling.model


def _compare(own: Sequence[float], other: Sequence[float]) -> float:
    return float(np.median(np.divide(own, other)))


def _agree(result: Measurement, other: Measurement) -> float:
    return float((_judge(result) == _judge(other)).mean())


def _judge(result: Measurement) -> BoolArray:
    entry = result.entry
    logits = np.asarray(result.logits, dtype=np.float64)
    probabilities = calibrate(logits, temperature=entry.temperature, intercept=entry.intercept)
    return is_positive(probabilities, threshold=entry.threshold)


def measure_files(paths: Sequence[Path]) -> dict[str, Any]:
    """Return the medians of the files' sizes in bytes and of their pictures' sides in pixels."""
    from PIL import Image  # noqa: PLC0415

    sizes = []
    for path in sorted(set(paths)):
        with Image.open(path) as image:
            sizes.append((*image.size, path.stat().st_size))
    width, height, size = np.median(sizes, axis=0)
    return {"median_width": int(width), "median_height": int(height), "median_bytes": int(size)}


def describe_machine() -> dict[str, Any]:
    """Return processor, instruction sets that matter, system and versions of the packages that compute."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    names = [value for name, value in facts if name == "model name"]
    flags = next((value.split() for name, value in facts if name == "flags"), [])
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(names) or None,
        "instructions": [flag for flag in _FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": packages,
    }


def render_table(summary: dict[str, Any]) -> str:
    """Return the figures as a Markdown table with what is needed to read it."""
    machine, pictures = summary["machine"], summary["pictures"]
    peers = [row["key"] for row in summary["contestants"] if row["key"] in ("torch", "onnxruntime")]
    titles = {"torch": "× PyTorch", "onnxruntime": "× ONNX Runtime"}
    header = ["", "pictures/s", *(titles[peer] for peer in peers), "of ceiling", "p50 ms", "p95 ms", "p99 ms"]
    header += [f"p50 of {titles[peer][2:]}'s" for peer in peers]
    header += ["peak MB"]
    rows = [header]
    for row in summary["contestants"]:
        latency = row["latency_ms"] or {}
        rows.append(
            [
                row["name"],
                f"{row['pictures_per_second']['median']:.1f}",
                *(_show(row["times_as_fast_as"].get(peer), ".2f") for peer in peers),
                _show(row["share_of_ceiling"], ".0%"),
                *(_show(latency.get(f"p{name}"), ".1f") for name in PERCENTILES),
                *(_show(row["latency_share_of"].get(peer), ".2f") for peer in peers),
                f"{row['peak_memory_mb']:,.0f}",
            ]
        )
    widths = [max(len(row[index]) for row in rows) for index in range(len(header))]
    lines = [_draw_row(rows[0], widths), _draw_row(["-" * width for width in widths], widths)]
    lines += [_draw_row(row, widths) for row in rows[1:]]
    packages = ", ".join(f"{name} {found}" for name, found in machine["packages"].items())
    settings = "; ".join(
        f"{row['name']}: {', '.join(f'{name} {value}' for name, value in row['setting'].items())}"
        for row in summary["contestants"]
        if row["setting"]
    )
    facts = [
        f"{machine['processor']}, {machine['cores'] or '?'} cores ({', '.join(machine['instructions'])}), "
        f"{summary['threads']} threads each; {machine['system']}, Python {machine['python']}, {packages}.",
        f"{pictures['n']:,} pictures ({pictures['files']:,} files, median {pictures['median_width']} x "
        f"{pictures['median_height']} pixels and {pictures['median_bytes']:,} bytes), {summary['rounds']} rounds.",
        f"Tuned: {settings}.",
    ]
    cold = summary["cold_start_seconds"]
    if cold is not None:
        facts.append(f"hilum predict, one picture, as a whole process: {cold['median']:.2f} s.")
    return "\n".join([*lines, "", *facts, *summary["notes"]])


def _show(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _draw_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join([first, *others])} |"
