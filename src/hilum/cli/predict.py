"""`hilum predict`: pictures in, a table of verdicts out."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum import progress
from hilum.cli.options import Verbose
from hilum.errors import ConfigError, DataError, InterruptionError
from hilum.types import Label

if TYPE_CHECKING:
    from hilum.inference.grey_zone import GreyZone
    from hilum.inference.inputs import Item
    from hilum.inference.predictor import Predictor
    from hilum.inference.writers import TableWriter
    from hilum.types import Prediction

logger = logging.getLogger(__name__)

_FAILURES_SHOWN = 5
_BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells have it


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            show_default=False,
            help="Pictures, folders (with all below them), quoted globs, zip archives, or - for a list of them on "
            "standard input, one a line.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option("--model", metavar="BUNDLE", help="A bundle folder, or packaged for the one that comes along."),
    ] = "packaged",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A .csv, .jsonl or .parquet to write; none given: standard output."),
    ] = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option("--heatmaps", metavar="DIR", help="Write a PNG a picture that shows where the evidence lies."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="T", help="PNEUMONIA from this probability on, in place of the bundle's."),
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(
            "--operating-point", metavar="NAME", help="Another threshold that the bundle stores, by its name."
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            metavar="P",
            help="The share of pneumonia among your patients. Probabilities are corrected to it; verdicts stay as they "
            "are, unless --threshold is given.",
        ),
    ] = None,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate/--no-gate",
            help="Whether pictures that are no upright frontal chest radiographs go without a verdict. Their status "
            "tells either way.",
        ),
    ] = True,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse radiographs, too, that are unlike those of training (familiarity below 0.01), such as those "
            "of adults.",
        ),
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Turn and invert radiographs that lie on their side, stand on their head or are inverted."
        ),
    ] = False,
    grey_zone: Annotated[
        bool,
        typer.Option(
            "--grey-zone",
            help="Add a column zone: ruled_in from the larger of the decision threshold and specificity-99 on "
            "(specificity-95 where a bundle has no specificity-99), ruled_out below the smaller of the decision "
            "threshold and sensitivity-99, undetermined between.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip what FILE or FILE.partial holds already, and its heat maps.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Say NORMAL or PNEUMONIA for each picture, with a probability, from the network of a bundle.

    A picture that cannot be scored keeps its row, with the reason; the exit code is then 1.
    """
    if strict and not gate:
        raise ConfigError("--strict refuses more pictures and --no-gate none; leave one of them out.")
    if resume and out is None:
        raise ConfigError("--resume goes on with a file; name it with --out.")
    _check_heatmaps(heatmaps, inputs)
    from hilum.bundle import read_bundle, resolve_bundle
    from hilum.inference.grey_zone import GreyZone
    from hilum.inference.inputs import Inputs
    from hilum.inference.predictor import Predictor
    from hilum.inference.rows import COLUMNS, ZONE_COLUMNS, choose_format
    from hilum.inference.rule import DecisionRule
    from hilum.inference.writers import TableWriter

    if out is not None:
        choose_format(out)
    bundle = read_bundle(resolve_bundle(model))
    rule = DecisionRule.choose(bundle, operating_point=operating_point, threshold=threshold, prevalence=prevalence)
    zone = GreyZone.choose(bundle, rule) if grey_zone else None
    columns = COLUMNS if zone is None else ZONE_COLUMNS
    listed = Inputs(inputs, skip=heatmaps)
    items, single = _begin(iter(listed))
    open_predictor = partial(
        Predictor.open,
        bundle,
        mode="latency" if single else "throughput",
        rule=rule,
        judge_all=not gate,
        strict=strict,
        fix=fix,
        keep_pictures=heatmaps is not None,
    )
    if out is None:
        outcomes = _print_predictions(_place(_score(open_predictor(), items, heatmaps), zone), columns)
    else:
        with TableWriter(out, resume=resume, columns=columns) as writer:
            writer.check_origin(
                {
                    "the model": f"{bundle.spec.name} {bundle.spec.version} ({(bundle.spec.checksum or '')[:12]})",
                    "the threshold": rule.threshold,
                    "the prevalence": prevalence if prevalence is not None else bundle.spec.training_prior,
                    "--gate": gate,
                    "--strict": strict,
                    "--fix": fix,
                },
                threshold=rule.threshold,
            )
            total = _count(inputs, heatmaps, writer.earlier.paths)
            scored = _score(open_predictor(), _skip_earlier(items, writer.earlier.paths), heatmaps)
            outcomes = _write_predictions(_place(scored, zone), writer, total=total)
    if listed.skipped:
        logger.info("Files skipped that are no pictures: %d.", listed.skipped)
    _print_summary(outcomes, out)


def _check_heatmaps(folder: Path | None, inputs: list[str]) -> None:
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --heatmaps.")
    if folder.is_dir() and any(Path(name).is_dir() and folder.samefile(name) for name in inputs):
        raise ConfigError(f"{folder} is itself to be scored; name another folder with --heatmaps.")


def _begin(items: Iterator[Item]) -> tuple[Iterator[Item], bool]:
    """Return the items, and whether there is only one, once there is one that can be tried.

    Raises:
        DataError: none of the inputs leads to anything.
    """
    failed: list[Item] = []
    for item in items:
        if not item.is_input:
            ahead = list(islice(items, 1))
            return chain(failed, [item], ahead, items), not ahead
        failed.append(item)
    others = " The other inputs lead to no picture either." if len(failed) > 1 else ""
    raise DataError(f"{failed[0].content!s}{others}")


def _count(inputs: list[str], heatmaps: Path | None, earlier: Counter[str]) -> int | None:
    """Return how many pictures there are to score; None where that is not shown or cannot be known."""
    from hilum.inference.inputs import STDIN, Inputs

    if STDIN in inputs or not progress.is_enabled():
        return None
    left = earlier.copy()
    return sum(1 for _ in _skip_earlier(Inputs(inputs, skip=heatmaps), left))


def _skip_earlier(items: Iterable[Item], earlier: Counter[str]) -> Iterator[Item]:
    """Leave out what has a row already; a picture that is named twice needs two."""
    left = earlier.copy()
    for item in items:
        if left[item.name] > 0:
            left[item.name] -= 1
        else:
            yield item


def _score(predictor: Predictor, items: Iterable[Item], heatmaps: Path | None) -> Iterator[Prediction]:
    predictions = predictor.predict(items)
    if heatmaps is None:
        return predictions
    from hilum.inference.cpus import count_cpus
    from hilum.inference.heatmaps import write_heatmaps

    scale = predictor.bundle.spec.heatmap_full_scale
    return write_heatmaps(predictions, heatmaps, full_scale=scale, threads=count_cpus())


def _place(predictions: Iterator[Prediction], zone: GreyZone | None) -> Iterator[Prediction]:
    """Say of each prediction with a probability where in the grey zone, or beside it, that lies."""
    if zone is None:
        return predictions
    return (
        prediction if prediction.probability is None else replace(prediction, zone=zone.place(prediction.probability))
        for prediction in predictions
    )


def _print_predictions(predictions: Iterator[Prediction], columns: Sequence[str]) -> Counter[str]:
    from hilum.inference.writers import StreamWriter, name_outcome

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another encoding than UTF-8
    outcomes: Counter[str] = Counter()
    try:
        writer = StreamWriter(sys.stdout, readable=sys.stdout.isatty(), columns=columns)
        # On a terminal the rows themselves are the progress.
        for prediction in predictions if sys.stdout.isatty() else _track(predictions, total=None):
            writer.write(prediction)
            outcomes[name_outcome(prediction)] += 1
    except BrokenPipeError:
        # Whoever reads has enough, such as head. Python must not find the pipe broken once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_BROKEN_PIPE) from None
    return outcomes


def _write_predictions(predictions: Iterator[Prediction], writer: TableWriter, *, total: int | None) -> Counter[str]:
    from hilum.inference.writers import describe_source, is_failure, name_outcome

    outcomes = writer.earlier.outcomes.copy()
    shown = 0
    try:
        for prediction in _track(predictions, total=total):
            writer.write(prediction)
            outcome = name_outcome(prediction)
            outcomes[outcome] += 1
            if is_failure(outcome) and shown < _FAILURES_SHOWN:
                shown += 1
                typer.echo(f"{outcome}: {describe_source(prediction)}", err=True)
        writer.finish()
    except KeyboardInterrupt:
        raise InterruptionError(
            f"Interrupted; {writer.partial} keeps {outcomes.total():,} rows: go on with --resume."
        ) from None
    return outcomes


def _track(predictions: Iterator[Prediction], *, total: int | None) -> Iterator[Prediction]:
    return progress.track(predictions, description="Scoring", total=total, unit="pictures")


def _print_summary(outcomes: Counter[str], out: Path | None) -> None:
    """Say on stderr, which is not the table, what became of the pictures."""
    from hilum.inference.writers import is_failure

    failed = {outcome: count for outcome, count in outcomes.items() if is_failure(outcome)}
    parts = [f"{outcomes[label]:,} {label}" for label in Label]
    parts += [f"{count:,} without a verdict ({outcome})" for outcome, count in sorted(failed.items())]
    total = outcomes.total()
    typer.echo(f"{total:,} picture{'s' if total != 1 else ''}: {', '.join(parts)}", err=True)
    if out is not None:
        typer.echo(out)
    if failed:
        raise typer.Exit(1)
