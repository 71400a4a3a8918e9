"""External validation: sets of other sources beside the tested split, by source and age group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.evaluation_data import BrightnessScorer, draw_splits

from hilum.cli.options import parse_sets
from hilum.config import EvaluateConfig
from hilum.errors import ConfigError, DataError
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.external import read_external

pytestmark = pytest.mark.integration

CONFIG = EvaluateConfig(bootstrap=100, worst=0)


def write_set(folder, *, seed, distance, sizes=(70, 80)):
    """A CSV with two sources, the second of which is told apart by chance alone, and with two age groups."""
    folder.mkdir()
    parts = []
    for source, apart, age in (("near", distance, "child"), ("far", 0.0, "adult")):
        rows = draw_splits(folder / source, sizes={"test": sizes}, seed=seed + len(parts), distance=apart)
        parts.append(rows.assign(source=source, age_group=age, patient=source + rows["patient"]))
    table = pd.concat(parts)[["path", "label", "patient", "source", "age_group"]]
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("external")
    splits = draw_splits(folder / "own")
    sets = read_external({"elsewhere": write_set(folder / "elsewhere", seed=5, distance=1.5)})
    return evaluate(BrightnessScorer(), splits, folder / "out", config=CONFIG, seed=0, external=sets)


def test_a_set_is_measured_whole_and_by_source_and_age_group(evaluated):
    entries = json.loads((evaluated.out / "metrics.json").read_text())["external"]
    assert [(entry["set"], entry["group"], entry["n"]) for entry in entries] == [
        ("elsewhere", "", 300),
        ("elsewhere", "source: far", 150),
        ("elsewhere", "source: near", 150),
        ("elsewhere", "age group: adult", 150),
        ("elsewhere", "age group: child", 150),
    ]
    whole, far, near, *_ = entries
    assert near["metrics"]["auroc"]["value"] > 0.9
    assert 0.4 < far["metrics"]["auroc"]["value"] < 0.6
    assert far["metrics"]["auroc"]["ci_low"] < 0.5 < far["metrics"]["auroc"]["ci_high"]
    assert far["metrics"]["auroc"]["value"] < whole["metrics"]["auroc"]["value"] < near["metrics"]["auroc"]["value"]
    assert whole["positives"] == 160
    assert whole["refused"] is whole["familiarity_quantiles"] is None  # the model has no gate
    assert 0 < near["recalibrated_on_50"]["sensitivity"] <= 1


def test_a_table_with_semicolons_has_its_groups_too(tmp_path):
    table = write_set(tmp_path / "set", seed=5, distance=1.5)
    table.write_text(table.read_text().replace(",", ";"))
    (given,) = read_external({"set": table})
    assert given.manifest["source"].value_counts().to_dict() == {"near": 150, "far": 150}


def test_the_report_shows_table_figure_and_warning(evaluated):
    page = evaluated.report.read_text(encoding="utf-8")
    assert "Other hospitals" in page
    assert "elsewhere, source: far" in page
    assert "External validation." in page
    assert "On elsewhere the AUROC is" in page
    assert (evaluated.out / "figures" / "external.png").stat().st_size > 5_000


def test_nothing_is_said_without_sets(tmp_path):
    splits = draw_splits(tmp_path / "own")
    result = evaluate(BrightnessScorer(), splits, tmp_path / "out", config=CONFIG, seed=0)
    assert result.metrics["external"] == []
    assert "Other hospitals" not in result.report.read_text(encoding="utf-8")


def test_the_figures_of_the_tested_split_do_not_depend_on_the_sets(evaluated, tmp_path):
    splits = draw_splits(tmp_path / "own")
    alone = evaluate(BrightnessScorer(), splits, tmp_path / "out", config=CONFIG, seed=0)
    assert alone.metrics["metrics"] == evaluated.metrics["metrics"]
    assert alone.metrics["threshold"] == evaluated.metrics["threshold"]


def test_a_set_of_one_class_has_rates_and_no_auroc(tmp_path):
    rows = draw_splits(tmp_path / "sick", sizes={"test": (0, 60)})
    rows[["path", "label"]].to_csv(tmp_path / "sick.csv", index=False)
    sets = read_external({"sick": tmp_path / "sick.csv"})
    result = evaluate(
        BrightnessScorer(), draw_splits(tmp_path / "own"), tmp_path / "out", config=CONFIG, seed=0, external=sets
    )
    (entry,) = result.metrics["external"]
    assert entry["metrics"]["auroc"]["value"] is None
    assert entry["metrics"]["recall"]["value"] > 0.8
    assert entry["recalibrated_on_50"] is None
    assert "there is no AUROC" in result.report.read_text(encoding="utf-8")


def test_an_unreadable_picture_is_left_out_of_the_figures(tmp_path):
    table = write_set(tmp_path / "set", seed=1, distance=1.5)
    Path(pd.read_csv(table)["path"].iloc[0]).write_bytes(b"nonsense")
    (given,) = read_external({"set": table})
    assert (given.manifest["status"] != "ok").sum() == 1
    result = evaluate(
        BrightnessScorer(), draw_splits(tmp_path / "own"), tmp_path / "out", config=CONFIG, seed=0, external=[given]
    )
    assert result.metrics["external"][0]["n"] == 299
    assert np.isfinite(result.metrics["external"][0]["metrics"]["auroc"]["value"])


def test_sets_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_external({"none": tmp_path / "none.csv"})
    for pair in ("nih", "nih=", "=x.csv"):
        with pytest.raises(ConfigError, match="--also"):
            parse_sets([pair])
    with pytest.raises(ConfigError, match="stands twice"):
        parse_sets(["a=x.csv", "a=y.csv"])
