import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.inference.rule import shift_prior

pytestmark = pytest.mark.unit

inside = st.floats(0.001, 0.999)


def test_the_formula_by_hand():
    # Odds 3 at a prior of 3/4 (odds 3): the picture itself says nothing, so the answer is the new prior.
    assert shift_prior(0.75, trained=0.75, deployed=0.05) == pytest.approx(0.05)
    # Odds 9, prior odds 1 -> 1/4: odds 9/4.
    assert shift_prior(0.9, trained=0.5, deployed=0.2) == pytest.approx(9 / 13)


@given(st.floats(0, 1), inside, inside)
def test_the_odds_are_divided_by_those_trained_and_multiplied_by_those_deployed(probability, trained, deployed):
    shifted = shift_prior(probability, trained=trained, deployed=deployed)
    assert 0 <= shifted <= 1
    expected = probability * (deployed / (1 - deployed)) * (1 - shifted)
    assert shifted * (1 - probability) * (trained / (1 - trained)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(inside, inside, inside)
def test_it_can_be_undone(probability, trained, deployed):
    there = shift_prior(probability, trained=trained, deployed=deployed)
    assert shift_prior(there, trained=deployed, deployed=trained) == pytest.approx(probability, rel=1e-9)


def test_it_makes_probabilities_right_in_another_population(rng):
    """Gaussian scores of the healthy and the sick: the corrected probability is the posterior of the new mixture."""

    def posterior(score, prior):
        sick, healthy = np.exp(-((score - 1) ** 2) / 2) * prior, np.exp(-((score + 1) ** 2) / 2) * (1 - prior)
        return sick / (sick + healthy)

    for score in rng.normal(size=20):
        shifted = shift_prior(posterior(score, 0.743), trained=0.743, deployed=0.1)
        assert shifted == pytest.approx(posterior(score, 0.1))
