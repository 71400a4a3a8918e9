import numpy as np
import pytest

from hilum.evaluation.conformal import ConformalRule, conformal_to_json, fit_conformal, measure_conformal
from hilum.inference.decision import calibrate

pytestmark = pytest.mark.unit


def draw(random, size):
    labels = random.random(size) < 0.6
    return labels, calibrate(np.where(labels, 1.0, -1.0) + random.normal(0, 1.5, size), temperature=0.5)


def test_the_quantile_by_hand():
    scores = np.arange(1, 20) / 20  # 19 of them: ceil(20 * 0.9) is the 18th, ceil(20 * 0.95) the 19th
    labels = np.zeros(19, bool)
    assert fit_conformal(labels, scores, alpha=0.1, by_class=False).quantiles == (0.9, 0.9)
    assert fit_conformal(labels, scores, alpha=0.05, by_class=False).quantiles == (0.95, 0.95)
    # With one picture fewer no score is high enough: every set holds the label.
    too_few = fit_conformal(labels[1:], scores[1:], alpha=0.05, by_class=False)
    assert too_few.build_sets(np.array([0.0, 1.0])).all()
    assert conformal_to_json(measure(too_few))["quantiles"] == {"NORMAL": None, "PNEUMONIA": None}


@pytest.mark.parametrize("quantiles", [(0.3, 0.4), (float("inf"), 0.4)])
def test_a_bundle_stores_a_rule_whole(quantiles):
    rule = ConformalRule(0.05, by_class=True, quantiles=quantiles)
    assert ConformalRule.read(rule.to_spec(chosen_on="val", n=20)) == rule


def measure(rule):
    labels = np.array([True, False, True, False])
    probabilities = np.array([0.9, 0.2, 0.4, 0.8])
    return measure_conformal(rule, labels, probabilities, ["a", "b", "c", "d"], resamples=100, seed=0)


def test_coverage_and_size_are_counted():
    rule = ConformalRule(0.1, by_class=True, quantiles=(0.5, 0.7))
    assert rule.build_sets(np.array([0.9, 0.2, 0.4, 0.8])).tolist() == [[0, 1], [1, 0], [1, 1], [0, 1]]
    result = measure(rule)
    assert result.coverage.value == 0.75
    assert (result.coverage_normal.value, result.coverage_pneumonia.value) == (0.5, 1.0)
    assert result.mean_size.value == 1.25
    assert (result.single.value, result.both.value, result.empty.value) == (0.75, 0.25, 0.0)
    assert result.empty.method == "wilson"


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_the_promise_is_kept_on_exchangeable_data(alpha, by_class):
    """Over draws of both parts coverage is between 1 - alpha and 1 - alpha + 1 / (n + 1), in each class too."""
    random = np.random.default_rng(0)
    size, covered, of_class = 60, [], []
    for _ in range(400):
        rule = fit_conformal(*draw(random, size), alpha=alpha, by_class=by_class)
        labels, probabilities = draw(random, 200)
        sets = rule.build_sets(probabilities)
        held = np.where(labels, sets[:, 1], sets[:, 0])
        covered.append(held.mean())
        of_class.append([held[~labels].mean(), held[labels].mean()])
    slack = 3 * np.std(covered) / np.sqrt(len(covered))
    # Classes have about 24 and 36 pictures, and each its own correction.
    most = 1 / 20 if by_class else 1 / (size + 1)
    assert 1 - alpha - slack <= np.mean(covered) <= 1 - alpha + most + slack
    if by_class:
        assert (np.mean(of_class, axis=0) >= 1 - alpha - 2 * slack).all()


def test_marginal_sets_can_fail_a_class_that_class_conditional_ones_do_not():
    random = np.random.default_rng(1)
    labels = random.random(4000) < 0.9
    probabilities = calibrate(np.where(labels, 3.0, 0.5) + random.normal(0, 1, 4000), temperature=1.0)
    first, second = slice(0, 2000), slice(2000, None)
    coverage = {}
    for by_class in (False, True):
        rule = fit_conformal(labels[first], probabilities[first], alpha=0.1, by_class=by_class)
        normal = rule.build_sets(probabilities[second])[~labels[second], 0]
        coverage[by_class] = normal.mean()
    assert coverage[False] < 0.6
    assert coverage[True] > 0.8
