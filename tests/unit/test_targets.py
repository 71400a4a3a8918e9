import numpy as np
import pandas as pd
import pytest

from hilum.data.targets import build_targets

pytestmark = pytest.mark.unit

ROWS = pd.DataFrame(
    {
        "label": ["NORMAL", "PNEUMONIA", "PNEUMONIA", "PNEUMONIA", "NORMAL"],
        "pathogen": ["", "bacteria", "virus", "", "virus"],
    }
)


def test_sick_or_healthy_is_the_first_target():
    targets = build_targets(ROWS, pathogen=False)
    assert targets.dtype == np.float32
    assert targets.tolist() == [[0], [1], [1], [1], [0]]


def test_the_pathogen_is_known_for_named_pneumonias_alone():
    targets = build_targets(ROWS, pathogen=True)
    assert targets[:, 0].tolist() == [0, 1, 1, 1, 0]
    np.testing.assert_array_equal(targets[:, 1], [np.nan, 0, 1, np.nan, np.nan])
