"""Whole studies on phantoms. Each worker takes seconds to import torch, so that few studies serve all tests."""

import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from hilum.cli import app
from hilum.config import load_config
from hilum.data.manifest import load_data, scan, write_manifest
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import ConfigError, HilumError, InterruptionError
from hilum.files import hold, read_json
from hilum.research.recipes import read_study
from hilum.research.sets import read_sets
from hilum.research.study import StudyOptions, locate_run, run_study

pytestmark = pytest.mark.integration

STUDY = {
    "data": "data/manifest.csv",
    "seeds": [0],
    "rank_by": "elsewhere.auroc",
    "robust": 8,
    "also": {"elsewhere": "elsewhere"},
    "settings": {
        "model.weights": "random",
        "preprocess.size": 32,
        "data.val_fraction": 0.25,
        "augment.corners": 0.0,
        "train.threads": 1,
        "train.precision": "float32",
        "train.batch_size": 8,
        "train.head_epochs": 0,
        "train.epochs": 2,
        "train.logger": "none",
    },
    "recipes": {"default": {}, "plain": {"augment.enabled": False, "train.lr": 1e-3}},
}
ONE = StudyOptions(device="cpu", jobs=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Phantoms as study data, without the test images, and phantoms of another place."""
    root = tmp_path_factory.mktemp("studies")
    data = write_phantoms(root / "data", patients=12, seed=3, size=64)
    manifest = scan(data)
    write_manifest(manifest, data / "manifest.csv")
    for path in manifest.loc[manifest["split"] == "test", "path"]:
        Path(path).unlink()  # a study must not need them
    other = write_phantoms(root / "other", patients=8, seed=9, size=64)
    shutil.copytree(other / "train", root / "elsewhere")
    return root


def write_study(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False), encoding="utf-8")
    return path


def start(folder, out, options=ONE, **changes):
    plan = read_study(write_study(folder, **changes))
    manifest = load_data(plan.data)
    splits = build_splits(manifest, val_fraction=0.25, seed=0)
    rows = run_study(plan, manifest, splits, read_sets(plan.also, manifest), out, options)
    return {(row.recipe, row.seed): row for row in rows}


@pytest.fixture(scope="module")
def studied(folder):
    """Two recipes, one seed, two runs at once."""
    out = folder / "two-jobs"
    return start(folder, out, StudyOptions(device="cpu", jobs=2, keep=1)), out


def when(found, act):
    """Call `act` in a thread as soon as `found` is true."""

    def watch():
        deadline = time.monotonic() + 600  # machines that run other things besides are slow
        while time.monotonic() < deadline:
            if found():
                act()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_every_run_is_a_run_folder_and_a_row(studied, folder):
    rows, out = studied
    assert {row.status for row in rows.values()} == {"done"}
    table = pd.read_csv(out / "study.csv")
    assert table[["recipe", "seed", "status"]].values.tolist() == [["default", 0, "done"], ["plain", 0, "done"]]
    elsewhere = scan(folder / "elsewhere", splits_matter=False)
    assert table["elsewhere.n"].tolist() == [len(elsewhere)] * 2
    for name in ("val.auroc", "val.balanced_accuracy", "robust.auroc_worst", "elsewhere.sensitivity", "elsewhere.ece"):
        assert table[name].between(0, 1).all(), name
    for (recipe, seed), row in rows.items():
        run = locate_run(out, recipe, seed)
        assert read_json(run / "figures.json") == row.figures
        history = pd.read_csv(run / "history.csv")
        assert row.figures["val.loss"] == pytest.approx(history["val_loss"].min())
        config = load_config(run / "config.yaml")
        assert (config.train.threads, config.split_seed, config.augment.enabled) == (1, 0, recipe == "default")


def test_recipes_are_summarised_and_drawn(studied):
    _, out = studied
    table = pd.read_csv(out / "recipes.csv")
    assert table["n"].tolist() == [1, 1]
    assert table["elsewhere.auroc_mean"].is_monotonic_decreasing
    assert table["elsewhere.auroc_sd"].isna().all()
    page = (out / "study.html").read_text(encoding="utf-8")
    for text in ("the test split was not read", "no difference can be told from chance", "train.lr: 0.001 (0.0003)"):
        assert text in page


def test_weights_are_kept_of_the_best_run_and_no_checkpoint(studied):
    _, out = studied
    best = pd.read_csv(out / "recipes.csv")["recipe"][0]
    assert [path.parts[-3] for path in out.glob("runs/*/*/model.safetensors")] == [best]
    assert not list(out.rglob("*.ckpt"))


def test_images_are_prepared_once_for_all_runs(studied):
    _, out = studied
    assert sorted(re.split(r"-", path.name)[0] for path in (out / "cache").glob("*.npy")) == [
        "battery", "pictures", "pictures",
    ]  # fmt: skip
    assert np.load(next((out / "cache").glob("battery*.npy")), mmap_mode="r").shape[0] == 26
    assert not list(out.glob("runs/*/*/cache"))


def test_a_study_survives_a_killed_worker_and_an_interruption(studied, folder, caplog):
    """And one run at a time gives what two at once gave."""
    out = folder / "one-job"
    first = locate_run(out, "default", 0) / "history.csv"
    second = locate_run(out, "plain", 0) / "history.csv"
    threads = [
        when(first.exists, lambda: os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)),
        when(second.exists, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ]
    with pytest.raises(InterruptionError, match="0 of 2 runs finished; the same command continues"):
        start(folder, out)
    for thread in threads:
        thread.join()
    assert not multiprocessing.active_children()
    table = pd.read_csv(out / "study.csv")
    assert table["status"].tolist() == ["failed", "pending"]
    assert "SIGKILL; the system does that where memory runs out" in table["message"][0]

    broken = {"model.weights": "nowhere.pth"}
    with caplog.at_level("INFO", logger="hilum"):
        rows = start(folder, out, recipes=STUDY["recipes"] | {"broken": broken})
    assert re.search(
        r"recipe plain, seed 0: val AUROC \d\.\d{4}, robust .*, elsewhere AUROC .* \(2 of 3, ", caplog.text
    )
    assert [row.status for row in rows.values()] == ["done", "done", "failed"]
    assert "nowhere.pth" in rows["broken", 0].message
    for name, row in studied[0].items():
        figures = {key: value for key, value in row.figures.items() if not key.endswith(("seconds", "per_second"))}
        again = {key: rows[name].figures[key] for key in figures}
        assert again == pytest.approx(figures, abs=1e-4), name


def test_the_command_prints_the_recipes(studied, folder):
    _, out = studied
    study = write_study(folder)
    done = CliRunner().invoke(app, ["study", str(study), "--out", str(out), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "Recipes by elsewhere AUROC" in done.stdout
    assert f"Report: {out / 'study.html'}" in done.stdout


def test_what_a_study_was_started_with_stays(studied, folder):
    _, out = studied
    for changes, message in (
        ({"recipes": STUDY["recipes"] | {"plain": {"train.lr": 0.01}}}, r"another recipe plain \(augment.enabled"),
        ({"recipes": {"default": {}}}, r"another list of recipes \(this one lacks plain\)"),
        ({"seeds": [1]}, r"another list of seeds \(0\)"),
        ({"robust": 0}, r"number of images for robust validation \(8\)"),
        ({"also": {}, "rank_by": "val.loss"}, "another choice of further sets"),
        ({"rank_by": "val.loss"}, r"another figure that ranks the recipes \(elsewhere\.auroc\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            start(folder, out, **changes)


def test_one_process_at_a_time_works_on_a_study(studied, folder):
    _, out = studied
    with hold(out, what="the study"), pytest.raises(HilumError, match="Another process works on the study"):
        start(folder, out)


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ("other=other", "a study must not score test"),
        ("own=data/train", "in train or val of the study's own data"),
        ("elsewhere", "write it as NAME=DATA"),
        ("a/b=other", "may hold letters"),
    ],
)
def test_further_sets_of_the_command_line_are_checked(folder, also, message, monkeypatch):
    monkeypatch.chdir(folder)
    study = write_study(folder)
    done = CliRunner().invoke(app, ["study", str(study), "--out", "refused", "--also", also])
    assert isinstance(done.exception, HilumError), done.output
    assert message in str(done.exception)
    assert not (folder / "refused").exists()
