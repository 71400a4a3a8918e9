"""`hilum adverse`: a manifest whose validation is the train pictures with misleading surroundings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.options import DataArgument, Seed, Verbose
from hilum.errors import ConfigError


def adverse(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The manifest to write; give it to hilum train or hilum tune.")
    ],
    share: Annotated[
        float, typer.Option("--share", min=0.01, max=0.5, help="Share of each class of train that validates.")
    ] = 0.15,
    seed: Seed = None,
    verbose: Verbose = False,
) -> None:
    """Let those train pictures validate whose surroundings (all but the lungs) speak for the wrong class.

    Recipes that differ in how far they look at the lungs are told apart there. Test is not read, and the figures of a
    run on this manifest are no estimate of performance.
    """
    from hilum.data.manifest import check_replaceable, load_data, write_manifest
    from hilum.evaluation.adverse import divide_adversely

    check_replaceable(out)
    if out.exists() and data.exists() and out.samefile(data):
        raise ConfigError(f"{out} is the data itself; name another manifest to write with --out.")
    manifest, found = divide_adversely(load_data(data), share=share, seed=seed or 0)
    write_manifest(manifest, out)
    typer.echo(
        f"Surroundings alone tell the classes of train apart with an AUROC of {found.auroc:.3f}; on the "
        f"{found.chosen.sum():,} pictures that now validate with {found.auroc_chosen:.3f}."
    )
    typer.echo(f"Manifest: {out}")
