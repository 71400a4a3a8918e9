import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import EvaluationError
from hilum.evaluation.calibration import (
    Calibration,
    CalibrationMethod,
    CalibrationPrior,
    choose_calibration,
    deal_folds,
    equal_mass_bins,
    fit_platt,
    fit_temperature,
    is_at_bound,
    log_losses,
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


def draw_calibrated(calibration, *, size=20_000, seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(0.5, 3, size)
    return random.random(size) < calibration.apply(logits), logits


@pytest.mark.parametrize("truth", [Calibration(0.8, 2.0), Calibration(2.5, -1.0), Calibration(1.0, 0.0)])
def test_platt_finds_the_numbers_that_drew_the_labels(truth):
    fitted = fit_platt(*draw_calibrated(truth))
    assert fitted.temperature == pytest.approx(truth.temperature, rel=0.05)
    assert fitted.intercept == pytest.approx(truth.intercept, abs=0.1)


def test_platt_has_the_lowest_loss_of_its_neighbourhood():
    labels, logits = draw_calibrated(Calibration(0.8, 2.0), size=3000)
    fitted = fit_platt(labels, logits)
    best = log_losses(labels, logits, fitted).mean()
    for factor, shift in ((1.05, 0), (0.95, 0), (1, 0.1), (1, -0.1), (1.05, 0.1), (0.95, -0.1)):
        other = Calibration(fitted.temperature * factor, fitted.intercept + shift)
        assert log_losses(labels, logits, other).mean() > best


def test_platt_makes_the_mean_probability_the_share():
    labels, logits = draw_calibrated(Calibration(0.8, 2.0), size=3000)
    assert fit_platt(labels, logits).apply(logits).mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_platt_stays_finite_where_classes_are_separated():
    labels = np.arange(50) < 25
    fitted = fit_platt(labels, np.where(labels, 3.0, 1.0))
    assert fitted.apply(np.array([3.0, 1.0])) == pytest.approx([26 / 27, 1 / 27], abs=1e-6)


def test_platt_ends_at_the_bound_where_scores_point_the_wrong_way():
    labels = np.arange(100) < 70
    fitted = fit_platt(labels, np.where(labels, -2.0, 2.0))
    assert fitted.temperature == pytest.approx(20, rel=1e-6)
    assert fitted.apply(np.zeros(1))[0] == pytest.approx(0.7, abs=0.02)


def test_platt_needs_both_classes():
    with pytest.raises(EvaluationError, match="both classes"):
        fit_platt(np.ones(5, bool), np.arange(5.0))


def test_a_prior_holds_few_pictures_and_yields_to_many():
    prior = CalibrationPrior(Calibration(1.0, 0.0), slope_sd=0.5, intercept_sd=0.5)
    fits = [fit_platt(*draw_calibrated(Calibration(1.0, 3.0), size=size), prior=prior) for size in (20, 200, 20_000)]
    intercepts = [fit.intercept for fit in fits]
    assert intercepts == sorted(intercepts)
    assert intercepts[0] < 1.5
    assert intercepts[-1] == pytest.approx(3, abs=0.2)
    tight = CalibrationPrior(Calibration(2.0, 1.0), slope_sd=1e-4, intercept_sd=1e-4)
    held = fit_platt(*draw_calibrated(Calibration(1.0, 3.0), size=500), prior=tight)
    assert (held.temperature, held.intercept) == pytest.approx((2.0, 1.0), abs=1e-3)


def name_patients(count):
    return [f"IM/{place // 2}" for place in range(count)]


def test_an_intercept_is_taken_where_it_helps_held_out_pictures():
    labels, logits = draw_calibrated(Calibration(0.8, 2.0), size=600)
    choice = choose_calibration(labels, logits, name_patients(600))
    assert choice.method is CalibrationMethod.PLATT
    assert choice.gain > choice.standard_error > 0
    assert choice.loss_platt == pytest.approx(choice.loss_temperature - choice.gain)
    assert choice.calibration == fit_platt(labels, logits)


def test_between_equals_the_temperature_alone_stands():
    chosen = []
    for seed in range(6):
        labels, logits = draw_calibrated(Calibration(1.5, 0.0), size=300, seed=seed)
        chosen.append(choose_calibration(labels, logits, name_patients(300)))
    assert sum(choice.method is CalibrationMethod.TEMPERATURE for choice in chosen) >= 5
    assert all(choice.calibration.intercept == 0 for choice in chosen if choice.method is CalibrationMethod.TEMPERATURE)


def test_too_few_patients_leave_the_temperature():
    choice = choose_calibration(np.array([True, False, True]), np.array([2.0, -1.0, 1.0]), ["a", "b", "c"])
    assert choice.method is CalibrationMethod.TEMPERATURE
    assert choice.gain is None


def test_folds_keep_patients_together_and_classes_apart():
    labels = np.arange(100) < 20
    patients = name_patients(100)
    folds = deal_folds(labels, patients, folds=5)
    for patient in set(patients):
        assert len({fold for fold, name in zip(folds, patients, strict=True) if name == patient}) == 1
    assert [int(labels[folds == fold].sum()) for fold in range(5)] == [4] * 5
    assert (deal_folds(labels, patients, folds=5) == folds).all()
    assert (deal_folds(labels, patients, folds=5, seed=1) != folds).any()
