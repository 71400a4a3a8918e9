"""What a user can get wrong: one clear sentence, the right exit code, no traceback, no half-written file."""

import resource
import shutil

import pytest
import torch
import torchvision

from hilum.bundle import packaged_bundle

from .conftest import QUICK

pytestmark = pytest.mark.e2e


def expect_one_sentence(done, code, *words):
    assert done.returncode == code, done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("hilum: "), done.stderr
    for word in words:
        assert word in last, last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["scan", "explore", "train", "run"])
def test_a_missing_or_empty_folder(hilum, tmp_path, verb):
    quick = QUICK if verb in ("train", "run") else []
    out = tmp_path / "out" / ("manifest.csv" if verb == "scan" else "")
    expect_one_sentence(hilum(verb, tmp_path / "nowhere", "--out", out, *quick), 2, "nowhere")
    (tmp_path / "empty").mkdir()
    expect_one_sentence(hilum(verb, tmp_path / "empty", "--out", out, *quick), 2, "empty")


def test_one_class_only(hilum, phantoms, tmp_path):
    shutil.copytree(phantoms, tmp_path / "data", ignore=shutil.ignore_patterns("NORMAL"))
    expect_one_sentence(hilum("train", tmp_path / "data", "--out", tmp_path / "run", *QUICK), 2, "NORMAL")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_without_a_test_folder_training_works_and_evaluation_explains(hilum, phantoms, tmp_path):
    shutil.copytree(phantoms / "train", tmp_path / "data" / "train")
    done = hilum("train", tmp_path / "data", "--out", tmp_path / "run", *QUICK)
    assert done.returncode == 0, done.stderr
    refused = hilum("evaluate", tmp_path / "run", tmp_path / "data", "--out", tmp_path / "evaluation")
    expect_one_sentence(refused, 2, "no test pictures", "--split val")
    assert not (tmp_path / "evaluation" / "metrics.json").exists()
    flattering = hilum("evaluate", tmp_path / "run", tmp_path / "data", "--out", tmp_path / "val", "--split", "val")
    assert flattering.returncode == 0, flattering.stderr


def test_unreadable_pictures_are_reported_and_the_rest_is_used(hilum, phantoms, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    victims = [sorted((data / split / "PNEUMONIA").iterdir())[0] for split in ("train", "test")]
    victims[0].write_bytes(victims[0].read_bytes()[:500])
    victims[1].write_bytes(b"")
    scanned = hilum("scan", data, "--out", tmp_path / "manifest.csv")
    assert scanned.returncode == 1
    assert all(victim.name in scanned.stdout for victim in victims)
    done = hilum("run", data, "--out", tmp_path / "out", *QUICK)
    assert done.returncode == 1, done.stderr
    rows = (tmp_path / "out" / "evaluation" / "predictions.csv").read_text(encoding="utf-8").splitlines()
    failed = [row for row in rows if victims[1].name in row]
    assert len(failed) == 1
    assert ",unreadable,,,," in failed[0]
    assert victims[0].name in (tmp_path / "out" / "run" / "manifest.csv").read_text(encoding="utf-8")


def test_weights_of_another_network(hilum, phantoms, tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    done = hilum("train", phantoms, "--out", tmp_path / "run", *QUICK, "--weights", tmp_path / "resnet18.pth")
    expect_one_sentence(done, 2, "resnet18.pth", "do not fit ResNet-50")


def test_a_run_folder_that_exists_already(hilum, finished, phantoms):
    _, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    expect_one_sentence(hilum("train", phantoms, "--out", out / "run", *QUICK), 2, "already holds", "--resume")
    done = hilum("evaluate", out / "run", phantoms, "--out", out / "evaluation")
    expect_one_sentence(done, 2, "already holds")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_a_malformed_configuration(hilum, phantoms, tmp_path):
    (tmp_path / "c.yaml").write_text("train:\n  epochz: 3\n", encoding="utf-8")
    done = hilum("train", phantoms, "--out", tmp_path / "run", "--config", tmp_path / "c.yaml")
    expect_one_sentence(done, 2, "c.yaml", "train.epochz: unknown key")
    done = hilum("train", phantoms, "--out", tmp_path / "run", "--set", "train.lr=quick")
    expect_one_sentence(done, 2, "train.lr")


def test_a_model_that_is_none(hilum, phantoms, tmp_path):
    expect_one_sentence(hilum("evaluate", tmp_path, phantoms, "--out", tmp_path / "e"), 2, "not a run folder")
    expect_one_sentence(hilum("robust", "packaged", "--out", tmp_path / "r"), 2, "packaged is a bundle", "run folder")
    spec = packaged_bundle() / "bundle.json"
    expect_one_sentence(hilum("predict", "x.png", "--model", spec), 2, "is a file of a bundle; name its folder")


def test_weights_that_were_altered(hilum, finished, phantoms, tmp_path):
    _, out = finished
    shutil.copytree(out / "run", tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"\0" * 100)
    done = hilum("evaluate", tmp_path / "run", phantoms, "--out", tmp_path / "e")
    expect_one_sentence(done, 2, "model.safetensors")


def test_splits_that_were_altered(hilum, finished, phantoms, tmp_path):
    _, out = finished
    shutil.copytree(out / "run", tmp_path / "run")
    splits = tmp_path / "run" / "splits.csv"
    splits.write_text(splits.read_text(encoding="utf-8").replace(",val", ",train"), encoding="utf-8")
    expect_one_sentence(hilum("evaluate", tmp_path / "run", phantoms, "--out", tmp_path / "e"), 2, "splits.csv")


@pytest.mark.parametrize(
    ("limit", "verb"), [(2_000, "scan"), (30_000, "explore"), (100_000, "train"), (20_000_000, "train")]
)
def test_when_nothing_more_can_be_written(hilum, phantoms, tmp_path, limit, verb):
    """A limit on the size of files stops writing in its midst, as a full disk does."""

    def restrict():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    out = tmp_path / "out" / ("manifest.csv" if verb == "scan" else "")
    quick = QUICK if verb == "train" else []
    done = hilum(verb, phantoms, "--out", out, *quick, preexec_fn=restrict)
    expect_one_sentence(done, 2, "full", str(tmp_path))
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in left if ".partial" in path.name]
    assert all(path.stat().st_size < limit for path in left)
    final = {"scan": "manifest.csv", "explore": "eda.html", "train": "model.safetensors"}[verb]
    assert final not in {path.name for path in left}


def test_usage_errors_are_exit_code_2(hilum):
    for arguments in ([], ["frobnicate"], ["train"], ["evaluate", "x"], ["scan", "x", "--colour"]):
        done = hilum(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_every_verb_has_help(hilum):
    for verb in ("demo", "fetch", "scan", "explore", "train", "evaluate", "run", "export", "predict"):
        done = hilum(verb, "--help")
        assert done.returncode == 0
        assert "--verbose" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_sentence_on_every_verb_that_computes(hilum, phantoms, finished, tmp_path):
    _, out = finished
    run = out / "run"
    calls = (
        ("train", phantoms, "--out", tmp_path / "run", *QUICK),
        ("run", phantoms, "--out", tmp_path / "all", *QUICK),
        ("evaluate", run, phantoms, "--out", tmp_path / "evaluation"),
        ("robust", run, "--out", tmp_path / "robust", "--pictures", "20"),
        ("export", run, "--out", tmp_path / "bundle", "--precision", "fp32"),
    )
    for call in calls:
        expect_one_sentence(hilum(*call, "--device", "cuda"), 2, "No GPU can be used", "--device cpu")
    assert not any((tmp_path / name).exists() for name in ("all", "run", "evaluation", "robust", "bundle"))
    expect_one_sentence(hilum("train", phantoms, "--out", tmp_path / "run", "--device", "gpu"), 2, "--device gpu")
    bundled = hilum("evaluate", "packaged", phantoms, "--out", tmp_path / "evaluation", "--device", "cuda")
    expect_one_sentence(bundled, 2, "a bundle is scored on the CPU")
