import json
import logging

import pandas as pd
import pytest
import torch

from hilum.config import Config, load_config
from hilum.data.manifest import load_data
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import ConfigError, DataError, HilumError, LeakageError, WeightsError
from hilum.model.run import read_run
from hilum.model.scoring import RunScorer
from hilum.model.training import resume, train
from hilum.model.weights import read_state
from hilum.types import Label, Score, Split

pytestmark = pytest.mark.integration

QUICK = (
    "model.weights=random",
    "preprocess.size=32",
    "train.threads=1",
    "train.precision=float32",
    "train.batch_size=8",
    "train.head_epochs=1",
    "train.epochs=2",
    "train.logger=none",
)


def configure(*settings: str) -> Config:
    return load_config(overrides=[*QUICK, *settings])


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    data = write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", patients=24, seed=3, size=64)
    manifest = load_data(data)
    return manifest, build_splits(manifest, val_fraction=0.2, seed=0)


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    result = train(*phantoms, out, configure("train.logger=tensorboard"))
    return out, result


def test_a_run_folder_carries_all_that_is_needed_to_repeat_it(trained):
    out, result = trained
    provenance = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["packages"].keys() >= {"hilum", "torch", "torchvision", "numpy"}
    assert len(provenance["manifest_hash"]) == len(provenance["splits_hash"]) == 64
    assert provenance["weights"] == {"name": "random", "sha256": ""}
    assert provenance["device"].startswith("cpu (")
    assert provenance["precision"] == "float32"
    assert provenance["timings"]["train_seconds"] > 0
    assert load_config(out / "config.yaml") == configure("train.logger=tensorboard")
    history = pd.read_csv(out / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["phase"].tolist() == ["head", "all", "all"]
    assert history["train_loss"].notna().all()
    best = history[history["best"] == 1].iloc[-1]
    assert (result.best_epoch, result.val_loss) == (best["epoch"], pytest.approx(best["val_loss"]))
    assert best["val_loss"] == history["val_loss"].min()
    assert (out / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((out / "tensorboard").glob("events.*"))
    assert not list(out.rglob("*.partial*"))


def test_how_often_each_train_picture_is_drawn_can_be_read(phantoms, tmp_path):
    out = tmp_path / "run"
    train(*phantoms, out, configure("train.balance=surroundings", "train.epochs=1"))
    draws = pd.read_csv(out / "draws.csv")
    _, splits = phantoms
    train_rows = splits[splits["split"] == Split.TRAIN]
    assert draws["label"].tolist() == train_rows["label"].tolist()
    weights = draws.groupby("label")["weight"].sum()
    assert weights[Label.NORMAL] == pytest.approx(weights[Label.PNEUMONIA])
    assert draws["evidence"].std() > 0


def test_the_saved_weights_give_the_validation_loss_of_the_best_epoch(trained, phantoms):
    out, result = trained
    _, splits = phantoms
    val = splits[splits["split"] == Split.VAL]
    scores = list(RunScorer.open(out).score(val["path"].tolist()))
    assert all(isinstance(score, Score) for score in scores)
    logits = torch.tensor([score.logit for score in scores])
    labels = torch.tensor((val["label"] == Label.PNEUMONIA).to_numpy().astype("float32"))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    assert loss.item() == pytest.approx(result.val_loss, rel=1e-4)


def test_one_seed_on_one_thread_gives_the_same_weights_and_another_seed_others(trained, phantoms, tmp_path):
    out, _ = trained
    train(*phantoms, tmp_path / "again", configure())
    train(*phantoms, tmp_path / "other", configure("seed=1", "train.epochs=1"))
    first, again, other = (
        read_state(run / "model.safetensors") for run in (out, tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_test_pictures_are_never_read(phantoms, tmp_path):
    manifest, splits = phantoms
    gone = splits.assign(path=splits["path"].where(splits["split"] != Split.TEST, "/nowhere/" + splits["sha256"]))
    result = train(manifest, gone, tmp_path / "run", configure("train.epochs=1", "train.head_epochs=0"))
    assert result.best_epoch == 1


@pytest.mark.parametrize(
    "settings",
    [
        ("train.balance=sampler", "train.ema_decay=null"),
        ("train.mixup=0.2", "augment.corners=0"),
        ("train.batch_norm=freeze", "train.balance=none", "train.clip_norm=null"),
        ("train.patience=1", "train.monitor=val_auroc", "augment.enabled=false", "model.dropout=0.2"),
    ],
)
def test_every_switch_trains(phantoms, tmp_path, settings):
    result = train(*phantoms, tmp_path / "run", configure(*settings, "train.epochs=1"))
    assert 0 <= result.val_auroc <= 1
    assert read_run(tmp_path / "run").config == configure(*settings, "train.epochs=1")


def test_a_folder_that_holds_a_run_is_refused_and_kept(trained, phantoms):
    out, _ = trained
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(HilumError, match="already holds"):
        train(*phantoms, out, configure())
    assert (out / "model.safetensors").read_bytes() == before


def test_resuming_a_finished_run_changes_nothing(trained):
    out, result = trained
    before = (out / "model.safetensors").read_bytes()
    again = resume(out)
    assert (again.best_epoch, again.val_loss) == (result.best_epoch, pytest.approx(result.val_loss))
    assert (out / "model.safetensors").read_bytes() == before


def test_resuming_with_another_configuration_names_the_keys(trained):
    out, _ = trained
    with pytest.raises(ConfigError, match=r"train\.lr"):
        resume(out, overrides=configure("train.lr=0.5", "train.logger=tensorboard"))


def test_resuming_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(HilumError, match=r"no config\.yaml"):
        resume(tmp_path)


def test_one_class_only_is_refused_before_anything_is_written(phantoms, tmp_path):
    manifest, splits = phantoms
    with pytest.raises(DataError, match="holds no NORMAL"):
        train(manifest, splits[splits["label"] == Label.PNEUMONIA], tmp_path / "run", configure())
    assert not (tmp_path / "run").exists()


def test_a_patient_in_two_splits_is_refused(phantoms, tmp_path):
    manifest, splits = phantoms
    leaking = splits.copy()
    train_patient = leaking.loc[leaking["split"] == Split.TRAIN, "patient"].iloc[0]
    leaking.loc[leaking.index[leaking["split"] == Split.VAL][0], "patient"] = train_patient
    with pytest.raises(LeakageError, match=train_patient):
        train(manifest, leaking, tmp_path / "run", configure())


def test_weights_that_do_not_fit_leave_no_run_behind(phantoms, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth do not fit"):
        train(*phantoms, tmp_path / "run", configure(f"model.weights={tmp_path / 'other.pth'}"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_picture_that_vanished_since_the_scan_is_named(phantoms, tmp_path):
    manifest, splits = phantoms
    broken = splits.copy()
    place = broken.index[broken["split"] == Split.TRAIN][0]
    broken.loc[place, "path"] = str(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"gone\.png was readable when it was scanned"):
        train(manifest, broken, tmp_path / "run", configure())
    assert not list((tmp_path / "run").rglob("pictures-*.npy"))


def test_the_log_tells_each_epoch(phantoms, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="hilum")
    train(*phantoms, tmp_path / "run", configure("train.epochs=1", "train.head_epochs=0"))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("epoch 1")]
    assert len(lines) == 1
    assert "val AUROC" in lines[0]
    assert "images/s" in lines[0]
