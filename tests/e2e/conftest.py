import os
import subprocess
import sys
from pathlib import Path

import pytest

from hilum.data.phantom import write_phantoms

HILUM = Path(sys.executable).with_name("hilum")

QUICK = [
    *("--weights", "random"),
    *("--set", "preprocess.size=32"),
    *("--set", "train.threads=1"),
    *("--set", "train.precision=float32"),
    *("--set", "train.batch_size=8"),
    *("--set", "train.head_epochs=1"),
    *("--set", "train.epochs=2"),
    *("--set", "evaluate.bootstrap=100"),
]


@pytest.fixture(scope="session")
def hilum():
    """Run the installed command; returns the finished process with its output as text."""

    def run(*arguments, **options):
        return subprocess.run(
            [HILUM, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=os.environ | {"COLUMNS": "200"},
            **options,
        )

    return run


@pytest.fixture(scope="session")
def start_hilum():
    """Start the installed command and return the running process."""

    def start(*arguments):
        return subprocess.Popen(
            [HILUM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        )

    return start


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", patients=32, seed=5, size=64)


@pytest.fixture(scope="session")
def finished(hilum, phantoms, tmp_path_factory):
    """One whole `hilum run`, shared by the tests that look at what it left."""
    out = tmp_path_factory.mktemp("e2e") / "result"
    return hilum("run", phantoms, "--out", out, *QUICK), out
