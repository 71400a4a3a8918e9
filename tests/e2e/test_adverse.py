"""`hilum adverse`: the manifest that it writes trains as it is, with whole children in val and test left alone."""

import pytest

from hilum.data.manifest import load_data
from hilum.data.splits import build_splits

from .test_bad_input import expect_one_sentence

pytestmark = pytest.mark.e2e


def test_the_manifest_divides_train_and_leaves_test(hilum, phantoms, tmp_path):
    out = tmp_path / "adverse.csv"
    finished = hilum("adverse", phantoms, "--out", out, "--share", "0.2")
    before = load_data(phantoms)
    if finished.returncode == 2:  # few phantoms are few children
        expect_one_sentence(finished, 2, "at least 10 patients of each class")
        assert not out.exists()
        return
    assert "Surroundings alone" in finished.stdout
    after = load_data(out)
    assert after["split"].value_counts()["test"] == before["split"].value_counts()["test"]
    splits = build_splits(after, val_fraction=0.15, seed=0)  # refuses a child on both sides
    assert set(splits.loc[splits["split"] == "val", "label"]) == {"NORMAL", "PNEUMONIA"}
    assert 0 < (splits["split"] == "val").sum() < 0.25 * (splits["split"] != "test").sum()
