import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from hilum.config import EvaluateConfig
from hilum.errors import EvaluationError
from hilum.evaluation.thresholds import (
    count_above_cuts,
    fit_operating_point,
    fit_stable_youden,
    fit_threshold,
    fit_youden,
)

pytestmark = pytest.mark.unit


@st.composite
def samples(draw):
    size = draw(st.integers(2, 50))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    labels[0], labels[1] = True, False
    return labels, np.array(draw(st.lists(st.integers(0, 12), min_size=size, max_size=size))) / 12


def sensitivity(labels, probabilities, threshold):
    return (probabilities[labels] >= threshold).mean()


def youden(labels, probabilities, threshold):
    return sensitivity(labels, probabilities, threshold) - (probabilities[~labels] >= threshold).mean()


def test_separated_classes_are_cut_in_the_middle_of_the_gap():
    labels, probabilities = np.array([False, False, True, True]), np.array([0.1, 0.3, 0.7, 0.9])
    assert fit_youden(labels, probabilities) == pytest.approx(0.5)
    assert fit_threshold(labels, probabilities, min_sensitivity=1.0) == pytest.approx(0.5)


@given(samples())
@settings(deadline=None)
def test_youden_is_the_best_that_the_roc_curve_has(sample):
    labels, probabilities = sample
    false_rate, true_rate, _ = roc_curve(labels, probabilities)
    assert youden(labels, probabilities, fit_youden(labels, probabilities)) == pytest.approx(
        (true_rate - false_rate).max()
    )


@given(samples(), st.floats(0.01, 1))
@settings(deadline=None)
def test_fixed_sensitivity_is_reached_and_no_higher_cut_reaches_it(sample, minimum):
    labels, probabilities = sample
    threshold = fit_threshold(labels, probabilities, min_sensitivity=minimum)
    assert sensitivity(labels, probabilities, threshold) >= minimum - 1e-9
    higher = probabilities[probabilities >= threshold].min()
    assert sensitivity(labels, probabilities, np.nextafter(higher, 2)) < minimum


@given(samples())
@settings(deadline=None)
def test_no_picture_lies_on_the_threshold(sample):
    labels, probabilities = sample
    threshold = fit_youden(labels, probabilities)
    assert 0 <= threshold <= 1
    # 0 itself cannot be undercut by a probability.
    assert threshold == 0 or threshold not in probabilities


def test_sensitivity_of_a_whole_number_of_pictures_is_not_lost_to_rounding():
    labels = np.ones(20, bool)
    probabilities = np.linspace(0.05, 1.0, 20)
    assert fit_threshold(labels, probabilities, min_sensitivity=0.95) == pytest.approx(0.075)


def test_of_equal_cuts_the_more_sensitive_one_is_taken():
    # J is 0.5 above 0.6 (one of two found, no false alarm) and above 0.2 (both found, one false alarm).
    labels, probabilities = np.array([True, False, True, False]), np.array([0.8, 0.6, 0.4, 0.2])
    assert fit_youden(labels, probabilities) == pytest.approx(0.3)


def test_neighbouring_floats_are_still_divided():
    high = 0.7
    low = float(np.nextafter(high, 0))
    labels, probabilities = np.array([False, True]), np.array([low, high])
    threshold = fit_youden(labels, probabilities)
    assert low < threshold <= high


def test_scores_without_information_call_everything_pneumonia():
    assert fit_youden(np.array([True, False]), np.array([0.6, 0.6])) == pytest.approx(0.3)


@given(samples())
@settings(deadline=None, max_examples=30)
def test_the_stable_cut_is_one_of_the_cuts_and_the_same_each_time(sample):
    labels, probabilities = sample
    threshold = fit_stable_youden(labels, probabilities)
    assert threshold in count_above_cuts(labels, probabilities)[0]
    assert threshold == fit_stable_youden(labels, probabilities)


def test_the_stable_cut_moves_less_from_sample_to_sample_and_loses_nothing():
    """Two normal distributions whose best cut is 0 in log-odds."""
    rng = np.random.default_rng(0)
    plain, stable = [], []
    for _ in range(60):
        labels = rng.random(300) < 0.7
        probabilities = 1 / (1 + np.exp(-rng.normal(np.where(labels, 2.5, -2.5), 1.5)))
        for fit, found in ((fit_youden, plain), (fit_stable_youden, stable)):
            threshold = fit(labels, probabilities)
            found.append(np.log(threshold / (1 - threshold)))
    assert np.std(stable) < 0.8 * np.std(plain)
    assert abs(np.mean(stable)) < 0.25


def test_the_stable_cut_of_few_pictures():
    labels, probabilities = np.array([False, False, True, True]), np.array([0.1, 0.3, 0.7, 0.9])
    assert fit_stable_youden(labels, probabilities) == pytest.approx(0.5)
    assert 0 <= fit_stable_youden(np.array([True, False]), np.array([0.6, 0.6])) <= 1


@pytest.mark.parametrize("labels", [np.ones(3, bool), np.zeros(3, bool)])
def test_youden_needs_both_classes(labels):
    with pytest.raises(EvaluationError, match="only one"):
        fit_youden(labels, np.array([0.1, 0.2, 0.3]))


def test_fixed_sensitivity_needs_a_positive():
    with pytest.raises(EvaluationError, match="PNEUMONIA"):
        fit_threshold(np.zeros(3, bool), np.array([0.1, 0.2, 0.3]), min_sensitivity=0.9)


def test_operating_point_follows_the_configuration():
    random = np.random.default_rng(0)
    labels = random.random(500) < 0.5
    logits = np.where(labels, 1.0, -1.0) + random.normal(0, 1.5, 500)
    chosen = fit_operating_point(labels, logits, config=EvaluateConfig())
    assert (chosen.rule, chosen.source) == ("youden", "val")
    assert "Youden" in chosen.describe()
    fixed = fit_operating_point(
        labels, logits, config=EvaluateConfig(operating_point="sensitivity", min_sensitivity=0.97)
    )
    assert fixed.temperature == chosen.temperature
    assert fixed.threshold < chosen.threshold
    assert "at least 0.97" in fixed.describe()
