"""A bundle probed for shortcuts on drawn radiographs, through `hilum evaluate`'s own code, up to the report."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from tests.brightness_bundle import write_brightness_bundle

from hilum.cli.judging import Part, evaluate_bundle
from hilum.config import EvaluateConfig
from hilum.data.cache import read_prepared
from hilum.data.manifest import scan
from hilum.data.phantom import write_phantoms
from hilum.evaluation.intervals import Estimate
from hilum.inference.scoring import BundleScorer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    manifest = scan(write_phantoms(folder / "data", patients=32, size=96, test_share=0.5))
    write_brightness_bundle(folder / "bundle")
    scorer = BundleScorer.open(folder / "bundle")
    results = [
        evaluate_bundle(
            scorer,
            manifest,
            folder / name,
            split=Part.TEST,
            settings=EvaluateConfig(bootstrap=100, worst=2),
            seed=0,
            data="phantoms",
            command="hilum evaluate BUNDLE DATA --out OUT",
            shortcuts=probed,
        )
        for name, probed in (("probed", True), ("plain", False))
    ]
    return scorer, manifest, results


def test_changed_pictures_get_the_logits_that_files_get(evaluated):
    scorer, manifest, _ = evaluated
    paths = manifest["path"].tolist()[:6]
    pictures = np.stack([read_prepared(path, scorer.spec) for path in paths])
    expected = [score.logit for score in scorer.score(paths)]
    np.testing.assert_allclose(scorer.score_prepared(pictures), expected, rtol=1e-6)
    assert scorer.score_prepared(pictures[:0]).shape == (0,)


def test_metrics_hold_every_figure_within_its_range(evaluated):
    _, manifest, (result, _) = evaluated
    content = json.loads((result.out / "metrics.json").read_text())
    found = content["shortcuts"]
    assert found["n"] == content["n"]
    assert 0 < found["forward_passes"] <= 2500
    assert found["lungs"]["found"] == 1
    assert found["masked"]["auroc_whole"]["value"] == pytest.approx(content["metrics"]["auroc"]["value"])
    for name in ("whole", "without_lungs", "without_box", "only_lungs"):
        estimate = found["masked"][f"auroc_{name}"]
        assert 0 <= estimate["ci_low"] <= estimate["value"] <= estimate["ci_high"] <= 1
    trained = ((manifest["split"] == "train") & (manifest["status"] == "ok")).sum()
    assert found["metadata_only"]["trained_on"] == trained
    assert 0 < found["cam"]["share_in_lungs"]["value"] < 1
    assert found["markers"]["cleared"]["n"] > 0
    assert found["deletion_insertion"]["shares"] == [0, 0.25, 0.5, 0.75, 1]


def test_the_report_has_a_verdict_and_its_figures(evaluated):
    result = evaluated[2][0]
    page = result.report.read_text()
    assert page.count("Is it looking at the lungs?") >= 2  # contents and heading
    assert re.search(r"(Good|Mixed|Bad): taking bright marks out of the edges", page)
    assert "--shortcuts to have it checked" not in page
    for name in ("examples", "auroc", "markers", "deletion"):
        with Image.open(result.out / "figures" / f"shortcut_{name}.png") as picture:
            assert min(picture.size) > 300


def test_without_the_option_the_report_says_so(evaluated):
    result = evaluated[2][1]
    assert result.metrics["shortcuts"] is None
    page = result.report.read_text()
    assert "hilum evaluate BUNDLE DATA --out OUT --shortcuts" in page
    assert not list((result.out / "figures").glob("shortcut_*"))


def test_estimates_that_do_not_exist_are_written_as_null():
    assert Estimate(None, reason="no such picture").to_json() == {
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "reason": "no such picture",
    }
