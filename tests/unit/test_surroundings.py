import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hilum.data.phantom import draw_phantom
from hilum.data.surroundings import describe_surroundings, judge_surroundings, weigh_draws
from hilum.types import Label

pytestmark = pytest.mark.unit

PATIENTS = np.array([f"child/{child}" for child in range(120)], dtype=object)
SICK = np.arange(120) % 2 == 0


def test_what_lies_in_the_lungs_is_no_surroundings():
    rng = np.random.default_rng(0)
    healthy = draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=64)
    opaque, framed = healthy.copy(), healthy.copy()
    opaque[24:36, 16:24] = 200
    framed[:4] = 255
    facts = np.zeros((3, 1))
    pictures = np.stack([healthy, opaque, framed])
    lungs = np.zeros(pictures.shape, dtype=np.bool_)
    lungs[:, 16:48, 12:52] = True
    described = describe_surroundings(pictures, lungs, facts)
    assert np.abs(described[0] - described[2]).max() > 100
    np.testing.assert_array_equal(described[0], described[1])


def test_each_patient_is_judged_by_others():
    """A feature that names the patient says nothing of patients whom the classifier never saw."""
    named = np.eye(60)[np.arange(120) // 2]
    sick = (np.arange(120) // 2) % 2 == 0
    patients = np.array([f"child/{place // 2}" for place in range(120)], dtype=object)
    evidence = judge_surroundings(named, sick, patients, seed=0)
    assert roc_auc_score(sick, evidence) < 0.6
    noise = np.random.default_rng(0).normal(size=(120, 5))
    telling = np.column_stack([noise, np.where(sick, 1.0, -1.0)])
    assert roc_auc_score(sick, judge_surroundings(telling, sick, patients, seed=0)) > 0.9


def test_too_few_patients_give_no_evidence():
    features = np.where(SICK, 1.0, -1.0)[:, None]
    alone = np.where(SICK, "child/0", PATIENTS)
    assert (judge_surroundings(features, SICK, alone, seed=0) == 0).all()


def test_misleading_surroundings_are_drawn_more_often_and_both_classes_alike():
    rng = np.random.default_rng(0)
    sick = rng.random(2000) < 0.75
    evidence = np.where(sick, 1.0, -1.0) + rng.normal(0, 1.5, 2000)
    weights = weigh_draws(evidence, sick)
    assert weights.mean() == pytest.approx(1)
    assert weights[sick].sum() == pytest.approx(weights[~sick].sum())
    for of_class, wrong in ((sick, evidence < 0), (~sick, evidence > 0)):
        assert weights[of_class & wrong].mean() > 2 * weights[of_class & ~wrong].mean()
        assert weights[of_class].max() <= 10 * weights[of_class].min() + 1e-9
    before, after = roc_auc_score(sick, evidence), roc_auc_score(sick, evidence, sample_weight=weights)
    assert before > 0.8
    assert abs(after - 0.5) < abs(before - 0.5) / 2


def test_surroundings_that_say_nothing_change_nothing_but_the_classes():
    rng = np.random.default_rng(0)
    sick = rng.random(2000) < 0.75
    for evidence in (np.zeros(2000), rng.normal(0, 5, 2000), np.where(sick, -2.0, 2.0)):
        weights = weigh_draws(evidence, sick)
        for of_class in (sick, ~sick):
            assert weights[of_class].std() < 0.15 * weights[of_class].mean()
