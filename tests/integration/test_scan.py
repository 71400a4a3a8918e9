from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from hilum.cli.data import scan as scan_command
from hilum.data.images import read_gray
from hilum.data.manifest import hash_manifest, load_data, read_manifest, scan
from hilum.data.splits import build_splits
from hilum.data.summary import summarise
from hilum.errors import DataError
from hilum.types import Label, Split

pytestmark = pytest.mark.integration


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(scan_command)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_writes_a_manifest_and_prints_what_it_holds(command, kaggle_folder, tmp_path):
    done = command(kaggle_folder, "--out", tmp_path / "m.csv")
    assert done.exit_code == 0, done.output
    assert "12 pictures" in done.stdout
    assert "Patients in more than one split: 0" in done.stdout
    assert "used in train: 2" in done.stdout
    assert hash_manifest(read_manifest(tmp_path / "m.csv")) in done.stdout.replace("\n", "")


def test_the_command_ends_with_1_and_names_pictures_that_failed(command, kaggle_folder, tmp_path):
    (kaggle_folder / "train" / "NORMAL" / "empty.jpeg").touch()
    done = command(kaggle_folder, "--out", tmp_path / "m.csv")
    assert done.exit_code == 1
    assert "Pictures that cannot be used: 1" in done.stdout
    assert "empty.jpeg: The file is empty" in done.stdout
    assert (read_manifest(tmp_path / "m.csv")["status"] != "ok").sum() == 1


def test_a_table_of_ones_own_is_not_overwritten(command, kaggle_folder, tmp_path):
    table = tmp_path / "lab.csv"
    scan(kaggle_folder)[["path", "label"]].to_csv(table, index=False)
    before = table.read_bytes()
    done = command(table, "--out", table)
    assert isinstance(done.exception, DataError)
    assert "lab.csv exists and is no manifest that Hilum wrote" in str(done.exception)
    assert table.read_bytes() == before
    assert isinstance(command(table, "--out", tmp_path).exception, DataError)  # a folder
    for _ in range(2):  # a manifest takes the place of the one before
        assert command(table, "--out", tmp_path / "m.csv").exit_code == 0


def test_folder_table_and_manifest_give_the_same_splits(kaggle_folder, tmp_path, draw_picture):
    for number in range(11, 18):
        draw_picture(kaggle_folder / "train" / "NORMAL" / f"IM-9{number:03d}-0001.jpeg")
        draw_picture(kaggle_folder / "train" / "PNEUMONIA" / f"person9{number:03d}_virus_{number}.jpeg")
    manifest = scan(kaggle_folder)
    rows = manifest[["path", "label", "split"]].assign(
        split=manifest["split"].where(manifest["given_split"] != "val", "")
    )
    rows.to_csv(tmp_path / "labels.csv", index=False)
    table = load_data(tmp_path / "labels.csv")
    splits = [build_splits(source, val_fraction=0.25, seed=1)[["path", "split"]] for source in (manifest, table)]
    pd.testing.assert_frame_equal(*splits)


@pytest.mark.real_data
def test_facts_of_the_public_data_set(real_data):
    manifest = scan(real_data)
    summary = summarise(manifest)
    assert (summary.pictures, summary.failed) == (5840, 0)
    assert summary.counts[Split.TRAIN] == {Label.NORMAL: 1341, Label.PNEUMONIA: 3875}
    assert summary.counts[Split.TEST] == {Label.NORMAL: 234, Label.PNEUMONIA: 390}
    assert summary.patients == {Split.TRAIN: 3654, Split.VAL: 0, Split.TEST: 428}
    assert (summary.patients_shared, summary.patients_unknown) == (0, 0)
    assert (summary.duplicate_groups, summary.duplicate_files) == (30, 62)
    assert (summary.duplicates_across, summary.duplicates_mixed) == (0, 0)
    splits = build_splits(manifest, val_fraction=0.15, seed=0)
    share = (splits["split"] == "val").sum() / (splits["split"] != "test").sum()
    assert share == pytest.approx(1 / 7, abs=0.005)


@pytest.mark.real_data
def test_originals_in_full_resolution_are_read(real_fullres):
    manifest = scan(real_fullres)
    assert len(manifest) == 51
    assert (manifest["status"] == "ok").all()
    published = pd.read_csv(real_fullres / "sources.csv").set_index("sha256")
    found = manifest.set_index("sha256")
    for column in ("width", "height", "mode", "format", "bytes"):
        assert found[column].to_dict() == published[column].to_dict()
    for row in manifest.head(5).itertuples():
        gray, meta = read_gray(Path(row.path))
        assert gray.shape == (row.height, row.width) == (meta.height, meta.width)
        assert gray.mean() == pytest.approx(row.mean, abs=1)
