from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.config import Config, load_config, read_run_config
from hilum.errors import ConfigError

pytestmark = pytest.mark.unit


@given(lr=st.floats(1e-6, 1.0), epochs=st.integers(1, 50), seed=st.integers(0, 2**31 - 1), size=st.integers(32, 512))
def test_yaml_round_trip_gives_an_equal_object(lr, epochs, seed, size, tmp_path_factory):
    config = load_config(
        overrides=[f"train.lr={lr!r}", f"train.epochs={epochs}", f"seed={seed}", f"preprocess.size={size}"]
    )
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(path) == config
    assert config.train.lr == lr


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("train:\n  epochs: 9\n  batch_size: 8\n", encoding="utf-8")
    config = load_config(path, overrides=["train.batch_size=16"])
    assert (config.train.epochs, config.train.batch_size) == (9, 16)
    assert config.train.lr == Config().train.lr


def test_a_run_keeps_its_own_settings_but_those_named(tmp_path):
    own = load_config(overrides=["evaluate.operating_point=sensitivity", "evaluate.min_sensitivity=0.99", "seed=4"])
    path = tmp_path / "c.yaml"
    path.write_text("evaluate:\n  worst: 20\n", encoding="utf-8")
    config = load_config(path, overrides=["evaluate.bootstrap=100"], base=own)
    assert config.evaluate == own.evaluate.model_copy(update={"worst": 20, "bootstrap": 100})
    assert config.seed == 4


def test_exponents_without_a_point_are_numbers():
    assert load_config(overrides=["train.lr=3e-4"]).train.lr == pytest.approx(3e-4)


def test_null_switches_an_option_off():
    assert load_config(overrides=["train.ema_decay=null"]).train.ema_decay is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.epoch=3"], ["train.epoch", "unknown key; did you mean epochs?"]),
        (["train.lr=fast"], ["train.lr"]),
        (["train.epochs"], ["section.key=value"]),
        (["seed=3", "seed.x=1"], ["seed is a value"]),
        (["train.patience=100"], ["patience"]),
        (["augment.crop_scale_min=1.5", "train.batch_size=0"], ["augment.crop_scale_min", "train.batch_size"]),
    ],
)
def test_what_does_not_fit_is_named(overrides, words):
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["train: [1, 2", "- a\n- b\n", "train:\n  unknown: 1\n", "\x00"])
def test_a_malformed_file_is_one_sentence_with_its_name(text, tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(Path("nowhere.yaml"))


def test_a_run_keeps_what_it_was_trained_with(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(Config().to_yaml(), encoding="utf-8")
    assert read_run_config(path) == load_config(path) == Config()
    # As version 0.1.0 wrote it, before strengths were graded; and with a setting that is no more.
    path.write_text("augment:\n  gamma: 0.4\n  background: 0.0\n", encoding="utf-8")
    earlier = read_run_config(path).augment
    assert (earlier.gamma, earlier.corners, earlier.graded, earlier.marks) == (0.4, 0, False, 0)
    assert (earlier.zoom_out, earlier.resolution_min, earlier.jpeg_quality_min) == (0, 1, 100)
    path.write_text("augment:\n  background: 0.5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"was trained with augment\.background, which this Hilum no longer has"):
        read_run_config(path)
