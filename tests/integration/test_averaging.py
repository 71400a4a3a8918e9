import shutil

import pytest
import torch
from tests.quick_run import write_quick_run

from hilum.config import load_config
from hilum.data.manifest import load_data
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import ConfigError
from hilum.files import read_json, write_json
from hilum.model.averaging import average_runs
from hilum.model.run import PROVENANCE, WEIGHTS, read_run, seal
from hilum.model.scoring import RunScorer
from hilum.model.weights import read_state, save_network

pytestmark = pytest.mark.integration

CONFIG = load_config(overrides=["preprocess.size=32", "data.val_fraction=0.25"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in the last layer alone, both as if they had started from one file."""
    root = tmp_path_factory.mktemp("runs")
    manifest = load_data(write_phantoms(root / "data", patients=12, seed=3, size=64))
    first, second = root / "first", root / "second"
    first.mkdir()
    network = write_quick_run(first, manifest, build_splits(manifest, val_fraction=0.25, seed=0), CONFIG)
    provenance = read_json(first / PROVENANCE)
    write_json(first / PROVENANCE, {**provenance, "weights": {"name": "imagenet", "sha256": "ab"}})
    seal(first)
    shutil.copytree(first, second)
    with torch.no_grad():
        network.fc.weight.mul_(3)
    save_network(network, second / WEIGHTS)
    seal(second)
    return first, second


def test_the_mean_of_two_runs_is_a_run(runs, tmp_path):
    out = average_runs(runs, tmp_path / "mean")
    one, three, mean = (read_state(folder / WEIGHTS) for folder in (*runs, out))
    torch.testing.assert_close(mean["fc.weight"], 2 * one["fc.weight"])
    torch.testing.assert_close(three["fc.weight"], 3 * one["fc.weight"])
    torch.testing.assert_close(mean["conv1.weight"], one["conv1.weight"])
    run = read_run(out)
    assert run.splits["split"].tolist() == read_run(runs[0]).splits["split"].tolist()
    assert [entry["folder"] for entry in run.provenance["averaged"]] == ["first", "second"]
    scorer = RunScorer.open(out)
    assert scorer.describe()["Seed"] == "mean of the weights of first (seed 0), second (seed 0)"
    row = run.splits.iloc[0]
    logits = [next(iter(RunScorer.open(folder).score([row["path"]]))).logit for folder in (*runs, out)]
    assert logits[2] == pytest.approx((logits[0] + logits[1]) / 2, abs=1e-3)  # they differ in a linear layer alone


def test_runs_that_are_not_alike_do_not_average(runs, tmp_path):
    with pytest.raises(ConfigError, match="two runs or more"):
        average_runs(runs[:1], tmp_path / "mean")
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    write_json(other / PROVENANCE, {**read_json(other / PROVENANCE), "weights": {"name": "imagenet", "sha256": "cd"}})
    seal(other)
    with pytest.raises(ConfigError, match=r"other differs from .*first in its initial weights"):
        average_runs([runs[0], other], tmp_path / "mean")
    with pytest.raises(ConfigError, match="already holds a run"):
        average_runs(runs, other)
