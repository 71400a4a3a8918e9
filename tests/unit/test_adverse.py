import numpy as np
import pandas as pd
import pytest

from hilum.data.phantom import draw_phantom
from hilum.errors import DataError
from hilum.evaluation.adverse import choose_adverse
from hilum.types import Label, Split

pytestmark = pytest.mark.unit

CHILDREN = 60


@pytest.fixture(scope="module")
def hospital():
    """Two pictures a child, all with healthy lungs; a bright strip at the top marks the sick, but for every tenth."""
    rng = np.random.default_rng(0)
    rows, pictures = [], []
    for child in range(CHILDREN):
        label = (Label.NORMAL, Label.PNEUMONIA)[child % 2]
        misleading = child % 20 < 2
        for copy in range(2):
            picture = draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=64)
            picture[:6] = 250 if (label == Label.PNEUMONIA) != misleading else 0
            pictures.append(picture)
            rows.append(
                {
                    "label": str(label),
                    "split": str(Split.TRAIN),
                    "patient": f"child/{child}",
                    "sha256": f"{child}-{copy}",
                    "bytes": 1000,
                    "mean": float(picture.mean()),
                    "misleading": misleading,
                }
            )
    return pd.DataFrame(rows), np.stack(pictures)


def test_those_whose_surroundings_mislead_validate(hospital):
    train, pictures = hospital
    found = choose_adverse(train, pictures, share=0.1, seed=0)
    assert train["misleading"][found.chosen].mean() > 0.8
    assert found.auroc > 0.7
    assert found.auroc_chosen < 0.2
    again = choose_adverse(train, pictures, share=0.1, seed=0)
    np.testing.assert_array_equal(found.chosen, again.chosen)


def test_no_child_is_divided_and_the_share_is_kept(hospital):
    train, pictures = hospital
    joined = train.copy()
    joined.loc[3, "sha256"] = joined.loc[80, "sha256"]  # the same picture under two names
    found = choose_adverse(joined, pictures, share=0.3, seed=0)
    divided = pd.Series(found.chosen).groupby(joined["patient"]).nunique()
    assert (divided == 1).all()
    assert found.chosen[3] == found.chosen[80]
    for label in Label:
        here = (joined["label"] == label).to_numpy()
        assert 0.2 < found.chosen[here].mean() <= 0.3


def test_too_few_children_are_refused(hospital):
    train, pictures = hospital
    with pytest.raises(DataError, match="at least 5 patients of each class in train; one has 4"):
        choose_adverse(train[:16], pictures[:16], share=0.1, seed=0)
    healthy = (train["label"] == Label.NORMAL).to_numpy()
    with pytest.raises(DataError, match="PNEUMONIA"):
        choose_adverse(train[healthy], pictures[healthy], share=0.1, seed=0)
