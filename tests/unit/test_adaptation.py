import numpy as np
import pytest

from hilum.evaluation.adaptation import estimate_prior, refit_locally, shift_probabilities, to_log_odds
from hilum.evaluation.calibration import Calibration
from hilum.evaluation.points import PointRule
from hilum.inference.decision import calibrate
from hilum.inference.rule import shift_prior

pytestmark = pytest.mark.unit

KNOWN = Calibration(1.0, 0.0)


def draw(size, share, *, shift=0.0, seed=0):
    """Scores of normal distributions around +2 and -2 of variance 4: at a share of 1/2 the logit is the log-odds."""
    random = np.random.default_rng(seed)
    labels = np.arange(size) < round(share * size)
    return labels, np.where(labels, 2.0, -2.0) + random.normal(0, 2.0, size) + shift


def test_many_shifts_are_as_one(rng):
    probabilities = rng.random(50)
    shifted = shift_probabilities(probabilities, trained=0.7, deployed=0.2)
    expected = [shift_prior(float(value), trained=0.7, deployed=0.2) for value in probabilities]
    np.testing.assert_allclose(shifted, expected)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_em_finds_the_share_where_only_shares_differ(share):
    _, logits = draw(20_000, share)
    assert estimate_prior(KNOWN.apply(logits), trained=0.5) == pytest.approx(share, abs=0.02)


def test_em_takes_other_pictures_for_more_sick():
    _, logits = draw(20_000, 0.5, shift=1.5)
    assert estimate_prior(KNOWN.apply(logits), trained=0.5) > 0.65


def test_em_ends_where_all_look_healthy():
    assert estimate_prior(np.full(10, 1e-4), trained=0.5) < 0.01


def refit(labels, logits, thresholds=None):
    return refit_locally(labels, logits, known=KNOWN, prior=0.5, thresholds=thresholds or {"youden": 0.5})


def test_many_pictures_decide_and_few_hardly():
    distance = []
    for size in (20, 200, 20_000):
        labels, logits = draw(size, 0.5, shift=2.0)
        distance.append(abs(refit(labels, logits).calibration.intercept + 2.0))
    assert distance[0] > 0.7
    assert distance[-1] < 0.05
    assert distance == sorted(distance, reverse=True)


def test_the_share_of_the_place_is_taken_over():
    labels, logits = draw(4000, 0.1)
    fit = refit(labels, logits)
    assert fit.prior == 0.1
    assert fit.calibration.intercept == pytest.approx(to_log_odds(0.1), abs=0.1)
    assert fit.calibration.apply(logits).mean() == pytest.approx(0.1, abs=0.01)


def test_a_threshold_moves_with_the_share_and_keeps_its_pictures():
    """Where pictures look as they did, another share changes probabilities and not who is called PNEUMONIA."""
    labels, logits = draw(4000, 0.1)
    fit = refit(labels, logits, {"by hand": 0.3})
    before = KNOWN.apply(logits) >= 0.3
    after = fit.calibration.apply(logits) >= fit.thresholds["by hand"]
    assert (before != after).mean() < 0.01


@pytest.mark.parametrize(("name", "side"), [("sensitivity-95", True), ("specificity-95", False)])
def test_thresholds_keep_their_promise_where_pictures_look_otherwise(name, side):
    labels, logits = draw(2000, 0.5, shift=2.0)
    known = PointRule.parse(name).fit(*draw(2000, 0.5)[:1], KNOWN.apply(draw(2000, 0.5)[1]))
    fit = refit(labels, logits, {name: known})
    fresh, others = draw(20_000, 0.5, shift=2.0, seed=1)
    called = fit.calibration.apply(others) >= fit.thresholds[name]
    rate = (called if side else ~called)[fresh == side].mean()
    assert rate == pytest.approx(0.95, abs=0.02)
    as_is = KNOWN.apply(others) >= known
    assert abs((as_is if side else ~as_is)[fresh == side].mean() - 0.95) > abs(rate - 0.95)


def test_the_weight_of_the_local_threshold_grows_with_its_class():
    """Ten cases of PNEUMONIA against the twenty that a sensitivity of 95 % is worth: a third of the way."""
    labels = np.arange(20) < 10
    logits = np.where(labels, 4.0, -4.0)
    fit = refit(labels, logits, {"sensitivity-95": 0.5})
    probabilities = fit.calibration.apply(logits)
    local = to_log_odds(PointRule.parse("sensitivity-95").fit(labels, probabilities))
    assert to_log_odds(fit.thresholds["sensitivity-95"]) == pytest.approx(local / 3, abs=1e-9)
    assert calibrate(np.array([local]), temperature=1.0)[0] < 0.6
