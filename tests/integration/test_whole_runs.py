"""A run folder is whole or says what is wrong: unfinished, altered, damaged checkpoints, two trainings at once."""

from __future__ import annotations

import json
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
import torch

from hilum.bundle import Precision
from hilum.config import Config, load_config
from hilum.data.cache import open_cache, read_prepared
from hilum.data.manifest import scan
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import BundleError, ConfigError, DataError, HilumError
from hilum.export import ExportOptions, export_run
from hilum.inference.runtime import Network
from hilum.model.run import COMPLETE, WEIGHTS, read_run
from hilum.model.scoring import RunScorer
from hilum.model.training import resume, train
from hilum.model.weights import read_state

pytestmark = pytest.mark.integration

LUNGS = (
    "preprocess.size=64", "preprocess.field=80", "model.weights=random", "train.head_epochs=1", "train.epochs=2",
    "train.batch_size=8", "train.logger=none", "train.threads=1", "augment.corners=0", "train.freeze=layer1",
)  # fmt: skip


def configure(*settings: str) -> Config:
    return load_config(overrides=[*LUNGS, *settings])


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    root = write_phantoms(tmp_path_factory.mktemp("data") / "phantoms", patients=20, size=96, seed=3)
    manifest = scan(root)
    return manifest, build_splits(manifest, val_fraction=0.3, seed=0)


class StopError(Exception):
    """Raised after an epoch, as a kill would come."""


def stop_after(epochs: int):
    def hook(_, row):
        if row["epoch"] == epochs:
            raise StopError

    return hook


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    train(*phantoms, out, configure())
    return out


def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def test_a_run_on_lungs_scores_alike_in_torch_and_as_a_bundle(trained, phantoms, tmp_path):
    scorer = RunScorer.open(trained)
    assert scorer.spec.field == 80
    options = ExportOptions(Precision.FP32, force=True)
    bundle = export_run(trained, tmp_path / "bundle", options=options)
    assert bundle.spec.schema_version == 2
    rows = phantoms[1][phantoms[1]["split"] == "test"]
    pictures = np.stack([read_prepared(path, scorer.spec) for path in rows["path"]])
    output = Network.open(bundle).infer(pictures)
    np.testing.assert_allclose(output.logit, scorer.score_prepared(pictures), atol=2e-3)
    assert (output.box != [0, 1, 0, 1]).any(axis=1).all()
    scores = scorer.score_pictures(pictures)
    assert scores[0].cam.shape == (64, 64)
    assert scores[0].cam[0, 0] == 0  # the corner lies outside of the lungs


def test_frozen_stages_stay_as_they_were(phantoms, tmp_path):
    runs = [tmp_path / name for name in ("slow", "quick")]
    for run, rate in zip(runs, ("1e-4", "1e-2"), strict=True):
        settings = ("train.epochs=1", "train.head_epochs=0", "train.freeze=layer3", f"train.lr={rate}")
        train(*phantoms, run, configure(*settings))
    one, two = (read_state(run / WEIGHTS) for run in runs)
    for name in one:
        if name.startswith(("conv1", "bn1", "layer1", "layer2", "layer3")):
            assert torch.equal(one[name], two[name]), name
    assert not torch.equal(one["layer4.0.conv1.weight"], two["layer4.0.conv1.weight"])


def test_the_seal_names_all_that_makes_a_run(trained):
    files = json.loads((trained / COMPLETE).read_text())["files"]
    assert set(files) == {
        "config.yaml", "manifest.csv", "splits.csv", "provenance.json", "model.safetensors", "history.csv",
    }  # fmt: skip
    assert read_run(trained).folder == trained


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "splits.csv", "history.csv"])
def test_an_altered_file_is_named(trained, tmp_path, name):
    run = copy(trained, tmp_path)
    content = bytearray((run / name).read_bytes())
    half = len(content) // 2
    content[half : half + 8] = bytes(8)
    (run / name).write_bytes(bytes(content))
    with pytest.raises(HilumError, match=name):
        read_run(run)


def test_an_unfinished_run_is_read_only_when_asked_for(phantoms, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(StopError):
        train(*phantoms, out, configure(), on_epoch=stop_after(2))
    assert not (out / COMPLETE).exists()
    with pytest.raises(BundleError, match="has not come to its end"):
        read_run(out)
    with pytest.raises(BundleError, match="--unfinished"):
        export_run(out, tmp_path / "bundle")
    assert read_run(out, unfinished=True).folder == out
    resume(out)
    assert read_run(out).folder == out


def test_a_run_of_before_without_a_seal_is_read_when_its_history_is_whole(trained, tmp_path):
    run = copy(trained, tmp_path)
    (run / COMPLETE).unlink()
    assert read_run(run).folder == run


@pytest.mark.parametrize("damage", ["cut", "zeroed", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_it(phantoms, tmp_path, damage, caplog, trained):
    out = tmp_path / "run"
    with pytest.raises(StopError):
        train(*phantoms, out, configure("train.epochs=3"), on_epoch=stop_after(3))
    last, before = out / "checkpoints" / "last.ckpt", out / "checkpoints" / "before-last.ckpt"
    # Checkpoints lie 30 s apart at least: make the one that there is both.
    shutil.copy(last, before)
    content = bytearray(last.read_bytes())
    if damage == "cut":
        last.write_bytes(bytes(content[: len(content) // 2]))
    elif damage == "zeroed":
        middle = len(content) // 2
        content[middle : middle + 4096] = bytes(4096)
        last.write_bytes(bytes(content))
    else:
        last.unlink()
    resume(out)
    assert len(pd.read_csv(out / "history.csv")) == 4
    if damage != "missing":
        assert "Continuing from the one before it" in caplog.text
    assert read_run(out).folder == out


def test_two_trainings_into_one_folder_are_kept_apart(phantoms, tmp_path):
    out = tmp_path / "run"
    outcomes: list[object] = []
    inside = threading.Event()

    def begin(*_):
        inside.set()
        try:
            train(*phantoms, out, configure())
        except HilumError as error:
            outcomes.append(error)

    train(*phantoms, out, configure("train.epochs=1"), on_epoch=lambda *_: None if inside.is_set() else begin())
    (error,) = outcomes
    assert "already holds a run" in str(error) or "Another process works on the run" in str(error)
    assert read_run(out).folder == out


def test_a_zeroed_cache_is_made_anew(phantoms, tmp_path, caplog):
    manifest, _ = phantoms
    rows = manifest.head(6)
    spec = configure().preprocess
    arguments = (rows["path"].tolist(), rows["sha256"].tolist(), spec, tmp_path)
    expected = np.array(open_cache(*arguments))
    (file,) = tmp_path.glob("pictures-*.npy")
    content = bytearray(file.read_bytes())
    content[-500:] = bytes(500)
    file.write_bytes(bytes(content))
    assert np.array_equal(open_cache(*arguments), expected)
    assert "is damaged; it is made anew" in caplog.text


def test_pictures_that_changed_since_the_scan_do_not_train(phantoms, tmp_path):
    manifest, _ = phantoms
    rows = manifest.head(4)
    hashes = [*rows["sha256"].iloc[1:], rows["sha256"].iloc[0]]
    with pytest.raises(DataError, match="has changed since it was scanned"):
        open_cache(rows["path"].tolist(), hashes, configure().preprocess, tmp_path)


def test_an_empty_configuration_of_a_run_is_refused(trained, tmp_path):
    run = copy(trained, tmp_path)
    (run / COMPLETE).unlink()
    (run / "config.yaml").write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        read_run(run)
