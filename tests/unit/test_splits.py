import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.cli.judging import Part, join_splits
from hilum.data.splits import COLUMNS, build_splits, check_leakage, hash_splits, read_splits, write_splits
from hilum.errors import DataError, HilumError, LeakageError

pytestmark = pytest.mark.unit

KINDS = (("NORMAL", ""), ("PNEUMONIA", "bacteria"), ("PNEUMONIA", "virus"))


def build_manifest(pictures, *, tests=()):
    """Build a manifest of (kind, patient, content) triples; patients are apart between kinds."""
    rows = []
    for split, triples in (("train", pictures), ("test", tests)):
        for number, (kind, patient, content) in enumerate(triples):
            label, pathogen = KINDS[kind]
            rows.append(
                {
                    "path": f"/data/{split}/{number:05d}.png",
                    "sha256": content,
                    "label": label,
                    "pathogen": pathogen,
                    "patient": f"{kind}-{split}/{patient}",
                    "split": split,
                    "status": "ok",
                }
            )
    return pd.DataFrame(rows)


def draw_manifest(seed, *, patients=60, duplicates=0):
    rng = np.random.default_rng(seed)
    pictures = []
    for patient in range(patients):
        kind = patient % 3
        pictures += [(kind, patient, f"{patient}-{i}") for i in range(int(rng.integers(1, 5)))]
    for _ in range(duplicates):
        a, b = rng.choice(len(pictures), 2, replace=False)
        if pictures[a][0] == pictures[b][0]:
            pictures[b] = (*pictures[b][:2], pictures[a][2])
    tests = [(patient % 3, patient, f"test-{patient}") for patient in range(9)]
    return build_manifest(pictures, tests=tests)


@given(
    manifest_seed=st.integers(0, 10_000),
    seed=st.integers(0, 2**31 - 1),
    patients=st.integers(12, 90),
    duplicates=st.integers(0, 20),
    val_fraction=st.floats(0.05, 0.49),
)
def test_splits_are_disjoint_whole_and_repeatable(manifest_seed, seed, patients, duplicates, val_fraction):
    manifest = draw_manifest(manifest_seed, patients=patients, duplicates=duplicates)
    manifest.loc[0, "status"] = "unreadable"
    splits = build_splits(manifest, val_fraction=val_fraction, seed=seed)
    assert splits.groupby("patient")["split"].nunique().max() == 1
    assert splits.groupby("sha256")["split"].nunique().max() == 1
    assert list(splits["path"]) == list(manifest["path"][1:])
    assert set(splits["split"]) == {"train", "val", "test"}
    assert splits.groupby("split")["label"].nunique().eq(2).all()
    in_test = manifest.loc[manifest["split"] == "test", "path"]
    assert set(splits.loc[splits["split"] == "test", "path"]) == set(in_test)
    again = build_splits(manifest, val_fraction=val_fraction, seed=seed)
    pd.testing.assert_frame_equal(again, splits)


def test_another_seed_gives_other_splits():
    manifest = draw_manifest(0)
    hashes = {hash_splits(build_splits(manifest, val_fraction=0.2, seed=seed)) for seed in range(5)}
    assert len(hashes) == 5


def test_folds_divide_train_between_them():
    manifest = draw_manifest(2, patients=300)
    chosen = [build_splits(manifest, val_fraction=0.2, seed=4, fold=fold) for fold in range(5)]
    validating = pd.concat([splits[splits["split"] == "val"] for splits in chosen])
    first = chosen[0]
    assert sorted(validating["path"]) == sorted(first.loc[first["split"] != "test", "path"])
    pd.testing.assert_frame_equal(first, build_splits(manifest, val_fraction=0.2, seed=4))
    with pytest.raises(DataError, match="no fold 5: train divides into 5"):
        build_splits(manifest, val_fraction=0.2, seed=4, fold=5)


def test_validation_has_its_share_of_every_stratum():
    manifest = draw_manifest(1, patients=600)
    splits = build_splits(manifest, val_fraction=0.2, seed=0)
    train = splits[splits["split"] != "test"]
    shares = (train["split"] == "val").groupby([train["label"], train["pathogen"]]).mean()
    assert len(shares) == 3
    np.testing.assert_allclose(shares, 0.2, atol=0.02)


def test_patients_that_share_a_picture_stay_together_through_others():
    # Patients 0 to 5 form a chain of shared pictures; no two neighbours may part.
    chain = [(0, patient, f"link-{link}") for patient in range(6) for link in (patient, patient + 1)]
    others = [(kind, 100 + patient, f"{kind}-{patient}") for kind in range(3) for patient in range(12)]
    for seed in range(5):
        splits = build_splits(build_manifest(chain + others), val_fraction=0.25, seed=seed)
        assert splits.loc[: len(chain) - 1, "split"].nunique() == 1


def test_validation_of_a_table_is_kept():
    manifest = draw_manifest(2)
    chosen = manifest["patient"].isin(["0-train/0", "1-train/1"])
    manifest.loc[chosen, "split"] = "val"
    splits = build_splits(manifest, val_fraction=0.2, seed=0)
    assert list(splits["split"]) == list(manifest["split"])


def test_copies_of_given_validation_pictures_leave_train(caplog):
    manifest = draw_manifest(3)
    manifest.loc[manifest["patient"] == "0-train/0", "split"] = "val"
    validating = manifest.loc[manifest["split"] == "val", "sha256"].iloc[0]
    copy = manifest.index[manifest["split"] == "train"][-1]
    lone = manifest["patient"] == manifest.loc[copy, "patient"]
    manifest = manifest[~lone | (manifest.index == copy)].reset_index(drop=True)
    copy = manifest.index[manifest["split"] == "train"][-1]
    manifest.loc[copy, "sha256"] = validating
    splits = build_splits(manifest, val_fraction=0.2, seed=0)
    assert splits.loc[copy, "split"] == "val"
    assert "Moved 1 pictures from train to val" in caplog.text


def test_a_patient_in_two_splits_is_named():
    manifest = draw_manifest(4)
    manifest.loc[manifest["split"] == "test", "patient"] = manifest["patient"].iloc[0]
    with pytest.raises(LeakageError, match=r"1 patient stands in more than one split: 0-train/0 \(test, train\)"):
        build_splits(manifest, val_fraction=0.2, seed=0)


def test_many_leaking_patients_are_counted_and_the_first_named():
    splits = pd.DataFrame(
        {
            "path": [f"/d/{i}" for i in range(40)],
            "sha256": [str(i) for i in range(40)],
            "patient": [f"IM/{i % 20:02d}" for i in range(40)],
            "split": ["train"] * 20 + ["test"] * 20,
        }
    )
    with pytest.raises(LeakageError, match=r"20 patients stand .*IM/00.*IM/09.*and 10 more") as caught:
        check_leakage(splits)
    assert "IM/10" not in str(caught.value)


def test_a_picture_in_train_and_test_names_the_files():
    manifest = draw_manifest(5)
    manifest.loc[manifest.index[-1], "sha256"] = manifest["sha256"].iloc[0]
    with pytest.raises(LeakageError, match=r"/data/train/00000\.png \((train|val)\) = /data/test/00008\.png \(test\)"):
        build_splits(manifest, val_fraction=0.2, seed=0)


def test_few_patients_make_validation_larger_and_a_warning_says_so(caplog):
    pictures = [(kind, patient, f"{kind}-{patient}") for kind in (0, 1) for patient in range(3)]
    splits = build_splits(build_manifest(pictures), val_fraction=0.1, seed=0)
    assert splits["split"].value_counts().to_dict() == {"train": 4, "val": 2}
    assert "only 3 NORMAL patients" in caplog.text


def test_a_rare_pathogen_is_stratified_with_its_class():
    pictures = [(kind, patient, f"{kind}-{patient}") for kind in (0, 1) for patient in range(20)]
    splits = build_splits(build_manifest([*pictures, (2, 0, "virus")]), val_fraction=0.2, seed=0)
    assert set(splits["split"]) == {"train", "val"}


@pytest.mark.parametrize(
    ("pictures", "part"),
    [
        ([(0, patient, str(patient)) for patient in range(9)], "no readable PNEUMONIA picture"),
        ([(0, 0, "a"), (0, 0, "b"), (1, 0, "c"), (1, 1, "d")], "a single NORMAL patient"),
    ],
)
def test_train_that_cannot_be_divided_is_refused(pictures, part):
    with pytest.raises(DataError, match=part):
        build_splits(build_manifest(pictures), val_fraction=0.2, seed=0)


def test_pictures_without_label_or_split_are_refused():
    manifest = draw_manifest(6)
    for column in ("label", "split"):
        changed = manifest.copy()
        changed.loc[2, column] = ""
        with pytest.raises(DataError, match=rf"1 picture has no {column}; the first is /data/train/00002\.png"):
            build_splits(changed, val_fraction=0.2, seed=0)


def test_a_test_set_alone_is_kept_without_validation():
    manifest = draw_manifest(7)
    splits = build_splits(manifest[manifest["split"] == "test"], val_fraction=0.2, seed=0)
    assert set(splits["split"]) == {"test"}


def test_splits_survive_writing_and_reading(tmp_path):
    splits = build_splits(draw_manifest(8), val_fraction=0.2, seed=3)
    path = tmp_path / "run" / "splits.csv"
    digest = write_splits(splits, path, seed=3, val_fraction=0.2)
    pd.testing.assert_frame_equal(read_splits(path), splits)
    record = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert record["hash"] == digest == hash_splits(splits.sample(frac=1, random_state=0))
    assert (record["seed"], record["val_fraction"]) == (3, 0.2)
    assert record["counts"]["test"] == {"NORMAL": 3, "PNEUMONIA": 6}
    assert tuple(splits.columns) == COLUMNS


def test_the_hash_is_of_pictures_and_not_of_places():
    splits = build_splits(draw_manifest(9), val_fraction=0.2, seed=0)
    moved = splits.assign(path=splits["path"].str.replace("/data", "/elsewhere"))
    assert hash_splits(moved) == hash_splits(splits)


@pytest.mark.parametrize("change", ["split", "row"])
def test_splits_that_were_changed_are_refused(tmp_path, change):
    path = tmp_path / "splits.csv"
    write_splits(build_splits(draw_manifest(10), val_fraction=0.2, seed=0), path, seed=0, val_fraction=0.2)
    text = path.read_text()
    path.write_text(text.replace(",val\n", ",train\n", 1) if change == "split" else text[: text.rindex("/data")])
    with pytest.raises(DataError, match=r"splits\.csv was changed since it was written"):
        read_splits(path)


def test_missing_files_of_splits_are_named(tmp_path):
    with pytest.raises(DataError, match=r"splits\.csv is missing"):
        read_splits(tmp_path / "splits.csv")
    write_splits(
        build_splits(draw_manifest(11), val_fraction=0.2, seed=0), tmp_path / "splits.csv", seed=0, val_fraction=0.2
    )
    (tmp_path / "splits.json").unlink()
    with pytest.raises(HilumError, match=r"splits\.json is missing"):
        read_splits(tmp_path / "splits.csv")


def test_the_pictures_of_a_run_are_found_again_where_the_data_have_moved():
    rest = {"label": "NORMAL", "pathogen": "", "status": "ok"}
    own = pd.DataFrame(
        {"path": ["/a/1", "/a/2", "/a/3", "/a/9"], "sha256": ["x", "x", "y", "q"], "patient": list("abcd"), **rest}
    ).assign(split=["train", "train", "val", "val"])
    data = pd.DataFrame(
        {"path": ["/b/1", "/b/2", "/b/3", "/b/4"], "sha256": ["x", "x", "y", "z"], "patient": list("abce"), **rest}
    ).assign(split=["train", "train", "train", "test"])
    joined, _ = join_splits(own, data, Part.TEST)
    assert joined["path"].tolist() == ["/b/1", "/b/2", "/b/3", "/a/9", "/b/4"]
    assert joined["split"].tolist() == ["train", "train", "val", "val", "test"]
    fewer, _ = join_splits(own, data[1:], Part.TEST)
    assert fewer["path"].tolist()[:2] == ["/b/2", "/b/2"]  # one copy is left of two
