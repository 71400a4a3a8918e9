"""`hilum robust` on a run: figures of every condition, and no second look into a folder that has some."""

import json

import pytest

from hilum.config import Config
from hilum.data.manifest import load_data
from hilum.data.splits import build_splits, read_splits
from hilum.evaluation.battery import BATTERY
from hilum.model.device import choose_device, describe_device
from hilum.preprocess import PreprocessSpec
from tests.quick_run import write_quick_run

from .test_bad_input import expect_one_sentence

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quick"
    manifest = load_data(phantoms)
    config = Config(preprocess=PreprocessSpec(size=32))
    write_quick_run(folder, manifest, build_splits(manifest, val_fraction=0.3, seed=0), config)
    return folder


def test_a_run_is_scored_under_every_condition(hilum, run, tmp_path):
    finished = hilum("robust", run, "--out", tmp_path / "robust")
    assert finished.returncode == 0, finished.stderr
    content = json.loads((tmp_path / "robust" / "robust.json").read_text(encoding="utf-8"))
    assert [entry["condition"] for entry in content["conditions"]] == [condition.name for condition in BATTERY]
    device = choose_device("auto")
    assert content["device"] == describe_device(device)
    assert content["precision"] in ("float32", "bfloat16", "float16")
    assert content["n"] == (load_val(run)["label"] != "").sum()
    assert 0 < content["summary"]["objective"] <= 1
    assert f"Objective {content['summary']['objective']:.4f}" in finished.stdout
    assert (tmp_path / "robust" / "robust.png").stat().st_size > 10_000
    expect_one_sentence(hilum("robust", run, "--out", tmp_path / "robust"), 2, "already holds", "--out")


def load_val(run):
    splits = read_splits(run / "splits.csv")
    return splits[splits["split"] == "val"]


def test_a_folder_that_is_no_run_is_refused(hilum, tmp_path):
    expect_one_sentence(hilum("robust", tmp_path, "--out", tmp_path / "out"), 2, "is not a run folder")
