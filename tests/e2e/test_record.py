import json

import pytest

pytestmark = pytest.mark.e2e


def test_a_whole_run_is_a_look_in_the_ledger_beside_it(finished):
    done, out = finished
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    lines = (out / "test_ledger.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert metrics["identity"]["sha256"] in lines[1]
    assert metrics["hashes"]["test"] in lines[1]
    assert "This is look number 1 at this test set (by this model: 1)." in done.stdout


def test_looks_at_phantoms_stay_out_of_the_ledger_of_a_project(finished, hilum, phantoms, tmp_path, monkeypatch):
    _, out = finished
    monkeypatch.setenv("HILUM_LEDGER", str(tmp_path / "project.csv"))
    done = hilum("evaluate", out / "run", phantoms, "--out", tmp_path / "evaluation")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "project.csv").exists()
    listed = hilum("ledger", tmp_path / "test_ledger.csv")
    assert "1 look by 1 model" in listed.stdout
    entered = hilum("ledger", tmp_path / "project.csv", "--enter", tmp_path / "evaluation")
    assert "look number 1" in entered.stdout
    again = hilum("ledger", tmp_path / "project.csv", "--enter", tmp_path / "evaluation")
    assert again.returncode == 2
    assert "already" in again.stderr


def test_results_of_a_run_are_a_page(finished, hilum, phantoms, tmp_path):
    _, out = finished
    done = hilum("results", out, "--out", tmp_path / "results.md", "--ledger", out / "test_ledger.csv")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert f"AUROC {metrics['metrics']['auroc']['value']:.3f}" in text
    assert "scored 1 time" in text
    wrong = hilum("results", phantoms, "--out", tmp_path / "other.md")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"hilum: {phantoms} is no evaluation")
    assert len(wrong.stderr.splitlines()) == 1


def test_a_bad_search_space_is_one_sentence(hilum, phantoms, tmp_path):
    pytest.importorskip("optuna")
    space = tmp_path / "space.yaml"
    space.write_text("train.speed: {low: 1, high: 2}\n", encoding="utf-8")
    done = hilum("tune", phantoms, "--out", tmp_path / "study", "--trials", 1, "--space", space)
    assert done.returncode == 2
    assert "does not fit at train.speed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "study").exists()
