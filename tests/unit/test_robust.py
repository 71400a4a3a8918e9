import dataclasses

import numpy as np
import pandas as pd
import pytest

from hilum.data.phantom import draw_phantom
from hilum.errors import EvaluationError
from hilum.evaluation.battery import BATTERY, Condition, apply_condition
from hilum.evaluation.robust import assess, change_pictures, draw_assessment, judge_logits, sample_rows
from hilum.types import Label

pytestmark = pytest.mark.unit

LABELS = np.array([False, True] * 20)


@pytest.fixture(scope="module")
def pictures():
    """Dark pictures are NORMAL, light ones PNEUMONIA."""
    rng = np.random.default_rng(0)
    level = np.where(LABELS, 150, 90) + rng.normal(0, 6, LABELS.size)
    ramp = np.linspace(-40, 40, 48)
    return np.asarray(level[:, None, None] + ramp[None, :, None] + ramp[None, None] / 2, dtype=np.uint8)


def by_brightness(pictures):
    return (pictures.mean((1, 2)).astype(np.float64) - 120) / 10


def by_slope(pictures):
    """A model that brightness cannot mislead, but whose answer is worth nothing here."""
    return pictures[:, -1].mean(1) - pictures[:, 0].mean(1).astype(np.float64)


def test_every_condition_changes_a_radiograph_the_same_way_each_time():
    rng = np.random.default_rng(0)
    picture = draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=96)
    assert len({condition.name for condition in BATTERY}) == len(BATTERY)
    for condition in BATTERY:
        first, again = (apply_condition(picture[None], condition)[0] for _ in range(2))
        assert first.shape == picture.shape, condition.name
        assert first.dtype == np.uint8, condition.name
        assert (first != picture).mean() > 0.005, condition.name
        np.testing.assert_array_equal(first, again, err_msg=condition.name)


def test_a_model_that_goes_by_brightness_fails_under_other_exposures(pictures):
    assessment = assess(by_brightness, pictures, LABELS)
    assert assessment.clean.auroc == 1
    assert assessment.clean.sensitivity == assessment.clean.specificity == 1
    found = {result.condition: result for result in assessment.conditions}
    assert found["brightness +0.2"].specificity == 0
    assert found["brightness -0.2"].sensitivity == 0
    assert found["brightness -0.2"].auroc == 1  # the ranking is as good as it was: only the threshold no longer fits
    assert found["another marker"].balanced_accuracy > 0.9
    summary = assessment.summarise()
    assert summary["sensitivity_worst"] == 0
    assert 0.5 < summary["objective"] < 0.9


def test_without_changes_the_objective_is_that_of_val(pictures):
    same = [Condition("none", name, np.copy) for name in ("a", "b")]
    assert assess(by_brightness, pictures, LABELS, battery=same).objective == 1
    poor = assess(by_slope, pictures, LABELS, battery=same)
    assert poor.objective == pytest.approx((poor.clean.auroc + poor.clean.balanced_accuracy) / 2)


def test_both_classes_are_needed(pictures):
    with pytest.raises(EvaluationError, match="both classes"):
        assess(by_brightness, pictures, np.ones_like(LABELS))


def test_figures_are_written(pictures, tmp_path):
    assessment = assess(by_brightness, pictures, LABELS)
    draw_assessment(assessment, tmp_path / "robust.png", title="brightness")
    assert (tmp_path / "robust.png").stat().st_size > 10_000
    content = assessment.to_json()
    assert content["summary"]["objective"] == assessment.objective
    assert [entry["condition"] for entry in content["conditions"]] == [condition.name for condition in BATTERY]
    assert content["clean"] == dataclasses.asdict(assessment.clean)


def test_a_sample_is_the_same_each_time_and_half_of_each_class():
    rows = pd.DataFrame({"label": ["NORMAL"] * 30 + ["PNEUMONIA"] * 70, "path": [str(n) for n in range(100)]})
    drawn = sample_rows(rows, count=20)
    assert drawn["label"].value_counts().to_dict() == {"NORMAL": 10, "PNEUMONIA": 10}
    assert drawn["path"].tolist() == sample_rows(rows, count=20)["path"].tolist()
    assert list(drawn.index) == sorted(drawn.index)
    assert len(sample_rows(rows, count=100)) == 80


def test_pictures_that_were_changed_before_give_the_same_figures(pictures):
    changed = list(change_pictures(pictures))
    assert assess(by_brightness, pictures, LABELS, changed=changed) == assess(by_brightness, pictures, LABELS)
    logits = [by_brightness(block) for block in changed]
    assert judge_logits(LABELS, by_brightness(pictures), logits) == assess(by_brightness, pictures, LABELS)
    with pytest.raises(ValueError, match="shorter"):
        judge_logits(LABELS, by_brightness(pictures), logits[:-1])
