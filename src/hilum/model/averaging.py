"""One network from several: the mean of the weights of runs that started from the same pre-trained ones.

Fine-tunings of one initialisation lie in one basin, so that the mean of their weights is a network too, often a better
one where pictures differ from those of training, at the cost of one (model soups, Wortsman et al. 2022,
arXiv:2203.05482).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hilum.data.manifest import read_manifest
from hilum.data.splits import hash_splits
from hilum.errors import ConfigError
from hilum.files import new_folder, sha256_file
from hilum.model import run as run_folder
from hilum.model.network import RadiographNet, count_outputs
from hilum.model.run import Run, read_run
from hilum.model.weights import load_strictly, read_state, save_network


def average_runs(folders: Sequence[Path], out: Path) -> Path:
    """Write a run folder whose weights are the mean of those of `folders`; configuration and data are the first's.

    BatchNorm statistics are averaged like weights. What was val for each is val for the mean, so it can be evaluated
    and exported as any run.

    Raises:
        ConfigError: fewer than two runs, or runs that differ in splits, preprocessing, task or initial weights.
        HilumError: a folder is no run, or `out` holds one already.
    """
    runs = [read_run(folder) for folder in folders]
    _check_alike(runs)
    first = runs[0]
    if run_folder.is_run(out):
        raise ConfigError(f"{out} already holds a run; name another folder with --out.")
    states = [read_state(run.weights) for run in runs]
    mean = average_states(states)
    network = RadiographNet(outputs=count_outputs(first.config))
    load_strictly(network, mean, source="mean of the runs")
    new_folder(out, marker=run_folder.CONFIG)
    averaged = [
        {
            "folder": run.folder.name,
            "seed": run.config.seed,
            "weights_sha256": sha256_file(run.weights),
            "git_commit": run.provenance["git_commit"],
        }
        for run in runs
    ]
    provenance = {**first.provenance, **run_folder.describe_environment(), "averaged": averaged, "timings": {}}
    save_network(network, out / run_folder.WEIGHTS)
    manifest = read_manifest(first.folder / run_folder.MANIFEST)
    run_folder.write_run(out, manifest, first.splits, first.config, provenance)
    run_folder.seal(out)
    return out


def average_states(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor, computed in float64; counters are those of the first."""
    first = states[0]
    return {
        key: torch.stack([state[key].double() for state in states]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }


def _check_alike(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise ConfigError("An average needs two runs or more.")
    first = runs[0]
    for run in runs[1:]:
        pairs = {
            "splits": (hash_splits(run.splits), hash_splits(first.splits)),
            "preprocessing": (run.config.preprocess, first.config.preprocess),
            "task": (run.config.task, first.config.task),
            "initial weights": (run.provenance["weights"]["sha256"], first.provenance["weights"]["sha256"]),
        }
        different = [name for name, (own, others) in pairs.items() if own != others]
        if different:
            raise ConfigError(
                f"{run.folder} differs from {first.folder} in its {' and '.join(different)}; only like runs average."
            )
    if not first.provenance["weights"]["sha256"]:
        raise ConfigError("Runs that started from random weights do not average: they lie in different basins.")
