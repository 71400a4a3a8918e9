import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import EvaluationError
from hilum.evaluation.calibration import (
    equal_mass_bins,
    fit_temperature,
    is_at_bound,
    measure_reliability,
    negative_log_likelihood,
)
from hilum.inference.decision import calibrate, decide, is_positive
from hilum.types import Label

pytestmark = pytest.mark.unit


def draw(temperature, *, size=20_000, seed=0):
    """Labels drawn so that sigmoid(logit / temperature) is their true probability."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, size)
    return random.random(size) < calibrate(logits, temperature=temperature), logits


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_finds_the_temperature_that_drew_the_labels(temperature):
    labels, logits = draw(temperature)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.05)


def test_lowers_the_loss_of_overconfident_scores():
    labels, logits = draw(3.0, size=800)
    fitted = fit_temperature(labels, logits)
    assert negative_log_likelihood(labels, logits, temperature=fitted) < negative_log_likelihood(
        labels, logits, temperature=1.0
    )
    for other in (fitted * 0.8, fitted * 1.25):
        assert negative_log_likelihood(labels, logits, temperature=fitted) < negative_log_likelihood(
            labels, logits, temperature=other
        )


def test_separated_classes_get_a_finite_temperature_without_certainties():
    labels = np.array([False] * 40 + [True] * 60)
    logits = np.where(labels, 4.0, -4.0)
    temperature = fit_temperature(labels, logits)
    probabilities = calibrate(logits, temperature=temperature)
    assert not is_at_bound(temperature)
    assert 0.001 < probabilities.min() < probabilities.max() < 0.999


def test_scores_that_mislead_end_at_the_bound():
    labels = np.array([False, True] * 20)
    temperature = fit_temperature(labels, np.where(labels, -2.0, 2.0))
    assert is_at_bound(temperature)
    assert temperature == pytest.approx(20, rel=0.01)


def test_one_class_cannot_be_calibrated():
    with pytest.raises(EvaluationError, match="both classes"):
        fit_temperature(np.ones(5, bool), np.arange(5.0))


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=40), st.floats(0.2, 20))
@settings(deadline=None)
def test_temperature_keeps_the_order(logits, temperature):
    values = np.sort(np.array(logits))
    calibrated = calibrate(values, temperature=temperature)
    assert (np.diff(calibrated) >= 0).all()
    assert ((calibrated >= 0) & (calibrated <= 1)).all()


def test_calibrate_neither_overflows_nor_loses_small_probabilities():
    assert calibrate(np.array([-700.0, 0.0, 700.0]), temperature=1.0).tolist() == [
        pytest.approx(np.exp(-700.0)),
        0.5,
        1.0,
    ]


def test_single_and_many_decisions_agree():
    probabilities = np.array([0.2, 0.5, 0.7])
    many = is_positive(probabilities, threshold=0.5)
    assert (
        [decide(float(p), threshold=0.5) is Label.PNEUMONIA for p in probabilities]
        == many.tolist()
        == [False, True, True]
    )


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(1, 20))
@settings(deadline=None)
def test_equal_probabilities_share_a_bin_and_bins_are_in_order(values, bins):
    probabilities = np.array(values) / 30
    index = equal_mass_bins(probabilities, bins=bins)
    assert ((index >= 0) & (index < bins)).all()
    order = np.argsort(probabilities)
    assert (np.diff(index[order]) >= 0).all()
    for value in np.unique(probabilities):
        assert np.unique(index[probabilities == value]).size == 1


def test_bins_hold_equally_many_where_nothing_ties():
    counts = np.bincount(equal_mass_bins(np.random.default_rng(0).random(600), bins=15))
    assert counts.tolist() == [40] * 15


def test_reliability_of_honest_scores_lies_on_the_diagonal():
    labels, logits = draw(1.0)
    curve = measure_reliability(labels, calibrate(logits, temperature=1.0))
    assert curve.count.sum() == labels.size
    assert np.abs(curve.predicted - curve.observed).max() < 0.05
