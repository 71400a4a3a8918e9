"""The parts of an audit: counts, captions, findings, the choice of samples, the pass over the pictures."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hilum.data.audit import captions, findings
from hilum.data.audit.census import combine, count_patients, count_pictures, describe_files, list_failures
from hilum.data.audit.pixels import SIDE, measure_pixels, read_square
from hilum.data.audit.sheets import choose_samples, shorten
from hilum.errors import DataError, ImageReadError
from hilum.report.render import Severity
from hilum.types import Label, Split

pytestmark = pytest.mark.unit


def make_frame(rows):
    """Readable rows from (label, split, pathogen, patient), with metadata of no interest."""
    frame = pd.DataFrame(rows, columns=["label", "split", "pathogen", "patient"])
    n = len(frame)
    return frame.assign(
        path=[f"/data/{i}.jpeg" for i in range(n)],
        patient_known=True,
        width=[100 + 10 * i for i in range(n)],
        height=100,
        aspect=[1 + 0.1 * i for i in range(n)],
        mode="L",
        format="JPEG",
        bytes=[1000 * (i + 1) for i in range(n)],
        mean=120.0,
        sha256=[f"{i:064x}" for i in range(n)],
        status="ok",
        message="",
    )


@pytest.fixture
def frame():
    return make_frame(
        [
            ("NORMAL", "train", "", "IM/1"),
            ("NORMAL", "train", "", "IM/1"),
            ("PNEUMONIA", "train", "bacteria", "bacteria/1"),
            ("PNEUMONIA", "train", "virus", "virus/1"),
            ("PNEUMONIA", "val", "bacteria", "bacteria/2"),
            ("NORMAL", "test", "", "IM/2"),
            ("PNEUMONIA", "test", "", "file/x.jpeg"),
        ]
    )


def test_pictures_are_counted_by_split_class_and_pathogen(frame):
    counts = count_pictures(frame)
    assert list(counts) == ["train", "val", "test"]
    assert counts["train"] == {"NORMAL": 2, "PNEUMONIA": 2, "bacteria": 1, "virus": 1, "unknown": 0, "total": 4}
    assert counts["test"] == {"NORMAL": 1, "PNEUMONIA": 1, "bacteria": 0, "virus": 0, "unknown": 1, "total": 2}


def test_patients_are_counted_and_those_in_two_places_are_named(frame):
    frame.loc[4, "patient"] = "bacteria/1"
    frame.loc[6, "patient"] = "IM/2"
    frame.loc[6, "patient_known"] = False
    patients = count_patients(frame)
    assert patients["total"] == 4
    assert patients["with_several_pictures"] == 3
    assert patients["pictures_per_patient"]["max"] == 2
    assert patients["in_two_splits"] == ["bacteria/1"]
    assert patients["in_both_classes"] == ["IM/2"]
    assert patients["pictures_of_unknown_patients"] == 1
    assert patients["by_split"]["train"] == {"patients": 3, "with_several_pictures": 1}


def test_files_are_described_by_class(frame):
    files = describe_files(frame)
    assert files["NORMAL"]["width"] == {
        "min": 100, "p5": 101, "median": 110, "mean": 120, "p95": pytest.approx(146), "max": 150
    }  # fmt: skip
    assert files["PNEUMONIA"]["modes"] == {"L": 4}


def test_the_split_comes_from_the_splits_and_unreadable_rows_stay_out(frame):
    manifest = frame.drop(columns="aspect").assign(split="train")
    manifest.loc[1, ["status", "message"]] = ["unreadable", "The file is empty."]
    splits = frame.loc[frame.index != 1, ["path", "split"]].sample(frac=1, random_state=0)
    combined = combine(manifest, splits)
    assert combined["split"].tolist() == ["train", "train", "train", "val", "test", "test"]
    assert combined["aspect"].tolist() == pytest.approx([1.0, 1.2, 1.3, 1.4, 1.5, 1.6])
    assert list_failures(manifest) == [
        {"path": "/data/1.jpeg", "status": "unreadable", "message": "The file is empty."}
    ]
    with pytest.raises(DataError, match=r"1 have no split, for example /data/0\.jpeg"):
        combine(manifest, splits[splits["path"] != "/data/0.jpeg"])


def test_samples_are_of_different_train_patients_and_never_of_test():
    rows = [("NORMAL", "train", "", f"IM/{i // 2}") for i in range(30)]
    rows += [("NORMAL", "test", "", f"IM/{i}") for i in range(100, 120)]
    rows += [("PNEUMONIA", "train", "virus", f"virus/{i}") for i in range(3)]
    rows += [("PNEUMONIA", "train", "", f"file/{i}") for i in range(2)]
    frame = make_frame(rows)
    chosen = choose_samples(frame, seed=0)
    assert {name: len(picked) for name, picked in chosen.items()} == {"NORMAL": 8, "virus": 3, "PNEUMONIA": 2}
    normal = frame.loc[chosen["NORMAL"]]
    assert set(normal["split"]) == {"train"}
    assert normal["patient"].is_unique
    assert choose_samples(frame, seed=0) == chosen
    assert choose_samples(frame, seed=1) != chosen
    assert choose_samples(frame[frame["split"] == "test"].reset_index(drop=True), seed=0) == {}


def test_one_pass_measures_mean_spread_histogram_and_keeps_what_is_asked_for(tmp_path, rng):
    pictures = rng.integers(0, 256, (6, SIDE, SIDE), dtype=np.uint8)
    paths = []
    for i, picture in enumerate(pictures):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(picture).save(paths[-1])
    labels = ["NORMAL", "PNEUMONIA"] * 3
    averaged = np.array([True, True, True, True, False, True])
    pixels = measure_pixels(paths, labels, averaged=averaged, keep={4})
    normal = pictures[[0, 2]].astype(float)
    assert pixels.mean[Label.NORMAL] == pytest.approx(normal.mean(axis=0), abs=1e-3)
    assert pixels.std[Label.NORMAL] == pytest.approx(normal.std(axis=0), abs=1e-2)
    assert pixels.histograms.sum(axis=1) == pytest.approx(1)
    assert pixels.histograms[1, 63] == pytest.approx((pictures[1] >= 252).mean())
    assert pixels.contrast[3] == pytest.approx(pictures[3].std(), rel=1e-5)
    assert pixels.thumbnails.shape == (6, 64, 64)
    assert list(pixels.kept) == [4]
    assert np.array_equal(pixels.kept[4], pictures[4])


def test_a_class_that_is_only_in_test_has_no_mean_picture(tmp_path):
    Image.new("L", (30, 20), 7).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    assert read_square(path).shape == (SIDE, SIDE)
    pixels = measure_pixels([path, path], ["NORMAL", "PNEUMONIA"], averaged=np.array([True, False]))
    assert list(pixels.mean) == [Label.NORMAL]
    assert not pixels.std[Label.NORMAL].any()


def test_a_picture_that_has_vanished_since_the_scan_is_an_error(tmp_path):
    with pytest.raises(ImageReadError, match=r"gone\.png"):
        measure_pixels([str(tmp_path / "gone.png")], ["NORMAL"], averaged=np.array([True]))


# Captions


def test_counts_in_words():
    one = {"train": {"NORMAL": 1, "PNEUMONIA": 0, "total": 1}}
    assert captions.describe_counts(one) == "Train holds 1 picture; PNEUMONIA makes up 0.0 % of them."
    two = {"train": {"PNEUMONIA": 3875, "total": 5216}, "test": {"PNEUMONIA": 390, "total": 624}}
    assert captions.describe_counts(two) == (
        "Train holds 5,216 pictures and test 624; PNEUMONIA makes up 74.3 % and 62.5 % of them, in this order."
    )


def test_pathogens_in_words():
    counts = {
        "train": {"bacteria": 3, "virus": 1, "unknown": 1},
        "test": {"bacteria": 0, "virus": 0, "unknown": 0},
    }
    assert captions.describe_pathogens(counts) == (
        "Bacteria stand behind 75.0 % in train of the PNEUMONIA pictures whose file name tells the pathogen; 1 picture "
        "does not tell it."
    )


@pytest.mark.parametrize(
    ("several", "total", "most", "text"),
    [
        (0, 51, 1, "Each of the 51 patients has one picture."),
        (1, 4, 2, "1 of 4 patients (25.0 %) has several pictures, up to 2: splits"),
        (725, 4082, 30, "725 of 4,082 patients (17.8 %) have several pictures, up to 30: splits"),
    ],
)
def test_patients_in_words(several, total, most, text):
    patients = {"with_several_pictures": several, "total": total, "pictures_per_patient": {"max": most}}
    assert captions.describe_patients(patients).startswith(text)


def describe(**medians):
    return {
        label: {
            "width": {"median": w, "min": w, "max": w}, "height": {"median": h, "min": h, "max": h},
            "aspect": {"median": w / h, "min": w / h, "max": w / h}, "bytes": {"median": size},
            "mean": {"median": 120, "p5": 100, "p95": 140}, "modes": modes, "formats": {"JPEG": 1},
        }
        for label, (w, h, size, modes) in medians.items()
    }  # fmt: skip


def test_file_properties_in_words():
    files = describe(NORMAL=(1600, 1300, 9100, {"L": 2}), PNEUMONIA=(1200, 800, 7400, {"L": 1, "RGB": 3}))
    assert captions.describe_sizes(files) == (
        "NORMAL pictures are larger than PNEUMONIA pictures: "
        "the median size is 1,600 × 1,300 against 1,200 × 800 pixels."
    )
    assert captions.describe_aspects(files) == (
        "NORMAL pictures are narrower than PNEUMONIA pictures: "
        "the median ratio of width to height is 1.23 against 1.50."
    )
    assert captions.describe_file_sizes(files).endswith("the median file size is 9.1 kB against 7.4 kB.")
    assert captions.describe_modes(files) == "L has 3 pictures, 33.3 % PNEUMONIA; RGB has 3 pictures, all PNEUMONIA."
    assert captions.describe_constant_files(files) == (
        "All pictures have the same format (JPEG), which therefore cannot give a class away."
    )


def test_file_properties_of_like_classes_and_of_one_class_in_words():
    files = describe(NORMAL=(224, 224, 7000, {"L": 2}), PNEUMONIA=(224, 224, 7010, {"L": 2}))
    assert captions.describe_file_sizes(files) == (
        "The classes are alike: the median file size is 7.0 kB for NORMAL and 7.0 kB for PNEUMONIA."
    )
    assert captions.describe_constant_files(files).startswith(
        "All pictures have the same size (224 × 224 pixels), the same colour mode (L) and the same format (JPEG)"
    )
    alone = describe(NORMAL=(224, 224, 900, {"L": 1}))
    assert captions.describe_file_sizes(alone) == "The median file size of NORMAL files is 900 bytes."
    assert captions.describe_modes(alone) == "L has 1 picture."


def test_mean_gray_in_words_tells_the_wider_class():
    files = describe(NORMAL=(1, 1, 1, {}), PNEUMONIA=(1, 1, 1, {}))
    files["PNEUMONIA"]["mean"] = {"median": 150, "p5": 80, "p95": 190}
    assert captions.describe_mean_gray(files) == (
        "NORMAL pictures are darker than PNEUMONIA pictures: the median mean gray is 120 against 150. PNEUMONIA varies "
        "more: nine in ten lie in 80–190, against 100–140 for NORMAL."
    )


def test_differences_in_words():
    side = {"where": "middle left", "gray_levels": 1.2}
    nothing = {"where": "centre", "gray_levels": -3.0}
    both = ["NORMAL", "PNEUMONIA"]
    assert captions.describe_averages({"brighter": side, "darker": nothing}, both).startswith(
        "On average PNEUMONIA is brighter most in the middle left of the picture (by 1 gray level); "
    )
    assert "hardly differ" in captions.describe_averages({"brighter": nothing, "darker": nothing}, both)
    assert "no difference to show" in captions.describe_averages(None, ["NORMAL"])


def make_groups(groups=0, files=0, *, train=0, splits=0, classes=0, patients=0):
    return {
        "groups": groups, "files": files, "within": {"train": {"groups": train}, "test": {"groups": 0}},
        "across_splits": splits, "across_classes": classes, "across_patients": patients,
    }  # fmt: skip


GROUPS = [
    (make_groups(), "There are no exact duplicates."),
    (make_groups(1, 2, train=1), "1 group of exact duplicates (2 files), 1 in train; it crosses no border of splits, "),
    (
        make_groups(2, 4, train=2),
        "2 groups of exact duplicates (4 files), 2 in train; none crosses a border of splits, ",
    ),
    (
        make_groups(3, 6, train=3, patients=2),
        "3 groups of exact duplicates (6 files), 3 in train; 2 join different patient keys, none crosses splits.",
    ),
    (make_groups(1, 2, splits=1, classes=1), "1 group of exact duplicates (2 files); it crosses splits and classes."),
    (
        make_groups(1, 2, train=1, patients=1),
        "1 group of exact duplicates (2 files), 1 in train; it joins different patient keys and does not cross splits.",
    ),
]


@pytest.mark.parametrize(("groups", "text"), GROUPS)
def test_duplicates_in_words(groups, text):
    assert captions.describe_groups(groups, kind="exact").startswith(text)


@pytest.mark.parametrize(("number", "text"), [(12, "12 bytes"), (8512, "8.5 kB"), (1_234_567, "1.2 MB")])
def test_bytes_in_words(number, text):
    assert captions.format_bytes(number) == text


def test_long_names_are_cut_in_the_middle():
    assert shorten("NORMAL2-IM/12", 17) == "NORMAL2-IM/12"
    assert shorten("file/train/NORMAL/x-0002.jpeg", 11) == "file/….jpeg"


# Findings


def score(auroc, low, high):
    return {"auroc": auroc, "ci_low": low, "ci_high": high, "n": 10}


def make_shortcut(together, alone, *, constant=False):
    return {
        "reason": "",
        "together": [{"name": "all, boosted trees", "test": score(*together)}],
        "alone": [{"name": "file size", "constant": constant, "test": score(*alone)}],
    }


@pytest.fixture
def numbers():
    """The numbers of a data set with nothing to complain of."""
    row = {"NORMAL": 50, "PNEUMONIA": 50, "total": 100}
    return {
        "patients": {
            "total": 90, "pictures": 200, "in_two_splits": [], "in_both_classes": [], "pictures_of_unknown_patients": 0,
            "by_split": {"train": {}, "test": {}},
        },
        "duplicates": {"exact": make_groups(), "near": {**make_groups(), "complete": True}},
        "shortcut": make_shortcut((0.5, 0.4, 0.6), (0.51, 0.4, 0.6)),
        "files": {"NORMAL": {"modes": {"L": 50}}, "PNEUMONIA": {"modes": {"L": 50}}},
        "counts": {"train": row, "test": row},
        "pictures": {"files": 200, "readable": 200},
        "flat_pictures": [],
    }  # fmt: skip


def test_a_sound_data_set_has_good_findings_only(numbers):
    found = findings.list_findings(numbers)
    assert {finding.severity for finding in found} == {Severity.GOOD}
    assert "No patient stands in two splits (90 patients)." in [finding.text for finding in found]


WARNINGS = [
    ("patients", {"in_two_splits": ["IM/1", "virus/2"]}, "2 patients stand in two splits: IM/1 and virus/2."),
    ("patients", {"in_two_splits": ["IM/1"]}, "1 patient stands in two splits: IM/1."),
    ("patients", {"pictures_of_unknown_patients": 200}, "200 file names of 200 name no patient and count as one"),
    ("duplicates", {"exact": make_groups(1, 2, splits=1)}, "1 group of exact duplicates (2 files); it crosses splits."),
    (
        "shortcut",
        make_shortcut((0.83, 0.79, 0.86), (0.8, 0.7, 0.9)),
        "Metadata alone tell the classes apart well on test",
    ),
    ("shortcut", make_shortcut((0.55, 0.45, 0.6), (0.9, 0.8, 0.95)), "Metadata alone tell the classes apart very well"),
    (
        "files",
        {"PNEUMONIA": {"modes": {"L": 47, "RGB": 3}}},
        "All 3 pictures of colour mode RGB in train and val are PNEU",
    ),
    ("counts", {"test": {"NORMAL": 38, "PNEUMONIA": 62, "total": 100}}, "The share of PNEUMONIA shifts from 50.0 % in"),
    ("counts", {"train": {"NORMAL": 0, "PNEUMONIA": 9, "total": 9}}, "Train holds one class only: PNEUMONIA."),
    ("pictures", {"readable": 199}, "1 of 200 files cannot be read and is left out."),
]


@pytest.mark.parametrize(("key", "change", "text"), WARNINGS)
def test_what_could_mislead_is_a_warning_and_stands_first(numbers, key, change, text):
    numbers[key] = {**numbers[key], **change}
    found = findings.list_findings(numbers)
    warnings = [finding.text for finding in found if finding.severity is Severity.WARNING]
    assert any(warning.startswith(text) for warning in warnings), warnings
    assert [finding.text for finding in found][: len(warnings)] == warnings


def test_a_missing_test_split_is_a_warning(numbers):
    del numbers["counts"]["test"]
    assert any("no test split" in finding.text for finding in findings.list_findings(numbers))


def test_the_score_of_the_larger_class_is_noted(numbers):
    row = {"NORMAL": 30, "PNEUMONIA": 70, "total": 100}
    numbers["counts"] = {"train": row, Split.TEST: row}
    notes = [finding.text for finding in findings.list_findings(numbers) if finding.severity is Severity.NOTE]
    assert notes == ["Always answering PNEUMONIA would be right for 70.0 % of test: compare every accuracy with that."]


def test_a_handful_of_pictures_is_no_good_news(numbers):
    numbers["shortcut"] = make_shortcut((0.5, 0.2, 0.85), (0.5, 0.2, 0.85))
    about = [finding for finding in findings.list_findings(numbers) if "metadata" in finding.text.lower()]
    assert [finding.severity for finding in about] == [Severity.NOTE]
    assert about[0].text.startswith("Too few pictures to tell whether metadata give the classes away on test")


def test_a_chance_result_of_one_feature_is_no_shortcut(numbers):
    numbers["shortcut"] = make_shortcut((0.45, 0.35, 0.55), (0.6, 0.51, 0.7))
    assert any(
        finding.severity is Severity.GOOD and "do not tell the classes apart on test" in finding.text
        for finding in findings.list_findings(numbers)
    )


def test_metadata_that_do_not_vary_are_no_shortcut(numbers):
    numbers["shortcut"] = make_shortcut((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), constant=True)
    assert any("no shortcut there" in finding.text for finding in findings.list_findings(numbers))
