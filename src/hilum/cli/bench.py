"""`hilum bench`: how fast predictions are on this machine, against the usual ways of making them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.options import Verbose
from hilum.errors import DataError


def bench(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="A folder of pictures; none given: phantoms are drawn."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run folder: its network is what the peers compute, and it is exported, into a temporary folder, to "
            "all precisions that --model does not give.",
        ),
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model", metavar="BUNDLE", help="A bundle to measure; one of each precision.", show_default="packaged"
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", metavar="N", min=8, help="How many pictures each scores in a round.")
    ] = 256,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How many turns each takes.")] = 5,
    size: Annotated[int, typer.Option("--phantom-size", metavar="PIXELS", min=64, help="Size of the phantoms.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the phantoms.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON in place of the table.")] = False,
    verbose: Verbose = False,
) -> None:
    """Measure predictions end to end, from file bytes to verdict, against PyTorch and ONNX Runtime.

    All score the same pictures with the same number of threads, in turn, each in a process of its own. The peers are
    tuned first. Table or JSON on standard output; what is not installed is left out, and said so.
    """
    from hilum.benchmark.contestants import Kind
    from hilum.benchmark.lineup import build_entries, gather_bundles
    from hilum.benchmark.measure import measure, time_cold_starts
    from hilum.benchmark.summary import render_table, summarise
    from hilum.inference.cpus import count_cpus

    with tempfile.TemporaryDirectory(prefix="hilum-bench-") as name:
        scratch = Path(name)
        folder = data or _draw(scratch / "phantoms", pictures, size=size, seed=seed)
        paths = choose_pictures(folder, pictures)
        bundles, left_out = gather_bundles(run, models or [], scratch)
        entries, notes = build_entries(run, bundles, threads=count_cpus(), scratch=scratch)
        results = measure(entries, paths, rounds=rounds)
        quickest = [entry for entry in entries if entry.kind is Kind.HILUM][-1]
        assert quickest.model is not None  # a bundle
        summary = summarise(
            results,
            paths,
            notes=[*left_out, *notes],
            source=str(data) if data else f"phantoms of {size} pixels",
            cold_starts=time_cold_starts(quickest.model, paths[0], rounds=rounds),
        )
    typer.echo(json.dumps(summary, indent=2, ensure_ascii=False) if as_json else render_table(summary))


def _draw(folder: Path, pictures: int, *, size: int, seed: int) -> Path:
    from hilum.data.phantom import write_phantoms

    return write_phantoms(folder, patients=min(max(6, pictures), 60), seed=seed, size=size)


def choose_pictures(folder: Path, count: int) -> list[Path]:
    """Return `count` picture files from all over a folder; where it has fewer, each is taken several times.

    Raises:
        DataError: the folder has no picture, or one that cannot be read.
    """
    from hilum.data.images import read_gray
    from hilum.inference.inputs import Inputs

    contents = [item.content for item in Inputs([str(folder)])]
    found = [content for content in contents if isinstance(content, Path)]
    problem = next((content for content in contents if isinstance(content, DataError)), None)
    if problem is not None:
        raise problem
    if not found:
        raise DataError(f"{folder} holds no picture files; name a folder with --data.")
    chosen = [found[index * len(found) // count] for index in range(count)] if len(found) > count else found
    for path in chosen:
        read_gray(path)
    return (chosen * (-(-count // len(chosen))))[:count]
