"""`hilum config` and `hilum doctor`: nothing is left out, and what is shown is what is in force."""

import pytest
from typer.testing import CliRunner

from hilum.cli import app
from hilum.cli.doctor import list_facts
from hilum.cli.settings import list_settings
from hilum.config import Config, load_config

pytestmark = pytest.mark.unit


def flatten(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_setting_is_listed_with_value_and_default():
    listed = {
        key: (value, default) for key, value, default, _ in list_settings(load_config(overrides=["train.lr=1e-4"]))
    }
    assert list(listed) == list(flatten(Config().model_dump()))
    assert listed["train.lr"] == (1e-4, Config().train.lr)
    assert all(value == default for key, (value, default) in listed.items() if key != "train.lr")


def test_the_command_prints_a_setting_and_what_it_means():
    done = CliRunner().invoke(app, ["config", "--set", "preprocess.field=320"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    line = next(line for line in done.output.splitlines() if "preprocess.field" in line)
    assert "320" in line
    assert "null" in line
    assert "lungs are found" in line


def test_doctor_says_what_there_is_and_what_is_missing():
    facts = dict(list_facts())
    assert "openvino" in facts["Packages"]
    assert "OpenVINO" in facts["Predicting"]
    assert facts["Packaged model"].endswith("whole")
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for extra in ("train", "export", "tune", "fetch", "parquet", "mlflow"):
        said = facts[f"Extra {extra}"]
        assert said.startswith("there") or f"pip install 'hilum[{extra}]'" in said
        assert f"Extra {extra}" in done.output
