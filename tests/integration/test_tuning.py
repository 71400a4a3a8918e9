import pandas as pd
import pytest

pytest.importorskip("optuna")

from hilum.config import load_config
from hilum.data.manifest import load_data
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import ConfigError, EvaluationError, HilumError, InterruptionError
from hilum.model.training import train
from hilum.tuning.objective import RobustJudge, choose_one_of_each_family
from hilum.tuning.report import write_report
from hilum.tuning.space import apply_values, read_space
from hilum.tuning.study import StudyOptions, locate_trial, tune

pytestmark = pytest.mark.integration

CONFIG = load_config(
    overrides=[
        "model.weights=random",
        "preprocess.size=32",
        "train.threads=1",
        "train.precision=float32",
        "train.batch_size=8",
        "train.head_epochs=0",
        "train.epochs=2",
        "train.logger=none",
    ]
)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    data = write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", patients=16, seed=3, size=64)
    manifest = load_data(data)
    for path in manifest.loc[manifest["split"] == "test", "path"]:
        (data / path).unlink()  # what searches a recipe must not need them
    return manifest, build_splits(manifest, val_fraction=0.25, seed=0)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(
        "train.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\ntrain.ema_decay: {choices: [null, 0.99, 0.995]}\n",
        encoding="utf-8",
    )
    return read_space(path, config=CONFIG)


class Judge(RobustJudge):
    """The real one on few pictures; stops or fails in the middle of a given trial, once."""

    def __init__(self, *, trial=None, error=None):
        super().__init__(pictures=8)
        self.trial = trial
        self.error = error

    def __call__(self, run, *, quick):
        if self.error is not None and run.name == f"{self.trial:04d}":
            error, self.error = self.error, None
            raise error
        return super().__call__(run, quick=quick)


@pytest.fixture(scope="module")
def studied(phantoms, space, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    study = tune(*phantoms, out, CONFIG, space, StudyOptions(2, keep=1), judge=Judge())
    write_report(study, out, space)
    return study, out


def test_every_trial_is_a_run_and_a_row(studied, space):
    study, out = studied
    table = pd.read_csv(out / "trials.csv")
    assert table["state"].tolist() == ["complete", "complete"]
    assert table["objective"].tolist() == [trial.value for trial in study.trials]
    assert table["epochs_seen"].tolist() == [2, 2]
    assert table["auroc_worst"].between(0, 1).all()
    for trial in study.trials:
        config = load_config(locate_trial(out, trial.number) / "config.yaml")
        expected = apply_values(CONFIG, trial.params)
        assert config.train == expected.train
        assert config.augment == expected.augment
    page = (out / "study.html").read_text(encoding="utf-8")
    assert "test was not read" in page


def test_the_first_trial_is_the_configuration_as_given(studied):
    study, _ = studied
    assert study.trials[0].params == {"train.lr": CONFIG.train.lr, "train.ema_decay": CONFIG.train.ema_decay}
    assert study.trials[1].params != study.trials[0].params


def test_judging_in_between_does_not_change_a_training(studied, phantoms, tmp_path):
    study, _ = studied
    plain = train(*phantoms, tmp_path / "run", CONFIG)
    assert study.trials[0].intermediate_values.keys() == {2}
    assert study.trials[0].user_attrs["val_loss"] == pytest.approx(plain.val_loss, abs=1e-7)


def test_the_best_configuration_can_be_trained_with(studied):
    study, out = studied
    assert load_config(out / "best.yaml") == apply_values(CONFIG, study.best_trial.params)


def test_weights_are_kept_of_the_best_alone_and_no_checkpoint(studied):
    study, out = studied
    kept = [path.parent.name for path in sorted((out / "trials").glob("*/model.safetensors"))]
    assert kept == [f"{study.best_trial.number:04d}"]
    assert not list((out / "trials").rglob("*.ckpt"))
    assert sorted(path.name.partition("-")[0] for path in (out / "cache").glob("*.npy")) == ["lungs", "pictures"]


def test_an_interrupted_study_goes_on_as_if_it_had_not_been(studied, phantoms, space, tmp_path):
    judge = Judge(trial=1, error=InterruptionError("stop"))
    with pytest.raises(InterruptionError, match="trial 1; the same command continues"):
        tune(*phantoms, tmp_path, CONFIG, space, StudyOptions(2), judge=judge)
    assert (locate_trial(tmp_path, 1) / "history.csv").exists()
    study = tune(*phantoms, tmp_path, CONFIG, space, StudyOptions(2), judge=judge)
    expected = [(trial.params, trial.value) for trial in studied[0].trials]
    assert [(trial.params, trial.value) for trial in study.trials] == expected
    again = tune(*phantoms, tmp_path, CONFIG, space, StudyOptions(2), judge=judge)
    assert len(again.trials) == 2


def test_another_configuration_does_not_continue_a_study(studied, phantoms, space):
    _, out = studied
    other = apply_values(CONFIG, {"train.epochs": 3})
    with pytest.raises(ConfigError, match="another configuration"):
        tune(*phantoms, out, other, space, StudyOptions(3), judge=Judge())
    with pytest.raises(ConfigError, match="another search space"):
        tune(*phantoms, out, CONFIG, {"train.lr": space["train.lr"]}, StudyOptions(3), judge=Judge())


def test_a_trial_that_fails_is_recorded_and_the_study_goes_on(studied, phantoms, space):
    _, out = studied
    judge = Judge(trial=2, error=EvaluationError("something\nodd"))
    study = tune(*phantoms, out, CONFIG, space, StudyOptions(3), judge=judge)
    write_report(study, out, space)
    last = pd.read_csv(out / "trials.csv").iloc[-1]
    assert (last["state"], last["note"]) == ("fail", "something odd")
    assert not (locate_trial(out, 2) / "model.safetensors").exists()


def test_a_study_that_never_succeeds_stops_at_once(phantoms, space, tmp_path):
    broken = apply_values(CONFIG, {"model.weights": str(tmp_path / "nowhere.pth")})
    with pytest.raises(HilumError, match=r"Trial 0 failed, and none has succeeded yet: .*nowhere"):
        tune(*phantoms, tmp_path / "study", broken, space, StudyOptions(5), judge=Judge())


def test_a_glance_looks_at_each_family_once():
    families = [condition.family for condition in choose_one_of_each_family()]
    assert len(families) == len(set(families)) > 3
