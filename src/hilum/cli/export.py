"""`hilum export`: from a run to a bundle that can be deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.bundle import Bundle, NetworkFormat, Precision
from hilum.cli import options
from hilum.cli.train import require_training


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as hilum train makes it.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="Folder to make.")],
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="int8: a quarter of the size, and the quickest. bf16: half the size, and quick where the processor "
            "computes in bfloat16. fp32: what was trained.",
        ),
    ] = Precision.INT8,
    network_format: Annotated[
        NetworkFormat, typer.Option("--format", help="onnx: for other runtimes; fp32 only.")
    ] = NetworkFormat.OPENVINO,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model.", show_default="that of the run's folder")
    ] = None,
    model_version: Annotated[str, typer.Option("--model-version", help="Version of the model.")] = "1",
    licence: Annotated[str, typer.Option("--licence", metavar="TEXT", help="Licence of the model.")] = "not stated",
    weights_licence: Annotated[
        str | None,
        typer.Option(
            "--weights-licence",
            metavar="TEXT",
            help="Licence of the initial weights.",
            show_default="what is known by their name",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write the bundle though its network differs too much from the trained one.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Take a run whose training has not come to its end as it is.")
    ] = False,
    device: options.Device = "auto",
    verbose: options.Verbose = False,
) -> None:
    """Turn RUN into a bundle: the network without torch, with all that a prediction needs.

    The exported network is checked against the trained one on the run's validation pictures, and refused where the
    AUROC drops by more than 0.002 or more than 1 % of the verdicts change. Temperature and thresholds are fitted anew.
    """
    require_training()
    from hilum.export import ExportOptions, export_run

    chosen = ExportOptions(
        precision,
        network_format,
        name=name,
        version=model_version,
        licence=licence,
        weights_licence=weights_licence,
        force=force,
        unfinished=unfinished,
        device=device,
    )
    print_bundle(export_run(run, out, options=chosen))


def print_bundle(bundle: Bundle) -> None:
    """Say what was made, and how it compares with the trained network."""
    spec, parity = bundle.spec, bundle.spec.parity
    megabytes = sum((bundle.folder / file).stat().st_size for file in spec.files) / 1e6
    typer.echo(
        f"{spec.name} {spec.version}, {spec.precision}, {megabytes:.1f} MB. On {parity.n:,} pictures of val: "
        f"AUROC {parity.auroc_exported:.4f} ({parity.auroc_trained:.4f} as trained), {parity.changed_verdicts:,} "
        f"verdicts changed, largest difference of a logit {parity.max_logit_difference:.2g}."
    )
    typer.echo(f"Bundle: {bundle.folder}")
