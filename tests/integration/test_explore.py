"""`hilum explore`: from pictures to the page, its numbers and its figures."""

import json
import re
import shutil

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from hilum.cli import app
from hilum.data.audit import build_audit
from hilum.data.phantom import write_phantoms
from hilum.errors import DataError, HilumError, LeakageError
from hilum.report.render import Section

pytestmark = pytest.mark.integration

FIGURES = {
    "contact_sheet", "class_counts", "pathogen_counts", "pictures_per_patient", "sizes", "aspect_ratios", "file_sizes",
    "intensities", "mean_gray", "average_pictures", "closest_across_test", "shortcuts",
}  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(app, ["explore", *map(str, arguments)])


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", patients=60, size=96)


@pytest.fixture
def damaged(phantoms, tmp_path):
    """The phantoms with copies, unreadable files, a blank picture and names that tell no patient."""
    root = tmp_path / "damaged"
    shutil.copytree(phantoms, root)
    normal = sorted((root / "train/NORMAL").iterdir())
    with Image.open(normal[0]) as picture:
        picture.save(root / "test/NORMAL/NORMAL2-IM-9999-0001.jpeg", quality=50)
    shutil.copy(normal[1], root / "train/NORMAL/scan_a.jpeg")
    (root / "train/NORMAL/broken.jpeg").write_bytes(normal[2].read_bytes()[:500])
    (root / "test/NORMAL/empty.jpeg").write_bytes(b"")
    Image.new("L", (120, 90), 90).save(root / "train/PNEUMONIA/blank.png")
    return root


def make_manifest(tmp_path, draw_picture, rows):
    """A manifest of drawn pictures from (label, split, pathogen, patient)."""
    table = pd.DataFrame(rows, columns=["label", "split", "pathogen", "patient"])
    paths = [str(draw_picture(tmp_path / "pictures" / f"{i}.png", size=(48 + i, 40))) for i in range(len(table))]
    return table.assign(
        path=paths, patient_known=True, width=[48 + i for i in range(len(table))], height=40, mode="L", format="PNG",
        bytes=2000, mean=120.0, sha256=[f"{i:064x}" for i in range(len(table))], phash="0" * 16, status="ok",
        message="",
    )  # fmt: skip


def test_explore_writes_page_numbers_tables_and_figures(phantoms, tmp_path):
    out = tmp_path / "eda"
    result = run(phantoms, "--out", out)
    assert result.exit_code == 0, result.output
    assert str(out / "eda.html") in result.output
    assert "No patient stands in two splits (60 patients)." in result.output

    numbers = json.loads((out / "eda.json").read_text(encoding="utf-8"))
    files = len(list(phantoms.rglob("*.jpeg")))
    assert numbers["pictures"]["readable"] == files == len(pd.read_csv(out / "manifest.csv"))
    assert sum(row["total"] for row in numbers["counts"].values()) == files
    assert numbers["patients"]["total"] == 60
    assert numbers["duplicates"]["exact"]["groups"] == numbers["duplicates"]["near"]["groups"] == 0
    assert set(numbers["shortcut"]["together"][0]) >= {"val", "test"}
    assert {row["name"] for row in numbers["shortcut"]["alone"]} >= {"width", "file size", "mean gray"}

    splits = pd.read_csv(out / "splits.csv")
    assert splits["split"].value_counts().to_dict() == {s: row["total"] for s, row in numbers["counts"].items()}

    drawn = {path.stem for path in (out / "figures").glob("*.png")}
    assert drawn >= FIGURES
    page = (out / "eda.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(drawn)
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) == []
    for finding in numbers["findings"]:
        assert finding["text"] in page.replace("&#39;", "'").replace("&lt;", "<").replace("&amp;", "&")


def test_a_result_is_not_overwritten(phantoms, tmp_path):
    (tmp_path / "eda.html").write_text("a result")
    result = run(phantoms, "--out", tmp_path)
    assert isinstance(result.exception, HilumError)
    assert "already holds a result" in str(result.exception)
    assert (tmp_path / "eda.html").read_text() == "a result"


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "--out", tmp_path / "eda")
    assert isinstance(result.exception, HilumError)
    assert not (tmp_path / "eda" / "eda.html").exists()


def test_copies_unreadable_files_and_blanks_are_reported(damaged, tmp_path):
    out = tmp_path / "eda"
    result = run(damaged, "--out", out)
    assert result.exit_code == 1, result.output
    numbers = json.loads((out / "eda.json").read_text(encoding="utf-8"))
    unreadable = {row["path"]: row["message"] for row in numbers["unreadable"]}
    assert set(unreadable) == {"train/NORMAL/broken.jpeg", "test/NORMAL/empty.jpeg"}
    assert all(unreadable.values())
    exact, near = numbers["duplicates"]["exact"], numbers["duplicates"]["near"]
    assert (exact["groups"], exact["files"], exact["across_splits"]) == (1, 2, 0)
    assert "train/NORMAL/scan_a.jpeg" in exact["list"][0]["files"]
    assert (near["groups"], near["across_splits"]) == (1, 1)
    assert "test/NORMAL/NORMAL2-IM-9999-0001.jpeg" in near["list"][0]["files"]
    assert numbers["flat_pictures"] == ["train/PNEUMONIA/blank.png"]
    assert numbers["patients"]["pictures_of_unknown_patients"] == 2
    warnings = [finding["text"] for finding in numbers["findings"] if finding["severity"] == "warning"]
    assert any("near duplicates" in text for text in warnings)
    assert any("2 of" in text and "cannot be read" in text for text in warnings)
    page = (out / "eda.html").read_text(encoding="utf-8")
    assert "train/NORMAL/broken.jpeg" in page
    assert {"exact_duplicates.png", "near_duplicates.png"} <= {path.name for path in (out / "figures").iterdir()}


def test_a_leak_is_shown_on_the_page_and_is_an_error(phantoms, tmp_path):
    root = tmp_path / "leak"
    shutil.copytree(phantoms, root)
    shutil.copy(sorted((root / "test/NORMAL").iterdir())[0], root / "train/PNEUMONIA/person900_virus_1.jpeg")
    result = run(root, "--out", tmp_path / "eda")
    assert isinstance(result.exception, LeakageError)
    numbers = json.loads((tmp_path / "eda" / "eda.json").read_text(encoding="utf-8"))
    assert numbers["duplicates"]["exact"]["across_splits"] == 1
    assert numbers["duplicates"]["exact"]["across_classes"] == 1
    assert not (tmp_path / "eda" / "splits.csv").exists()


ODD = {
    "one class": [("NORMAL", split, "", f"IM/{split}{i}") for split in ("train", "test") for i in range(4)],
    "no test": [(label, "train", "", f"{label}/{i}") for label in ("NORMAL", "PNEUMONIA") for i in range(4)],
    "test only": [(label, "test", "", f"{label}/{i}") for label in ("NORMAL", "PNEUMONIA") for i in range(3)],
    "one picture": [("PNEUMONIA", "train", "virus", "virus/1")],
    "no pathogen names": [
        (label, split, "", f"{label}/{split}{i // 2}")
        for label in ("NORMAL", "PNEUMONIA") for split in ("train", "val", "test") for i in range(4)
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_data_sets_get_a_page_too(kind, tmp_path, draw_picture):
    manifest = make_manifest(tmp_path, draw_picture, ODD[kind])
    audit = build_audit(manifest, manifest, tmp_path / "eda", extra_sections=[Section("One more", ["Hello."])])
    page = audit.page.read_text(encoding="utf-8")
    assert 'id="one-more"' in page
    assert not re.search(
        r"\b(nan|None|undefined)\b", re.sub(r"data:image[^\"]*|<style>.*?</style>", "", page, flags=re.S)
    )
    assert ("pathogen_counts.png" in {path.name for path in (tmp_path / "eda/figures").iterdir()}) is (
        kind == "one picture"
    )
    texts = " ".join(finding.text for finding in audit.findings)
    assert ("holds one class only" in texts) is (kind in ("one class", "one picture"))
    assert ("no test split" in texts) is (kind in ("no test", "one picture"))
    assert json.loads((tmp_path / "eda/eda.json").read_text())["counts"] == audit.numbers["counts"]


def test_nothing_of_test_enters_what_design_may_follow(tmp_path, draw_picture):
    rows = [(label, split, "", f"{label}/{split}{i}") for label in ("NORMAL", "PNEUMONIA")
            for split in ("train", "test") for i in range(4)]  # fmt: skip
    manifest = make_manifest(tmp_path, draw_picture, rows)
    before = build_audit(manifest, manifest, tmp_path / "before").numbers
    for row in manifest[manifest["split"] == "test"].itertuples():
        Image.new("L", (300, 200), 250).save(row.path)
    changed = manifest.assign(mean=manifest["mean"].where(manifest["split"] != "test", 250.0))
    after = build_audit(changed, changed, tmp_path / "after").numbers
    for key in ("files", "intensity", "average_difference"):
        assert before[key] == after[key]
    for name in ("contact_sheet", "average_pictures", "intensities", "mean_gray", "sizes"):
        pictures = [(tmp_path / run_name / "figures" / f"{name}.png").read_bytes() for run_name in ("before", "after")]
        assert pictures[0] == pictures[1]


def test_data_without_a_readable_picture_are_refused(tmp_path, draw_picture):
    manifest = make_manifest(tmp_path, draw_picture, ODD["one picture"]).assign(status="unreadable")
    with pytest.raises(DataError, match="None of the 1 file can be read"):
        build_audit(manifest, manifest[:0], tmp_path / "eda")
    assert not (tmp_path / "eda").exists()


@pytest.mark.real_data
def test_the_public_data_set_has_the_known_facts(real_data, tmp_path):
    result = run(real_data, "--out", tmp_path / "eda")
    assert result.exit_code == 0, result.output
    numbers = json.loads((tmp_path / "eda" / "eda.json").read_text(encoding="utf-8"))
    assert numbers["pictures"] == {"files": 5840, "readable": 5840}
    assert numbers["patients"]["total"] == 3654 + 428
    assert numbers["patients"]["in_two_splits"] == []
    assert numbers["counts"]["test"]["total"] == 624
    exact, near = numbers["duplicates"]["exact"], numbers["duplicates"]["near"]
    assert (exact["groups"], exact["files"]) == (30, 62)
    assert exact["within"]["test"] == {"groups": 6, "files": 12}
    assert (exact["across_splits"], exact["across_classes"], exact["across_patients"]) == (0, 0, 1)
    assert near["groups"] == 0
    assert numbers["duplicates"]["closest_across_test"][0]["correlation"] < 0.97
    bytes_alone = {row["name"]: row for row in numbers["shortcut"]["alone"]}["file size"]
    assert bytes_alone["test"]["auroc"] == pytest.approx(0.83, abs=0.02)
