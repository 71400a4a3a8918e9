import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn import metrics as sk

from hilum.evaluation.calibration import expected_calibration_error
from hilum.evaluation.intervals import draw_resamples, estimate_metrics, estimate_recall, estimate_wilson
from hilum.evaluation.metrics import METRICS, MetricSet, count_confusion

pytestmark = pytest.mark.unit


@st.composite
def samples(draw, *, both_classes=True):
    """Labels, probabilities on a coarse grid (so that ties are common) and a threshold."""
    size = draw(st.integers(2, 60))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    if both_classes:
        labels[0], labels[1] = True, False
    grid = draw(st.lists(st.integers(0, 20), min_size=size, max_size=size))
    threshold = draw(st.integers(0, 20)) / 20
    return labels, np.array(grid) / 20, threshold


def compute(labels, probabilities, threshold, weights=None):
    weights = np.ones((1, labels.size)) if weights is None else weights
    return {
        name: value[0] for name, value in MetricSet(labels, probabilities, threshold=threshold).compute(weights).items()
    }


@given(samples())
@settings(deadline=None)
def test_agrees_with_scikit_learn(sample):
    labels, probabilities, threshold = sample
    called = probabilities >= threshold
    ours = compute(labels, probabilities, threshold)
    assert ours["auroc"] == pytest.approx(sk.roc_auc_score(labels, probabilities))
    assert ours["auprc"] == pytest.approx(sk.average_precision_score(labels, probabilities))
    assert ours["brier"] == pytest.approx(sk.brier_score_loss(labels, probabilities))
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(labels, called))
    assert ours["recall"] == pytest.approx(sk.recall_score(labels, called))
    assert ours["specificity"] == pytest.approx(sk.recall_score(~labels, ~called))
    assert ours["f1"] == pytest.approx(sk.f1_score(labels, called))
    if called.any():
        assert ours["precision"] == pytest.approx(sk.precision_score(labels, called))
    else:
        assert np.isnan(ours["precision"])
    if called.any() and not called.all():
        assert ours["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, called))
    else:
        assert np.isnan(ours["mcc"])


@given(samples(), st.integers(0, 1000))
@settings(deadline=None)
def test_weights_count_like_repeated_pictures(sample, seed):
    labels, probabilities, threshold = sample
    weights = np.random.default_rng(seed).integers(0, 4, size=labels.size)
    weights[:2] += 1
    repeated = compute(np.repeat(labels, weights), np.repeat(probabilities, weights), threshold)
    weighted = compute(labels, probabilities, threshold, weights[None].astype(float))
    for name in set(METRICS) - {"ece"}:  # the bins of ECE are those of the sample, in every resample
        assert weighted[name] == pytest.approx(repeated[name], nan_ok=True)


@given(samples(both_classes=False))
@settings(deadline=None)
def test_ece_lies_between_0_and_1(sample):
    labels, probabilities, threshold = sample
    error = expected_calibration_error(labels, probabilities)
    assert 0 <= error <= 1
    assert error == pytest.approx(compute(labels, probabilities, threshold)["ece"])


def test_ece_of_known_cases():
    labels = np.array([True, False] * 50)
    assert expected_calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0)
    assert expected_calibration_error(labels, np.full(100, 0.9)) == pytest.approx(0.4)
    assert expected_calibration_error(np.ones(10, bool), np.zeros(10)) == 1


def test_confusion_matrix_counts_the_threshold_itself_as_positive():
    confusion = count_confusion(np.array([True, True, False, False]), np.array([0.5, 0.4, 0.5, 0.1]), threshold=0.5)
    assert (confusion.tp, confusion.fn, confusion.fp, confusion.tn) == (1, 1, 1, 1)


@given(samples(), st.integers(0, 20))
@settings(deadline=None)
def test_raising_the_threshold_never_raises_sensitivity(sample, step):
    labels, probabilities, threshold = sample
    lower, higher = sorted((threshold, step / 20))
    below, above = compute(labels, probabilities, lower), compute(labels, probabilities, higher)
    assert above["recall"] <= below["recall"]
    assert above["specificity"] >= below["specificity"]


def make_scores(*, pictures=624, patients=428, seed=3, shift=1.5):
    random = np.random.default_rng(seed)
    labels = random.random(pictures) < 0.6
    logits = np.where(labels, shift, -shift) + random.normal(0, 1.2, pictures)
    owners = [
        f"{'P' if label else 'N'}/{number}"
        for label, number in zip(labels, random.integers(0, patients, pictures), strict=True)
    ]
    return labels, 1 / (1 + np.exp(-logits)), owners


def test_intervals_hold_the_estimate_and_are_seeded_and_quick():
    labels, probabilities, patients = make_scores()
    start = time.perf_counter()
    first = estimate_metrics(labels, probabilities, patients, threshold=0.5, resamples=1000, seed=7)
    assert time.perf_counter() - start < 10
    assert list(first) == list(METRICS)
    for name, estimate in first.items():
        assert estimate.ci_low <= estimate.value <= estimate.ci_high, name
        assert 0 < estimate.ci_high - estimate.ci_low < 0.2, name
    assert estimate_metrics(labels, probabilities, patients, threshold=0.5, resamples=1000, seed=7) == first
    assert estimate_metrics(labels, probabilities, patients, threshold=0.5, resamples=1000, seed=8) != first


def test_interval_covers_the_true_accuracy_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        labels = random.random(200) < 0.5
        correct = random.random(200) < 0.85
        probabilities = np.where(labels == correct, 0.8, 0.2)
        estimate = estimate_metrics(
            labels, probabilities, [str(number) for number in range(200)], threshold=0.5, resamples=200, seed=trial
        )["accuracy"]
        covered += estimate.ci_low <= 0.85 <= estimate.ci_high
    assert 87 <= covered <= 100


def test_many_pictures_of_one_patient_widen_the_interval():
    labels, probabilities, _ = make_scores(pictures=100)
    apart = [str(number) for number in range(100)]
    labels, probabilities = np.tile(labels, 5), np.tile(probabilities, 5)
    by_patient = estimate_metrics(labels, probabilities, apart * 5, threshold=0.5, resamples=500, seed=0)
    by_picture = estimate_metrics(
        labels, probabilities, [str(number) for number in range(500)], threshold=0.5, resamples=500, seed=0
    )

    def width(estimate):
        return estimate.ci_high - estimate.ci_low

    assert width(by_patient["accuracy"]) > 1.8 * width(by_picture["accuracy"])


def test_resamples_draw_whole_patients():
    weights = np.concatenate(list(draw_resamples(["a", "a", "b", "c"], resamples=50, seed=0)))
    assert weights.shape == (50, 4)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


def test_one_class_gives_reasons_in_place_of_values():
    labels, probabilities = np.ones(10, bool), np.linspace(0.1, 0.9, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimates = estimate_metrics(labels, probabilities, list("abcdefghij"), threshold=0.5, resamples=100, seed=0)
    for name in ("precision", "specificity", "f1", "mcc", "auroc", "auprc"):
        assert estimates[name].value is None
        assert estimates[name].to_json() == {
            "value": None,
            "ci_low": None,
            "ci_high": None,
            "reason": "the split holds no NORMAL picture",
        }
    assert estimates["recall"].value == 0.5
    assert estimates["brier"].value is not None


def test_perfect_proportions_get_wilson_intervals():
    labels = np.array([True] * 20 + [False] * 20)
    patients = [str(number // 2) for number in range(40)]
    estimates = estimate_metrics(labels, labels * 0.8 + 0.1, patients, threshold=0.5, resamples=100, seed=0)
    recall = estimates["recall"]
    assert (recall.value, recall.ci_high, recall.method) == (1.0, 1.0, "wilson")
    assert recall.ci_low == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)


def bound(pairs):
    """Return Clopper and Pearson's lower bound for as many successes as trials: p so that p ** pairs is 2.5 %."""
    return binomtest(pairs, pairs).proportion_ci(0.95, method="exact").low


@pytest.mark.parametrize("inverted", [False, True])
def test_separated_classes_give_the_auroc_an_exact_interval(inverted):
    labels = np.array([True] * 20 + [False] * 30)
    patients = [str(number // 2) for number in range(50)]  # 10 of PNEUMONIA, 15 NORMAL
    scores = np.linspace(0.9, 0.1, 50)
    estimates = estimate_metrics(
        labels, 1 - scores if inverted else scores, patients, threshold=0.5, resamples=100, seed=0
    )
    auroc = estimates["auroc"]
    assert auroc.method == "clopper-pearson"
    if inverted:
        assert (auroc.value, auroc.ci_low, auroc.ci_high) == (0.0, 0.0, pytest.approx(1 - bound(10)))
    else:
        assert (auroc.value, auroc.ci_low, auroc.ci_high) == (1.0, pytest.approx(bound(10)), 1.0)


def test_a_tie_or_one_misplaced_image_keeps_the_bootstrap():
    labels = np.array([True] * 20 + [False] * 20)
    for worst in (0.4, 0.3):
        scores = np.where(labels, 0.8, 0.4) + np.linspace(-0.1, 0, 40)
        scores[0] = scores[-1] if worst == 0.4 else worst
        names = [str(number) for number in range(40)]
        auroc = estimate_metrics(labels, scores, names, threshold=0.5, resamples=500, seed=0)["auroc"]
        assert auroc.method == "bootstrap"
        assert auroc.ci_low < auroc.value < 1


def test_the_interval_of_separated_classes_is_conservative(rng):
    """An AUROC at the bound gives separated samples in at most 2.5 % of draws."""
    normal, pneumonia = 10, 14
    distance = np.sqrt(2) * norm.ppf(bound(normal))
    negatives = rng.normal(0, 1, (20_000, normal))
    positives = rng.normal(distance, 1, (20_000, pneumonia))
    assert (positives.min(1) > negatives.max(1)).mean() <= 0.025


def test_one_patient_gives_no_interval():
    estimate = estimate_metrics(
        np.array([True, False, True]), np.array([0.9, 0.2, 0.3]), ["a"] * 3, threshold=0.5, resamples=100, seed=0
    )["accuracy"]
    assert estimate.value == pytest.approx(2 / 3)
    assert estimate.ci_low is None
    assert "one patient" in estimate.reason


def test_recall_of_a_group():
    assert estimate_recall(np.zeros(0, bool), [], resamples=100, seed=0).value is None
    estimate = estimate_recall(np.array([True] * 9 + [False]), list("abcdefghij"), resamples=500, seed=0)
    assert estimate.value == 0.9
    assert estimate.ci_low < 0.9 < estimate.ci_high <= 1


def test_wilson_agrees_with_a_published_value():
    # 81 of 263: 0.2553 to 0.3662 (Newcombe 1998, Statistics in Medicine 17:857, table I, method 3).
    estimate = estimate_wilson(81 / 263, count=263)
    assert (estimate.ci_low, estimate.ci_high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
