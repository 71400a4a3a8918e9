"""`hilum run` and `hilum demo`: from pictures to a report, in one command."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli import options
from hilum.cli.evaluate import print_evaluation
from hilum.cli.explore import build_extra_sections
from hilum.cli.judging import Part, evaluate_run
from hilum.cli.train import load_splits, print_training, require_device, require_training, start_training
from hilum.errors import HilumError

if TYPE_CHECKING:
    import pandas as pd

    from hilum.config import Config
    from hilum.data.audit import Audit
    from hilum.report.render import Section

logger = logging.getLogger(__name__)

# Small pictures and random weights: the demonstration needs no download and takes minutes on two cores.
DEMO_SETTINGS = (
    "model.weights=random",
    "preprocess.size=64",
    "train.head_epochs=0",
    "train.epochs=24",
    "train.batch_size=16",
    "train.lr=1.4e-3",
    "train.layer_decay=1.0",
    "train.balance=none",
    "train.ema_decay=0.96",
    # Twenty-four short epochs of small pictures from chance are too few to learn what the full augmentation asks for.
    "augment.graded=false",
    "augment.crop_scale_min=0.8",
    "augment.aspect_jitter=0.2",
    "augment.rotate_degrees=10",
    "augment.zoom_out=0",
    "augment.brightness=0.25",
    "augment.contrast=0.3",
    "augment.gamma=0.4",
    "augment.display=0.3",
    "augment.noise=0.03",
    "augment.blur=0",
    "augment.erase_probability=0",
    "augment.marks=0",
    "augment.acquisition_probability=0",
)
DEMO_PATIENTS = 400


def run(
    data: options.DataArgument,
    out: options.OutFolder,
    config: options.ConfigFile = None,
    settings: options.Overrides = None,
    weights: options.Weights = None,
    task: options.TaskOption = None,
    ledger: options.Ledger = None,
    shortcuts: Annotated[
        bool,
        typer.Option(help="Check whether the network looks at the lungs; some minutes on two cores at 224 px."),
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted 'hilum run' left off.")] = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Check and explore DATA, fine-tune ResNet-50 on it, evaluate it, and write DIR/report.html."""
    require_training()
    resolved = options.resolve_config(config, settings, weights=weights, seed=seed, task=task)
    require_device(device)
    run_pipeline(
        data, out, resolved,
        resume=resume, command=shlex.join(["hilum", *sys.argv[1:]]), ledger=ledger, shortcuts=shortcuts,
        device=device,
    )  # fmt: skip


def demo(
    out: options.OutFolder = Path("demo"),
    device: options.Device = "auto",
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Draw synthetic radiographs and do with them all that 'hilum run' does, from random weights, in a few minutes."""
    require_training()
    require_device(device)
    from hilum.data.phantom import write_phantoms

    resolved = options.resolve_config(None, list(DEMO_SETTINGS), weights=None, seed=seed)
    data = write_phantoms(out / "data", patients=DEMO_PATIENTS, seed=resolved.seed)
    run_pipeline(data, out, resolved, resume=False, command=shlex.join(["hilum", *sys.argv[1:]]), device=device)


def run_pipeline(
    data: Path,
    out: Path,
    config: Config,
    *,
    resume: bool,
    command: str,
    ledger: Path | None = None,
    shortcuts: bool = True,
    device: str = "auto",
) -> None:
    """Scan, explore, train, evaluate, export; each stage reads what the one before wrote.

    Raises:
        HilumError: `out` holds an earlier result and `resume` is not asked for, or a stage cannot do its work.
    """
    from hilum.bundle import Precision, is_bundle
    from hilum.config import read_run_config
    from hilum.data.manifest import read_manifest
    from hilum.evaluation.evaluate import METRICS
    from hilum.evaluation.writing import REPORT
    from hilum.export import ExportOptions, export_run
    from hilum.files import read_json, write_text
    from hilum.model import run as run_folder
    from hilum.model.scoring import RunScorer

    folders = {name: out / name for name in ("eda", "run", "evaluation")}
    if not resume and any(folder.exists() for folder in folders.values()):
        raise HilumError(f"{out} already holds a run; go on with --resume, or name another folder with --out.")
    report = out / "report.html"
    if report.exists():
        typer.echo(f"Nothing is left to do. Report: {report}")
        return

    typer.echo(f"1/4 Explore {data}")
    resumed = run_folder.is_run(folders["run"])
    if resumed:
        config = read_run_config(folders["run"] / run_folder.CONFIG)
        manifest = read_manifest(folders["run"] / run_folder.MANIFEST)
    else:
        manifest, splits = load_splits(data, config)
        _explore(manifest, splits, folders["eda"], config, source=str(data))
    numbers = read_json(folders["eda"] / "eda.json")

    typer.echo(f"2/4 Train on split train, choose on val; weights: {config.model.weights}")
    if resumed:
        from hilum.model import training

        print_training(training.resume(folders["run"], device=device))
    else:
        print_training(start_training(manifest, splits, folders["run"], config, device=device))

    typer.echo("3/4 Evaluate on split test")
    failed = len(numbers["unreadable"])
    if not (folders["evaluation"] / METRICS).exists():
        result = evaluate_run(
            RunScorer.open(folders["run"], device=device),
            manifest,
            folders["evaluation"],
            split=Part.TEST,
            settings=config.evaluate,
            seed=config.seed,
            data=str(data),
            command=command,
            ledger=ledger,
            shortcuts=shortcuts,
            metadata_auroc=_find_metadata_auroc(numbers),
            sections=[_summarise_exploration(numbers, folders["eda"])],
        )
        print_evaluation(result)
        failed += result.failed

    typer.echo("4/4 Export the network as a bundle, in float32")
    if not is_bundle(out / "bundle"):
        chosen = ExportOptions(Precision.FP32, name=out.resolve().name, device=device)
        export_run(folders["run"], out / "bundle", options=chosen)
    typer.echo(f"Bundle: {out / 'bundle'}")
    write_text(report, (folders["evaluation"] / REPORT).read_text(encoding="utf-8"))
    typer.echo(f"Exploration: {folders['eda'] / 'eda.html'}")
    typer.echo(str(report))
    if failed:
        raise typer.Exit(1)


def _explore(manifest: pd.DataFrame, splits: pd.DataFrame, out: Path, config: Config, *, source: str) -> Audit:
    from hilum.data.audit import build_audit

    sections = build_extra_sections(splits, out, config)
    audit = build_audit(manifest, splits, out, seed=config.seed, source=source, extra_sections=sections)
    for finding in audit.findings:
        typer.echo(f"    {finding.severity:<8} {finding.text}")
    return audit


def _find_metadata_auroc(numbers: dict[str, Any]) -> float | None:
    """Return the better of the classifiers on file metadata alone, as the exploration measured it on test."""
    scores = [row["test"]["auroc"] for row in numbers["shortcut"]["together"] if "test" in row]
    return max((score for score in scores if score is not None), default=None)


def _summarise_exploration(numbers: dict[str, Any], eda: Path) -> Section:
    from hilum.report.render import Figure, Finding, Findings, Section, Severity

    found = [Finding(Severity(item["severity"]), item["text"]) for item in numbers["findings"]]
    sheet = eda / "figures" / "augmentation.png"
    blocks: list[Any] = [
        "What was found in the data before anything was trained; the whole exploration is in eda/eda.html.",
        Findings(found),
    ]
    if sheet.is_file():
        blocks.append(
            Figure(
                sheet,
                title="Augmented training pictures",
                caption="Each row shows a training picture and what the network was shown of it in different epochs.",
                alt="Rows of radiographs: the first of each row as it is, changed versions beside it.",
                wide=True,
            )
        )
    return Section("The data before training", blocks)
