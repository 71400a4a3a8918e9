import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hilum.data.images import read_picture
from hilum.data.manifest import (
    COLUMNS,
    hash_manifest,
    load_data,
    read_manifest,
    require_both_classes,
    scan,
    write_manifest,
)
from hilum.data.summary import summarise
from hilum.errors import DataError
from hilum.types import Label, Split

pytestmark = pytest.mark.unit


def by_name(manifest):
    return manifest.assign(name=[path.rsplit("/", 1)[1] for path in manifest["path"]]).set_index("name")


def write_rows(path, header, *rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def npz(tmp_path, rng):
    sizes = {"train": 12, "val": 4, "test": 4}
    arrays = {}
    for split, count in sizes.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **arrays)
    return path


def test_a_folder_becomes_sorted_rows(kaggle_folder):
    manifest = scan(kaggle_folder)
    assert tuple(manifest.columns) == COLUMNS
    assert list(manifest["path"]) == sorted(map(str, kaggle_folder.rglob("*.jpeg")))
    row = by_name(manifest).loc["person9001_virus_6.jpeg"]
    assert (row.label, row.split, row.pathogen, row.patient) == ("PNEUMONIA", "train", "virus", "virus/9001")
    assert (row.width, row.height, row["mode"], row.format, row.status, row.message) == (48, 40, "L", "JPEG", "ok", "")
    pixels, _ = read_picture(row.path)
    assert row["mean"] == pytest.approx(pixels.mean())
    assert len(row.sha256) == 64
    assert len(row.phash) == 16


def test_the_folder_val_is_used_in_train_and_remembered(kaggle_folder):
    manifest = by_name(scan(kaggle_folder))
    row = manifest.loc["NORMAL2-IM-9427-0001.jpeg"]
    assert (row.split, row.given_split) == ("train", "val")
    assert set(manifest["split"]) == {"train", "test"}
    assert summarise(scan(kaggle_folder)).folded == 2


def test_wrappers_and_cases_of_folders_do_not_matter(tmp_path, draw_picture):
    root = tmp_path / "download"
    draw_picture(root / "chest_xray" / "Chest_Xray" / "TRAIN" / "normal" / "series" / "IM-9001-0001.png")
    draw_picture(root / "chest_xray" / "Chest_Xray" / "Validation" / "Pneumonia" / "a.tif")
    draw_picture(root / "chest_xray" / "Chest_Xray" / "Test" / "PNEUMONIA" / "person9001_virus_1.bmp")
    manifest = by_name(scan(root))
    assert manifest[["label", "split", "given_split"]].to_dict("index") == {
        "IM-9001-0001.png": {"label": "NORMAL", "split": "train", "given_split": "train"},
        "a.tif": {"label": "PNEUMONIA", "split": "train", "given_split": "val"},
        "person9001_virus_1.bmp": {"label": "PNEUMONIA", "split": "test", "given_split": "test"},
    }


def test_an_unknown_name_is_its_own_patient(tmp_path, draw_picture):
    draw_picture(tmp_path / "train" / "NORMAL" / "a.png")
    draw_picture(tmp_path / "train" / "PNEUMONIA" / "a.png")
    manifest = scan(tmp_path)
    assert list(manifest["patient"]) == ["file/train/NORMAL/a.png", "file/train/PNEUMONIA/a.png"]
    assert not manifest["patient_known"].any()


def test_a_name_gives_a_normal_picture_no_pathogen(tmp_path, draw_picture):
    draw_picture(tmp_path / "NORMAL" / "person9001_virus_6.png")
    draw_picture(tmp_path / "PNEUMONIA" / "person9001_virus_6.png")
    assert list(scan(tmp_path)["pathogen"]) == ["", "virus"]


def test_a_folder_named_test_is_the_test_split_when_given_alone(kaggle_folder):
    assert set(scan(kaggle_folder / "test")["split"]) == {"test"}


def test_the_name_of_the_whole_folder_is_no_label(kaggle_folder, tmp_path):
    root = kaggle_folder.rename(tmp_path / "pneumonia")
    (root / "README.md").write_text("no picture")
    manifest = scan(root)
    assert (manifest["status"] == "ok").all()
    assert set(manifest["label"]) == {"NORMAL", "PNEUMONIA"}


def test_without_split_folders_all_is_train_and_a_warning_says_so(tmp_path, draw_picture, caplog):
    for label in Label:
        draw_picture(tmp_path / "data" / label / "a.png")
    assert set(scan(tmp_path / "data")["split"]) == {"train"}
    assert "Nothing names a split" in caplog.text
    caplog.clear()
    scan(tmp_path / "data", splits_matter=False)
    assert "split" not in caplog.text


def test_every_file_below_a_label_keeps_a_row(kaggle_folder, draw_picture):
    folder = kaggle_folder / "train" / "NORMAL"
    (folder / "empty.jpeg").touch()
    (folder / "notes.txt").write_text("see the archive")
    (folder / "x.dcm").write_bytes(bytes(128) + b"DICM")
    whole = (folder / "IM-9115-0001.jpeg").read_bytes()
    (folder / "cut.jpeg").write_bytes(whole[: len(whole) // 2])
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    draw_picture(folder / "png.png").rename(folder / "named.jpeg")
    draw_picture(kaggle_folder / "stray.png")
    (kaggle_folder / "README.md").write_text("no picture, and no label")
    manifest = by_name(scan(kaggle_folder))
    assert {name: manifest.loc[name, "status"] for name in manifest.index[manifest["status"] != "ok"]} == {
        "empty.jpeg": "unreadable",
        "notes.txt": "unreadable",
        "x.dcm": "unsupported",
        "cut.jpeg": "unreadable",
        "gone.png": "unreadable",
        "stray.png": "unsupported",
    }
    assert manifest.loc["named.jpeg", "format"] == "PNG"
    cut = manifest.loc["cut.jpeg"]
    assert (cut.width, cut.bytes, len(cut.sha256), cut.phash) == (0, len(whole) // 2, 64, "")
    assert np.isnan(cut["mean"])
    assert "has no label" in manifest.loc["stray.png", "message"]
    assert str(kaggle_folder) not in "".join(manifest["message"])
    assert "README.md" not in manifest.index


def test_hidden_files_are_skipped_and_counted(kaggle_folder, caplog):
    before = scan(kaggle_folder)
    (kaggle_folder / "train" / ".DS_Store").write_bytes(b"x")
    (kaggle_folder / "train" / "NORMAL" / "._IM-9115-0001.jpeg").write_bytes(b"x")
    (kaggle_folder / "train" / "NORMAL" / "Thumbs.db").write_bytes(b"x")
    copy = kaggle_folder / "__MACOSX" / "train" / "NORMAL"
    copy.mkdir(parents=True)
    (copy / "IM-9115-0001.jpeg").write_bytes(b"x")
    with caplog.at_level("INFO"):
        after = scan(kaggle_folder)
    pd.testing.assert_frame_equal(before, after)
    assert "Hidden files and folders skipped: 4" in caplog.text


def test_a_copy_of_the_tree_inside_itself_is_left_out(kaggle_folder, caplog):
    before = scan(kaggle_folder)
    for path in list(kaggle_folder.rglob("*.jpeg")):
        copy = kaggle_folder / "chest_xray" / path.relative_to(kaggle_folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    pd.testing.assert_frame_equal(scan(kaggle_folder), before)
    assert "Left out 12 files" in caplog.text
    (kaggle_folder / "chest_xray" / "train" / "NORMAL" / "IM-9115-0001.jpeg").write_bytes(b"another content")
    assert len(scan(kaggle_folder)) == 13


def test_equal_pictures_of_two_hospitals_both_count(tmp_path, draw_picture):
    path = draw_picture(tmp_path / "a" / "NORMAL" / "1.png")
    copy = tmp_path / "b" / "NORMAL" / "1.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes())
    summary = summarise(scan(tmp_path))
    assert (summary.pictures, summary.duplicate_groups, summary.duplicate_files) == (2, 1, 2)


def test_links_to_folders_are_followed_once(tmp_path, draw_picture):
    draw_picture(tmp_path / "real" / "NORMAL" / "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    assert [path.removeprefix(str(tmp_path)) for path in scan(tmp_path / "data")["path"]] == [
        "/data/train/NORMAL/a.png"
    ]


@pytest.mark.parametrize(
    ("prepare", "part"),
    [
        (lambda root: root / "gone", "does not exist"),
        (lambda root: root, "holds no files"),
        (lambda root: (root / "cats.jpg").touch() or root, "is named NORMAL or PNEUMONIA"),
        (lambda root: (root / "archive.zip").touch() or root / "archive.zip", "unpack it first"),
        (lambda root: (root / "x.json").touch() or root / "x.json", "neither a folder of pictures"),
        (lambda root: (root / "x.npz").touch() or root / "x.npz", "not a sound .npz"),
        (lambda root: (root / "x.csv").touch() or root / "x.csv", "no column named path and none named label"),
    ],
)
def test_a_source_that_holds_no_data_is_refused_in_one_sentence(tmp_path, prepare, part):
    with pytest.raises(DataError, match=part) as caught:
        scan(prepare(tmp_path))
    assert "\n" not in str(caught.value)


def test_one_class_alone_is_warned_of_and_refused_where_both_are_needed(tmp_path, draw_picture, caplog):
    draw_picture(tmp_path / "train" / "NORMAL" / "a.png")
    manifest = scan(tmp_path)
    assert "no readable PNEUMONIA picture" in caplog.text
    with pytest.raises(DataError, match="train split holds no readable PNEUMONIA picture"):
        require_both_classes(manifest, Split.TRAIN)
    with pytest.raises(DataError, match="test split holds no readable pictures"):
        require_both_classes(manifest, "test")


def test_unreadable_pictures_do_not_count_as_a_class(kaggle_folder):
    require_both_classes(scan(kaggle_folder), Split.TEST)
    (kaggle_folder / "test" / "NORMAL" / "IM-9001-0001.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match="test split holds no readable NORMAL"):
        require_both_classes(scan(kaggle_folder), Split.TEST)


def test_a_table_of_labels_is_read(tmp_path, draw_picture):
    for name in ("a.png", "b.png", "sub/IM-9007-0001.png", "test/c.png", "d.png"):
        draw_picture(tmp_path / "pictures" / name)
    table = write_rows(
        tmp_path / "labels.csv",
        ["Path", "LABEL", "patient", "split", "age"],
        ["pictures/a.png", "normal", "p1", "val", "3"],
        ["pictures/b.png", "Pneumonia", "p1", "Train", "4"],
        ["pictures/sub/IM-9007-0001.png", "NORMAL", "", "", ""],
        ["pictures/test/c.png", "PNEUMONIA", "", "", ""],
        [str(tmp_path / "pictures" / "d.png"), "PNEUMONIA", "", "test", ""],
        ["pictures/missing.png", "PNEUMONIA", "", "train", ""],
    )
    manifest = by_name(load_data(table))
    found = manifest[["label", "split", "given_split", "patient", "patient_known"]]
    assert [tuple(row) for row in found.itertuples()] == [
        ("a.png", "NORMAL", "val", "val", "patient/p1", True),
        ("b.png", "PNEUMONIA", "train", "train", "patient/p1", True),
        ("d.png", "PNEUMONIA", "test", "test", "file/pictures/d.png", False),
        ("missing.png", "PNEUMONIA", "train", "train", "file/pictures/missing.png", False),
        ("IM-9007-0001.png", "NORMAL", "train", "", "IM/9007", True),
        ("c.png", "PNEUMONIA", "test", "test", "file/pictures/test/c.png", False),
    ]
    assert manifest.loc["missing.png", "message"] == "The file cannot be read: No such file or directory."


@pytest.mark.parametrize(
    ("header", "rows", "part"),
    [
        (["path", "class"], [["a.png", "NORMAL"]], "no column named label"),
        (["path", "label"], [], "no rows"),
        (
            ["path", "label"],
            [["a.png", "NORMAL"], ["b.png", "tuberculosis"], ["c.png", "1"]],
            "line 3 .*'tuberculosis'; line 4 .*'1'",
        ),
        (["path", "label", "split"], [["a.png", "NORMAL", "holdout"]], "line 2 has the split 'holdout'"),
        (["path", "label"], [["a.png", "NORMAL"], ["x/../a.png", "PNEUMONIA"]], "line 3 repeats the path of line 2"),
        (["path", "label"], [["", "NORMAL"]], "line 2 has no path"),
        (["path", "label"], [["a.png", "NORMAL", "more"]], "line 2 has 3 cells under 2 columns"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_line_numbers(tmp_path, header, rows, part):
    with pytest.raises(DataError, match=part):
        scan(write_rows(tmp_path / "labels.csv", header, *rows))


def test_a_table_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("path,label\nRöntgen.png,NORMAL\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        scan(path)


def test_an_npz_is_read(npz):
    manifest = scan(npz)
    assert manifest["split"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert (manifest["status"] == "ok").all()
    assert not manifest["patient_known"].any()
    row = manifest.set_index("path").loc[f"{npz}#train_images/3"]
    assert (row.label, row.width, row.bytes, row.format) == ("PNEUMONIA", 28, 784, "NPZ")
    pixels, _ = read_picture(f"{npz}#train_images/3")
    assert row["mean"] == pytest.approx(pixels.mean())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"train_labels": np.arange(12)}, "labels 2, 3, 4, 5, 6 in train_labels"),
        ({"val_labels": np.zeros(3, dtype=np.uint8)}, "4 val_images but 3 val_labels"),
        ({"test_images": np.zeros((4, 28, 28), dtype=np.float32)}, "float32"),
        ({"test_images": None}, "no array named test_images"),
    ],
)
def test_an_npz_of_another_form_is_refused(npz, change, part):
    with np.load(npz) as archive:
        arrays = {**archive, **change}
    np.savez(npz, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=part):
        scan(npz)


def test_a_manifest_survives_writing_and_reading(kaggle_folder, tmp_path):
    (kaggle_folder / "train" / "NORMAL" / 'NA,\n"odd" #1.jpeg').write_bytes(b"")
    manifest = scan(kaggle_folder)
    for path in (tmp_path / "manifest.csv", tmp_path / "elsewhere" / "m.csv"):
        write_manifest(manifest, path)
        pd.testing.assert_frame_equal(load_data(path), manifest)


def test_a_manifest_moves_with_its_pictures(kaggle_folder, tmp_path):
    manifest = scan(kaggle_folder)
    write_manifest(manifest, kaggle_folder / "manifest.csv")
    assert str(tmp_path) not in (kaggle_folder / "manifest.csv").read_text()
    moved = kaggle_folder.rename(tmp_path / "moved")
    found = read_manifest(moved / "manifest.csv")
    assert found["path"].iloc[0] == str(moved / "test" / "NORMAL" / "IM-9001-0001.jpeg")
    assert hash_manifest(found) == hash_manifest(manifest)


def test_an_npz_reference_moves_too(npz, tmp_path):
    write_manifest(scan(npz), tmp_path / "manifest.csv")
    assert "\npneumoniamnist.npz#test_images/0," in (tmp_path / "manifest.csv").read_text()
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "manifest.csv"), scan(npz))


@pytest.mark.parametrize("column", ["sha256", "label", "split", "patient", "pathogen"])
def test_the_hash_sees_each_column_that_matters_and_no_order(kaggle_folder, column):
    manifest = scan(kaggle_folder)
    assert hash_manifest(manifest.sample(frac=1, random_state=0)) == hash_manifest(manifest)
    changed = manifest.copy()
    changed.loc[3, column] = "x"
    assert hash_manifest(changed) != hash_manifest(manifest)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("status", "state", "lacks the column status"),
        (",NORMAL,", ",COVID,", "line 2 has the label 'COVID'"),
        (",ok,", ",fine,", "line 2 has the status 'fine'"),
        (",48,", ",wide,", "cannot be read"),
    ],
)
def test_an_altered_manifest_is_refused(kaggle_folder, tmp_path, old, new, part):
    path = tmp_path / "manifest.csv"
    write_manifest(scan(kaggle_folder), path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=part):
        read_manifest(path)


def test_a_manifest_without_given_split_takes_the_split(kaggle_folder, tmp_path):
    manifest = scan(kaggle_folder)
    manifest.drop(columns="given_split").to_csv(tmp_path / "manifest.csv", index=False)
    found = read_manifest(tmp_path / "manifest.csv")
    assert list(found["given_split"]) == list(manifest["split"])


def test_a_manifest_is_not_scanned_as_a_table_of_labels(kaggle_folder, tmp_path):
    write_manifest(scan(kaggle_folder), tmp_path / "manifest.csv")
    with pytest.raises(DataError, match="is a manifest already"):
        scan(tmp_path / "manifest.csv")
    with pytest.raises(DataError, match="is missing"):
        read_manifest(tmp_path / "other.csv")


def test_the_summary_counts_patients_and_duplicates(kaggle_folder):
    twin = kaggle_folder / "test" / "NORMAL" / "IM-9115-0009.jpeg"
    twin.write_bytes((kaggle_folder / "train" / "NORMAL" / "IM-9115-0001.jpeg").read_bytes())
    mixed = kaggle_folder / "train" / "PNEUMONIA" / "odd.jpeg"
    mixed.write_bytes((kaggle_folder / "train" / "NORMAL" / "IM-9117-0001.jpeg").read_bytes())
    (kaggle_folder / "train" / "PNEUMONIA" / "bad.jpeg").write_bytes(b"")
    summary = summarise(scan(kaggle_folder))
    assert (summary.pictures, summary.failed, summary.patients_unknown) == (15, 1, 1)
    assert summary.counts[Split.TRAIN] == {Label.NORMAL: 5, Label.PNEUMONIA: 5}
    assert summary.patients == {Split.TRAIN: 8, Split.VAL: 0, Split.TEST: 4}
    assert summary.patients_shared == 1
    assert (summary.duplicate_groups, summary.duplicate_files) == (2, 4)
    assert (summary.duplicates_across, summary.duplicates_mixed) == (1, 1)


NAMES = (
    b"Icon\r.png", b"caf\xe9.png", b"$_$0.png", b"a,b.png", b"new\nline.png", b'quo"te.png', b"=cmd.png", b" lead.png",
    b"tab\t.png", "snow\N{SNOWMAN}.png".encode(), b"\x1b[31m.png",
)  # fmt: skip


def test_any_name_that_a_file_system_allows_comes_back_equal(tmp_path, draw_picture):
    source = draw_picture(tmp_path / "source.png")
    for place, name in enumerate(NAMES):
        folder = tmp_path / "data" / ("NORMAL" if place % 2 else "PNEUMONIA")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy(source, folder / os.fsdecode(name))
        except OSError:
            pytest.skip("the file system takes no such names")
    manifest = scan(tmp_path / "data")
    assert len(manifest) == len(NAMES)
    write_manifest(manifest, tmp_path / "manifest.csv")
    read = read_manifest(tmp_path / "manifest.csv")
    assert read["path"].tolist() == manifest["path"].tolist()
    assert {os.fsencode(Path(path).name) for path in read["path"]} == set(NAMES)
    assert all(Path(path).exists() for path in read["path"])
    assert hash_manifest(read) == hash_manifest(manifest)
    pd.testing.assert_frame_equal(read, manifest)


def test_causes_of_pneumonia_are_labels_and_tell_the_pathogen(tmp_path, draw_picture):
    names = {"Normal": "NORMAL", "BACTERIA": "PNEUMONIA", "Viral Pneumonia": "PNEUMONIA", "COVID-19": "PNEUMONIA"}
    for name in names:
        draw_picture(tmp_path / "data" / "train" / name / f"{name}.png")
    manifest = scan(tmp_path / "data").set_index(scan(tmp_path / "data")["path"].map(lambda path: Path(path).stem))
    assert manifest["label"].to_dict() == names
    assert manifest["pathogen"].to_dict() == {
        "Normal": "", "BACTERIA": "bacteria", "Viral Pneumonia": "virus", "COVID-19": "virus",
    }  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_as_spreadsheets_write_them(tmp_path, draw_picture, delimiter, bom, end):
    draw_picture(tmp_path / "a b.png")
    draw_picture(tmp_path / "c.png")
    rows = [("Path", "Label", "patient"), ("a b.png", "normal", "1"), ("c.png", "COVID19", "2")]
    text = end.join(delimiter.join(row) for row in rows) + end
    (tmp_path / "t.csv").write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    manifest = load_data(tmp_path / "t.csv")
    assert manifest["label"].tolist() == ["NORMAL", "PNEUMONIA"]
    assert manifest["pathogen"].tolist() == ["", "virus"]
    assert manifest["status"].tolist() == ["ok", "ok"]


def test_a_pipe_named_like_a_table_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(DataError, match="no regular file"):
        load_data(tmp_path / "x.csv")
