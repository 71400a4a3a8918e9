"""Phantoms: the files they are written as, what their masks say, and that nothing but the lungs tells the classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hilum.data.names import parse_file_name
from hilum.data.phantom import (
    draw_anatomy,
    draw_finding,
    draw_phantom,
    is_phantom,
    render_phantom,
    write_phantoms,
)
from hilum.errors import ConfigError, HilumError
from hilum.files import sha256_file
from hilum.types import Label, Pathogen

pytestmark = pytest.mark.unit

KINDS = [(Label.NORMAL, None), (Label.PNEUMONIA, Pathogen.BACTERIA), (Label.PNEUMONIA, Pathogen.VIRUS)]
ILL = KINDS[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", patients=160, seed=4, size=96)


def list_pictures(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.jpeg"))}


def test_one_seed_writes_the_same_files_and_another_seed_others(tmp_path):
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        pictures = list_pictures(write_phantoms(tmp_path / name, patients=6, seed=seed, size=64))
        hashes.append({key: sha256_file(path) for key, path in pictures.items()})
    assert hashes[0] == hashes[1]
    assert not set(hashes[0].values()) & set(hashes[2].values())


def test_every_split_holds_every_kind_and_most_pictures_are_pneumonia(folder):
    pictures = list_pictures(folder)
    kinds = {(path.parts[-3], path.parts[-2], parse_file_name(path.name).pathogen) for path in pictures.values()}
    assert kinds == {(split, str(label), pathogen) for split in ("train", "test") for label, pathogen in KINDS}
    share = np.mean([path.parent.name == "PNEUMONIA" for path in pictures.values()])
    assert 0.6 <= share <= 0.7
    in_test = np.mean([path.parts[-3] == "test" for path in pictures.values()])
    assert 0.2 <= in_test <= 0.3


def test_the_smallest_set_holds_every_kind_too(tmp_path):
    pictures = list_pictures(write_phantoms(tmp_path, patients=6, size=64, test_share=0.9))
    assert len({(path.parts[-3], parse_file_name(path.name).pathogen) for path in pictures.values()}) == 6


def test_names_tell_the_patient_and_no_patient_stands_in_both_splits(folder):
    patients = {}
    for path in list_pictures(folder).values():
        facts = parse_file_name(path.name)
        assert facts.patient is not None
        assert (facts.pathogen is None) == (path.parent.name == "NORMAL")
        patients.setdefault(facts.patient, []).append(path.parts[-3])
    assert len(patients) == 160
    assert {patient.split("/")[0] for patient in patients} == {"IM", "NORMAL2-IM", "bacteria", "virus"}
    assert all(len(set(splits)) == 1 for splits in patients.values())
    assert {len(splits) for splits in patients.values()} == {1, 2, 3, 4}


def test_files_are_gray_jpegs_that_say_they_are_synthetic(folder, tmp_path):
    path = next(iter(list_pictures(folder).values()))
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("JPEG", "L")
    assert is_phantom(path)
    other = tmp_path / "other.jpeg"
    Image.new("L", (8, 8)).save(other)
    assert not is_phantom(other)
    assert not is_phantom(tmp_path / "missing.jpeg")


def test_size_file_and_brightness_do_not_tell_the_classes_apart(folder):
    rows, labels, patients = [], [], []
    for path in list_pictures(folder).values():
        with Image.open(path) as image:
            gray = np.asarray(image, dtype=np.float64)
        height, width = gray.shape
        rows.append([width, height, width / height, path.stat().st_size, gray.mean(), gray.std()])
        labels.append(path.parent.name == "PNEUMONIA")
        patients.append(parse_file_name(path.name).patient)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(model, np.array(rows), labels, groups=patients, cv=folds, method="predict_proba")
    assert 0.4 < roc_auc_score(labels, scores[:, 1]) < 0.6


def test_a_healthy_chest_has_lungs_and_no_opacity(rng):
    phantom = render_phantom(rng, label=Label.NORMAL, pathogen=None, size=(120, 150))
    assert phantom.pixels.shape == phantom.lungs.shape == phantom.opacity.shape == (120, 150)
    assert phantom.pixels.dtype == np.uint8
    assert not phantom.opacity.any()
    # Both lungs are there, and they are darker than the heart and belly around the midline.
    assert 0.15 < phantom.lungs.mean() < 0.6
    left, right = phantom.lungs[:, :75].mean(), phantom.lungs[:, 75:].mean()
    assert min(left, right) > 0.1
    middle = phantom.pixels[60:, 67:83][~phantom.lungs[60:, 67:83]]
    assert phantom.pixels[phantom.lungs].mean() < middle.mean() - 20


@pytest.mark.parametrize(("label", "pathogen"), ILL)
def test_opacity_lies_in_the_lungs_and_brightens_them(label, pathogen):
    brighter = []
    for seed in range(12):
        anatomy = draw_anatomy(np.random.default_rng([seed, 1]))
        finding = replace(draw_finding(np.random.default_rng([seed, 2]), pathogen), strength=0.9)
        ill = render_phantom(
            np.random.default_rng(seed), label=label, pathogen=pathogen, size=128, anatomy=anatomy, finding=finding
        )
        # The same patient, pose and exposure without the pneumonia.
        well = render_phantom(np.random.default_rng(seed), label=Label.NORMAL, pathogen=None, size=128, anatomy=anatomy)
        assert np.array_equal(ill.lungs, well.lungs)
        assert ill.opacity.any()
        assert not (ill.opacity & ~ill.lungs).any()
        change = ill.pixels.astype(float) - well.pixels
        brighter.append(change[ill.opacity].mean() - change[ill.lungs & ~ill.opacity].mean())
    assert np.mean(brighter) > 10
    assert np.mean(np.array(brighter) > 0) > 0.9


def test_bacteria_fill_one_side_and_viruses_both(rng):
    sides = {Pathogen.BACTERIA: 0, Pathogen.VIRUS: 0}
    for pathogen in sides:
        for _ in range(8):
            finding = replace(draw_finding(rng, pathogen), strength=0.9)
            opacity = render_phantom(rng, label=Label.PNEUMONIA, pathogen=pathogen, size=96, finding=finding).opacity
            halves = opacity[:, :44].sum(), opacity[:, 52:].sum()
            sides[pathogen] += min(halves) > 0.05 * max(halves)
    assert sides[Pathogen.BACTERIA] <= 1
    assert sides[Pathogen.VIRUS] >= 7


def test_pictures_of_one_patient_differ(rng):
    anatomy = draw_anatomy(rng)
    first, second = (draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=64, anatomy=anatomy) for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_folder_that_holds_a_set_is_refused_and_kept(folder):
    before = list_pictures(folder)
    with pytest.raises(HilumError, match="already holds"):
        write_phantoms(folder, patients=6, size=64)
    assert list_pictures(folder) == before


def test_a_stopped_writing_leaves_no_set_behind(tmp_path, monkeypatch):
    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path, patients=6, size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patients": 5}, "at least 6"),
        ({"size": 20}, "at least 64"),
        ({"test_share": 0.0}, "between 0 and 1"),
        ({"test_share": 1.0}, "between 0 and 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        write_phantoms(tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("label", "pathogen", "size"),
    [(Label.NORMAL, Pathogen.VIRUS, 64), (Label.PNEUMONIA, None, 64), (Label.NORMAL, None, 16)],
)
def test_a_phantom_that_cannot_be_is_refused(rng, label, pathogen, size):
    with pytest.raises(ConfigError):
        draw_phantom(rng, label=label, pathogen=pathogen, size=size)
