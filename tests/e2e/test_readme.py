"""The commands of README and guide are run where that is quick, and their verbs and options are checked in any case."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from .conftest import QUICK

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/guide.md", "README.md")
README = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
COMMANDS = sorted({line.partition("#")[0].strip() for line in re.findall(r"^ {4}(hilum .*)$", README, re.MULTILINE)})


def test_there_are_commands_to_check():
    assert {command.split()[1] for command in COMMANDS} >= {"run", "scan", "explore", "train", "evaluate", "export"}


@pytest.mark.parametrize("command", COMMANDS)
def test_verbs_and_options_exist(command, hilum):
    words = shlex.split(command)
    done = hilum(words[1], "--help")
    assert done.returncode == 0, command
    for option in (word for word in words[2:] if word.startswith("--")):
        assert option in done.stdout, option


def test_the_steps_work_one_after_the_other(finished, hilum, phantoms, tmp_path):
    _, out = finished
    (tmp_path / "runs").mkdir()
    shutil.copytree(phantoms, tmp_path / "data" / "chest_xray")
    shutil.copytree(out, tmp_path / "runs" / "first")
    # A download, what `finished` has run already, and what has tests of its own.
    skipped = ("fetch", "run", "predict", "study", "tune", "robust", "recalibrate", "average", "bench")
    steps = [line.partition("#")[0].strip() for line in re.findall(r"^ {4}(hilum .*)$", README, re.MULTILINE)]
    for step in steps:
        words = shlex.split(step)[1:]
        if words[0] in skipped:
            continue
        if words[0] == "train":
            words = [word if not word.startswith("train.epochs") else "train.epochs=1" for word in words]
            words += QUICK if "--resume" not in words else []
        if words[0] == "export":
            words = [word if word != "int8" else "fp32" for word in words]  # a random network does not survive int8
        done = hilum(*words, cwd=tmp_path)
        assert done.returncode == 0, (step, done.stderr)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_file_that_the_readme_links_is_there():
    for name in re.findall(r"\(([\w/]+\.(?:md|png|jpg))\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name
