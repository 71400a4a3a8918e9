"""`hilum adverse`: the manifest that it writes trains as it is, with whole children in val and test left alone."""

import pytest

from hilum.data.manifest import load_data
from hilum.data.splits import build_splits

from .test_bad_input import expect_one_sentence

pytestmark = pytest.mark.e2e


def test_the_manifest_divides_train_and_leaves_test(hilum, phantoms, tmp_path):
    out = tmp_path / "adverse.csv"
    finished = hilum("adverse", phantoms, "--out", out, "--share", "0.3")
    before = load_data(phantoms)
    assert finished.returncode == 0, finished.stderr
    assert "Surroundings alone" in finished.stdout
    after = load_data(out)
    assert after["split"].value_counts()["test"] == before["split"].value_counts()["test"]
    splits = build_splits(after, val_fraction=0.15, seed=0)  # refuses a child on both sides
    assert set(splits.loc[splits["split"] == "val", "label"]) == {"NORMAL", "PNEUMONIA"}
    expect_one_sentence(hilum("adverse", tmp_path, "--out", out), 2)
    assert 0 < (splits["split"] == "val").sum() < 0.5 * (splits["split"] != "test").sum()
