import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from .conftest import QUICK

pytestmark = pytest.mark.e2e


def wait_for(path, process, seconds=120):
    for _ in range(seconds * 20):
        if path.exists():
            return
        if process.poll() is not None:
            raise AssertionError(f"ended early: {process.stderr.read()}")
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


@pytest.fixture(scope="module")
def uninterrupted(hilum, phantoms, tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    done = hilum("train", phantoms, "--out", run, *QUICK)
    assert done.returncode == 0, done.stderr
    return load_file(run / "model.safetensors"), (run / "history.csv").read_text(encoding="utf-8")


def drop_timings(history):
    return [line.split(",")[:-2] for line in history.splitlines()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_training_stopped_in_any_way_resumes_to_the_same_weights(
    uninterrupted, start_hilum, hilum, phantoms, tmp_path, number, code
):
    run = tmp_path / "run"
    process = start_hilum("train", phantoms, "--out", run, *QUICK)
    wait_for(run / "checkpoints" / "last.ckpt", process)  # at least the first epoch is done
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    if code == 130:
        assert "--resume" in errors.splitlines()[-1]
        assert "Traceback" not in errors
    done = hilum("train", phantoms, "--out", run, "--resume")
    assert done.returncode == 0, done.stderr
    weights, history = uninterrupted
    resumed = load_file(run / "model.safetensors")
    assert all(torch.equal(weights[key], resumed[key]) for key in weights)
    assert drop_timings((run / "history.csv").read_text(encoding="utf-8")) == drop_timings(history)


def test_a_run_stopped_before_its_first_epoch_starts_anew(start_hilum, hilum, phantoms, tmp_path):
    run = tmp_path / "run"
    process = start_hilum("train", phantoms, "--out", run, *QUICK)
    wait_for(run / "config.yaml", process)
    process.kill()
    process.communicate(timeout=60)
    assert not (run / "checkpoints" / "last.ckpt").exists()
    done = hilum("train", phantoms, "--out", run, "--resume")
    assert done.returncode == 0, done.stderr
    assert len((run / "history.csv").read_text(encoding="utf-8").splitlines()) == 4
