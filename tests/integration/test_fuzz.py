"""Some hundred damaged inputs of every kind; `make fuzz` runs 20,000."""

import pytest
from tests.fuzz import fuzz

pytestmark = pytest.mark.integration


def test_damaged_inputs_end_in_an_answer_or_one_sentence():
    outcomes, failures = fuzz(range(500))
    assert failures == []
    assert outcomes.total() == 500
    # The fuzzer reaches both: what is still sound, and what is refused.
    assert any(name.endswith("read") for name in outcomes)
    assert any(name.endswith("Error") for name in outcomes)
