"""What stands in benchmarks/ can be run; how fast it says anything is, no test asks."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.e2e


def test_the_training_loop_is_compared(phantoms, tmp_path):
    script = [sys.executable, str(ROOT / "benchmarks" / "training_loop.py"), str(phantoms)]
    options = ["--images", "32", "--rounds", "1", "--size", "32", "--json", str(tmp_path / "loop.json")]
    done = subprocess.run([*script, *options], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "loop.json").read_text(encoding="utf-8"))
    ours, floor = result["hilum_images_per_second"], result["bare_images_per_second"]
    assert result["median_ratio"] == pytest.approx(ours[0] / floor[0])
