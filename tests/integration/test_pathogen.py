import json

import numpy as np
import pytest

from hilum.config import load_config
from hilum.data.manifest import load_data
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import DataError
from hilum.evaluation.evaluate import evaluate
from hilum.model.scoring import RunScorer
from hilum.model.training import train
from hilum.types import Score, Split

pytestmark = pytest.mark.integration

CONFIG = load_config(
    overrides=[
        "task=pathogen",
        "model.weights=random",
        "preprocess.size=32",
        "train.threads=1",
        "train.precision=float32",
        "train.batch_size=8",
        "train.head_epochs=0",
        "train.epochs=1",
        "train.mixup=0.2",
        "train.logger=none",
        "evaluate.bootstrap=100",
    ]
)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    manifest = load_data(
        write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", patients=32, seed=5, size=64, test_share=0.4)
    )
    return manifest, build_splits(manifest, val_fraction=0.25, seed=0)


@pytest.fixture(scope="module")
def evaluated(phantoms, tmp_path_factory):
    manifest, splits = phantoms
    folder = tmp_path_factory.mktemp("pathogen")
    train(manifest, splits, folder / "run", CONFIG)
    scorer = RunScorer.open(folder / "run")
    evaluate(scorer, splits, folder / "out", config=CONFIG.evaluate, seed=0, manifest=manifest)
    return scorer, folder


def test_a_run_of_the_task_answers_with_both_logits(evaluated, phantoms):
    scorer, _ = evaluated
    _, splits = phantoms
    answers = list(scorer.score(splits.loc[splits["split"] == Split.TEST, "path"].tolist()[:4]))
    for answer in answers:
        assert isinstance(answer, Score)
        bias = float(scorer.network.fc.bias[0].detach())
        assert answer.cam.mean() + bias == pytest.approx(answer.logit, abs=1e-4)
        assert np.isfinite(answer.pathogen)


def test_three_classes_and_bacterial_against_viral_are_measured(evaluated, phantoms):
    _, folder = evaluated
    _, splits = phantoms
    test = splits[splits["split"] == Split.TEST]
    found = json.loads((folder / "out" / "metrics.json").read_text(encoding="utf-8"))["pathogen"]
    three = found["three_classes"]
    assert three["classes"] == ["NORMAL", "bacteria", "virus"]
    rows = np.array(three["confusion"]).sum(1).tolist()
    expected = [(test["label"] == "NORMAL").sum(), *(test["pathogen"] == name for name in ("bacteria", "virus"))]
    assert rows == [int(np.sum(value)) for value in expected]
    share = np.trace(three["confusion"]) / np.sum(three["confusion"])
    assert three["accuracy"]["value"] == pytest.approx(share)
    pair = found["bacterial_against_viral"]
    assert pair["n"] == rows[1] + rows[2]
    assert 0 <= pair["auroc"]["ci_low"] <= pair["auroc"]["value"] <= pair["auroc"]["ci_high"] <= 1
    assert "Bacterial or viral" in (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_history_tells_how_well_pathogens_are_told_apart(evaluated):
    _, folder = evaluated
    header, *rows = (folder / "run" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert "val_pathogen_auroc" in header.split(",")
    assert len(rows) == 1


def test_without_named_pathogens_the_task_is_refused(phantoms, tmp_path):
    manifest, splits = phantoms
    with pytest.raises(DataError, match="known to come from virus, which --task pathogen needs"):
        train(manifest, splits.assign(pathogen=splits["pathogen"].replace("virus", "")), tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()
