import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.config import EvaluateConfig
from hilum.errors import EvaluationError
from hilum.evaluation.deployment import (
    compare_networks,
    explain_difference,
    fit_deployment,
    join_scores,
    measure_prior,
)
from hilum.evaluation.thresholds import fit_specific_threshold
from hilum.inference.decision import is_positive

pytestmark = pytest.mark.unit

CONFIG = EvaluateConfig(bootstrap=100)


def build_val(logits):
    count = len(logits)
    rows = pd.DataFrame(
        {
            "path": [f"{index}.jpeg" for index in range(count)],
            "label": ["PNEUMONIA" if index % 4 else "NORMAL" for index in range(count)],
            "pathogen": "",
            "patient": [f"IM/{index}" for index in range(count)],
            "split": "val",
            "status": "ok",
            "message": "",
        }
    )
    logits = np.asarray(logits, dtype=np.float32)
    return rows, join_scores(rows, logits, np.tile(logits[:, None, None], (1, 2, 2)))


@pytest.fixture
def logits(rng):
    positive = np.arange(200) % 4 > 0
    return rng.normal(0, 3, 200) + np.where(positive, 2, -2)


def test_each_operating_point_keeps_its_promise(logits):
    rows, val = build_val(logits)
    deployment = fit_deployment(val, name="m", splits=rows, config=CONFIG, seed=0)
    points = deployment.operating_points
    assert set(points) == {"youden", "sensitivity-95", "sensitivity-99", "specificity-95", "specificity-99"}
    thresholds = [point.threshold for point in points.values()]
    assert thresholds == sorted(thresholds)
    assert deployment.default == "youden"
    assert points["sensitivity-95"].sensitivity >= 0.95
    assert points["sensitivity-99"].sensitivity >= 0.99
    assert points["specificity-95"].specificity >= 0.95
    assert points["specificity-99"].specificity >= 0.99
    probabilities = deployment.calibration.apply(val.logits)
    for point in points.values():
        called = is_positive(probabilities, threshold=point.threshold)
        assert point.sensitivity == pytest.approx(called[val.labels].mean())
        assert point.specificity == pytest.approx((~called)[~val.labels].mean())
        assert point.sensitivity + point.specificity <= points["youden"].sensitivity + points["youden"].specificity
    assert deployment.metrics["recall"].value == pytest.approx(points["youden"].sensitivity)
    assert deployment.heatmap_full_scale > 0


def test_the_run_decides_which_point_is_the_default(logits):
    rows, val = build_val(logits)
    config = EvaluateConfig(operating_point="sensitivity", min_sensitivity=0.9, bootstrap=100)
    deployment = fit_deployment(val, name="m", splits=rows, config=config, seed=0)
    assert deployment.default == "sensitivity-90"
    assert deployment.metrics["recall"].value == deployment.operating_points["sensitivity-90"].sensitivity >= 0.9


def compare(before, after):
    rows, trained = build_val(before)
    _, exported = build_val(after)
    deployment = fit_deployment(exported, name="m", splits=rows, config=CONFIG, seed=0)
    return compare_networks(trained, exported, deployment, config=CONFIG)


def test_an_equal_network_passes(logits):
    parity = compare(logits, logits)
    assert (parity.n, parity.changed_verdicts, parity.changed_after_refit) == (200, 0, 0)
    assert parity.max_logit_difference == 0
    assert explain_difference(parity) == ""


def test_a_shift_changes_verdicts_until_the_threshold_is_fitted_again(logits):
    parity = compare(logits, logits + 1)
    assert parity.auroc_exported == parity.auroc_trained
    assert parity.mean_logit_difference == pytest.approx(1, abs=1e-5)
    assert parity.changed_verdicts > 2
    assert parity.changed_after_refit < parity.changed_verdicts
    reason = explain_difference(parity)
    assert f"{parity.changed_verdicts} of 200 verdicts on val change (at most 1 %)" in reason
    assert "AUROC" not in reason


def test_a_worse_network_fails_by_its_auroc(logits, rng):
    parity = compare(logits, logits + rng.normal(0, 5, 200))
    assert "the AUROC on val falls from" in explain_difference(parity)


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"changed_verdicts": 2}, True),
        ({"changed_verdicts": 3}, False),
        ({"auroc_exported": 0.9}, True),
        ({"auroc_trained": 0.9021}, False),
        ({"auroc_trained": 0.9019}, True),
    ],
)
def test_the_bounds_of_the_check(logits, changes, passes):
    parity = compare(logits, logits).model_copy(update={"auroc_trained": 0.9, "auroc_exported": 0.9, **changes})
    assert (explain_difference(parity) == "") == passes


def test_a_logit_that_is_no_number_names_its_picture(logits):
    logits[7] = np.nan
    with pytest.raises(EvaluationError, match=r"no finite number for 7\.jpeg"):
        build_val(logits)


def test_the_prior_is_that_of_train():
    splits = pd.DataFrame({"split": ["train"] * 4 + ["val"] * 2, "label": ["PNEUMONIA"] * 3 + ["NORMAL"] * 3})
    assert measure_prior(splits) == 0.75
    assert measure_prior(splits, balanced=True) == 0.5


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30).filter(
        lambda rows: any(not label for label, _ in rows)
    ),
    st.floats(0.01, 1),
)
def test_the_specific_threshold_is_the_lowest_that_keeps_the_promise(rows, share):
    labels = np.array([label for label, _ in rows])
    probabilities = np.array([probability for _, probability in rows])
    threshold = fit_specific_threshold(labels, probabilities, min_specificity=share)
    normal = probabilities[~labels]
    if normal.max() < 1:
        assert (normal < threshold).mean() >= share - 1e-9
    lower = probabilities[probabilities < threshold]
    if lower.size:
        assert (normal < lower.max()).mean() < share + 1e-9


def test_a_specific_threshold_needs_normal_pictures():
    with pytest.raises(EvaluationError, match="needs NORMAL pictures"):
        fit_specific_threshold(np.array([True]), np.array([0.5]), min_specificity=0.9)
