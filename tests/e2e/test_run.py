import csv
import json
import re
import shutil

import pytest

from .conftest import QUICK

pytestmark = pytest.mark.e2e

METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "auroc", "auprc", "mcc", "brier", "ece")


def test_run_writes_everything_and_ends_with_the_path_of_the_report(finished):
    done, out = finished
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == str(out / "report.html")
    for name in (
        "report.html",
        "eda/eda.html",
        "eda/eda.json",
        "run/config.yaml",
        "run/model.safetensors",
        "run/splits.csv",
        "evaluation/metrics.json",
        "evaluation/predictions.csv",
        "evaluation/classification_report.txt",
        "evaluation/report.html",
        "evaluation/model_card.md",
        "bundle/bundle.json",
        "bundle/network.bin",
    ):
        assert (out / name).stat().st_size > 0, name
    assert len(list((out / "evaluation" / "figures").glob("*.png"))) >= 8
    assert not list(out.rglob("*.partial*"))


def test_metrics_keep_the_contract(finished):
    _, out = finished
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["split"] == "test"
    assert metrics["threshold_source"] == "val"
    assert 0 < metrics["threshold"] < 1
    for name in METRICS:
        entry = metrics["metrics"][name]
        # A network as raw as this one may call nothing PNEUMONIA; what is then not defined says why.
        if entry["value"] is None:
            assert entry["reason"], name
        else:
            assert entry["ci_low"] <= entry["value"] <= entry["ci_high"], name
    cells = metrics["confusion_matrix"]
    assert sum(cells.values()) == metrics["n"]
    assert metrics["metrics"]["accuracy"]["value"] == pytest.approx((cells["tn"] + cells["tp"]) / metrics["n"])
    assert metrics["by_pathogen"].keys() == {"bacteria", "virus"}


def test_predictions_agree_with_the_metrics(finished):
    _, out = finished
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    with (out / "evaluation" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:11] == [
        *("path", "status", "probability", "logit", "prediction", "threshold", "message", "familiarity"),
        *("label", "patient", "split"),
    ]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["split"] for row in rows} == {"test"}
    hits = sum(row["prediction"] == row["label"] for row in rows)
    assert hits / len(rows) == pytest.approx(metrics["metrics"]["accuracy"]["value"])
    for row in rows:
        assert (row["prediction"] == "PNEUMONIA") == (float(row["probability"]) >= float(row["threshold"]))


def test_pages_need_no_network(finished):
    _, out = finished
    for page in ("report.html", "eda/eda.html"):
        text = (out / page).read_text(encoding="utf-8")
        assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", text), page
        assert "@import" not in text
        assert "not a medical device" in text


def test_evaluating_the_run_again_gives_the_same_figures(finished, hilum, phantoms, tmp_path):
    _, out = finished
    done = hilum("evaluate", out / "run", phantoms, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    first = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    again = json.loads((tmp_path / "again" / "metrics.json").read_text(encoding="utf-8"))
    assert again["metrics"] == first["metrics"]
    assert again["threshold"] == first["threshold"]


def test_a_moved_data_set_is_found_by_content(finished, hilum, phantoms, tmp_path):
    _, out = finished
    shutil.copytree(phantoms, tmp_path / "elsewhere")
    done = hilum("evaluate", out / "run", tmp_path / "elsewhere", "--out", tmp_path / "evaluation", "--split", "val")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "evaluation" / "predictions.csv").read_text(encoding="utf-8")
    assert "elsewhere" in text


def test_pictures_that_trained_the_model_are_refused_as_a_test(finished, hilum, phantoms, tmp_path):
    _, out = finished
    done = hilum("evaluate", out / "run", phantoms, "--out", tmp_path / "evaluation", "--split", "all")
    assert done.returncode == 2
    assert "were used in training" in done.stderr


def test_a_second_run_into_the_same_folder_is_refused_and_resume_says_that_nothing_is_left(finished, hilum, phantoms):
    _, out = finished
    refused = hilum("run", phantoms, "--out", out, *QUICK)
    assert refused.returncode == 2
    assert "already holds a run" in refused.stderr
    resumed = hilum("run", phantoms, "--out", out, "--resume", *QUICK)
    assert resumed.returncode == 0
    assert "Nothing is left to do" in resumed.stdout
