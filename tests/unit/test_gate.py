"""The input gate: simple checks of the picture, and the distance of the network's features."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images
from tests.not_chest import KINDS, SPOILINGS, draw, draw_colour, spoil

from hilum.data.cache import read_prepared
from hilum.data.images import read_gray
from hilum.data.phantom import draw_phantom
from hilum.errors import BundleError
from hilum.inference.explain import overlay
from hilum.inference.gate import Gate, fit_gate
from hilum.inference.picture_checks import MAX_COLOUR, check_picture
from hilum.model.network import RadiographNet
from hilum.preprocess import PreprocessSpec, normalise
from hilum.types import FloatArray, Label, Pathogen, UInt8Array

pytestmark = pytest.mark.unit

SIZE = 64
# What the eye of a child tells from a radiograph by brightness and pattern alone; the rest needs the features.
PLAIN = {
    "landscape": "laid out",
    "street": "laid out",
    "grain": "texture",
    "wood": "texture",
    "bricks": "texture|laid out",
    "text page": "page",
    "line drawing": "page",
    "noise": "noise",
    "blank": "blank",
    "ramp": "laid out",
}
MEDICAL = ("head MR", "hand")  # what even features of random weights tell from chests


def draw_phantoms(seed: int, count: int, *, size: int = SIZE) -> UInt8Array:
    rng = np.random.default_rng(seed)
    kinds = ((Label.NORMAL, None), (Label.PNEUMONIA, Pathogen.BACTERIA), (Label.PNEUMONIA, Pathogen.VIRUS))
    chosen = (kinds[index % 3] for index in range(count))
    return np.stack([draw_phantom(rng, label=label, pathogen=pathogen, size=size) for label, pathogen in chosen])


def draw_many(kind: str, count: int = 8, *, size: int = SIZE) -> UInt8Array:
    return np.stack([draw(kind, np.random.default_rng(seed), size) for seed in range(count)])


@dataclass(frozen=True)
class Example:
    """A network with random weights, phantoms, and their features."""

    network: RadiographNet
    train: UInt8Array
    val: UInt8Array
    train_features: FloatArray
    val_features: FloatArray
    gate: Gate


def compute_features(network: RadiographNet, pictures: UInt8Array) -> FloatArray:
    with torch.inference_mode():
        batch = torch.from_numpy(normalise(pictures, PreprocessSpec(size=pictures.shape[1])))
        return network.forward_maps(batch).features.numpy()


@pytest.fixture(scope="module")
def example() -> Example:
    torch.manual_seed(0)
    network = RadiographNet().eval()
    train, val = draw_phantoms(0, 40), draw_phantoms(1, 24)
    features = compute_features(network, train), compute_features(network, val)
    return Example(network, train, val, *features, fit_gate(*features))


def draw_features(count: int, *, seed: int = 0, f: int = 40) -> FloatArray:
    """Features of a few strong directions and much weak noise, as networks give them."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((5, f))
    return (rng.standard_normal((count, 5)) * 3 @ directions + rng.standard_normal((count, f)) + 4).astype(np.float32)


# ---- checks of the picture ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("kind", PLAIN)
def test_plain_pictures_are_told_by_their_looks(kind, size):
    reasons = [check_picture(picture) for picture in draw_many(kind, size=size)]
    assert np.mean([bool(reason) for reason in reasons]) >= 0.85, reasons
    words = PLAIN[kind].split("|")
    assert np.mean([any(word in str(reason) for word in words) for reason in reasons]) >= 0.7, reasons


@pytest.mark.parametrize("size", [64, 160])
def test_phantoms_pass_upright_and_are_named_when_shown_wrongly(size):
    phantoms = draw_phantoms(2, 9, size=size)
    assert [check_picture(phantom) for phantom in phantoms] == [None] * 9
    for how, word in (("inverted", "inverted"), ("turned 90", "on its side"), ("turned 270", "on its side")):
        reasons = [str(check_picture(spoil(how, phantom))) for phantom in phantoms]
        assert sum(word in reason for reason in reasons) >= 8, (how, reasons)


def test_looks_do_not_depend_on_resolution_or_shape():
    """The predictor may check the decoded picture or the network's square one."""
    phantom = draw_phantom(np.random.default_rng(3), label=Label.NORMAL, pathogen=None, size=(190, 250))
    assert check_picture(phantom) is None
    assert "inverted" in str(check_picture(255 - phantom))
    for shape in ((1, 1), (3, 900), (900, 2)):
        assert "blank" in str(check_picture(np.full(shape, 90, dtype=np.uint8)))


def test_real_photographs_are_told_by_their_colour(tmp_path):
    for index, photograph in enumerate(load_sample_images().images):
        path = tmp_path / f"{index}.png"
        Image.fromarray(photograph).save(path)
        gray, meta = read_gray(path)
        assert meta.colour > MAX_COLOUR
        assert "in colour" in str(check_picture(gray, colour=meta.colour))


def test_colour_is_that_of_parts_and_not_a_tint_all_over(tmp_path):
    phantom = draw_phantoms(4, 1, size=160)[0]
    red, blue = phantom * 0.75, np.minimum(phantom * 1.0 + 6, 255)
    palette = Image.fromarray(phantom).quantize(64)
    pictures = {
        "gray.png": Image.fromarray(phantom),
        "gray-in-three.jpeg": Image.fromarray(phantom).convert("RGB"),
        "palette.png": palette,
        "ink.tif": Image.fromarray(phantom).convert("CMYK"),
        "blue-film.png": Image.fromarray(np.stack([red, phantom, blue], axis=-1).astype(np.uint8)),
        "clear.png": Image.fromarray(
            np.dstack([draw_colour(np.random.default_rng(0), 160), np.zeros((160, 160), "u1")])
        ),
        "landscape.jpeg": Image.fromarray(draw_colour(np.random.default_rng(0))),
        "heat-map.png": Image.fromarray(overlay(phantom, np.eye(7, dtype=np.float32) * 30)),
    }
    colour = {}
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        colour[name] = read_gray(tmp_path / name)[1].colour
    assert [colour[name] for name in islice(pictures, 4)] == [0, 0, 0, 0]
    assert colour["clear.png"] == 0  # what transparency hides is not seen
    assert colour["blue-film.png"] < MAX_COLOUR / 2
    assert colour["landscape.jpeg"] > MAX_COLOUR
    assert colour["heat-map.png"] > MAX_COLOUR


# ---- the distance of features ---------------------------------------------------------------------------------------


def test_other_medical_pictures_are_refused_by_features_even_of_random_weights(example):
    for kind in MEDICAL:
        pictures = draw_many(kind)
        verdicts = example.gate.judge(pictures, compute_features(example.network, pictures))
        assert np.mean([not verdict.accepted for verdict in verdicts]) >= 0.5, kind
        assert any("trained on" in verdict.reason for verdict in verdicts), kind


def test_new_phantoms_are_accepted(example):
    phantoms = draw_phantoms(5, 9)
    verdicts = example.gate.judge(phantoms, compute_features(example.network, phantoms))
    assert sum(verdict.accepted for verdict in verdicts) >= 8
    assert all((verdict.reason == "") == verdict.accepted for verdict in verdicts)


def test_a_verdict_names_the_looks_first_and_the_score_always(example):
    pictures = np.stack([example.val[0], 255 - example.val[0], example.val[1], example.val[2]])
    features = example.val_features[[0, 0, 1, 2]].copy()
    features[2] *= 40
    near, inverted, far, coloured = example.gate.judge(pictures, features, colours=[0, 0, 0, 0.4])
    assert near.accepted
    assert not inverted.accepted
    assert "inverted" in inverted.reason
    assert inverted.score == near.score <= 1
    assert not far.accepted
    assert far.score > 1
    assert f"distance {far.score:.2f}, limit 1.00" in far.reason
    assert "in colour (40%" in coloured.reason


@settings(max_examples=40)
@given(st.integers(2, 400), st.sampled_from([0.01, 0.02, 0.1, 0.29]), st.integers(0, 5))
def test_at_most_the_given_share_of_val_is_rejected(count, share, seed):
    val = draw_features(count, seed=seed + 1)
    gate = fit_gate(draw_features(80), val, max_rejected=share)
    rejected = (gate.check_features(val) > 1).sum()
    assert rejected <= share * count
    assert gate.rejected_val_share == rejected / count
    if count * share >= 5.5:  # with enough of them, the limit is no higher than it must be
        assert rejected > share * count - 1.5


def test_the_limit_counts_patients_too():
    """One patient with many far pictures must not use up the share of all the others."""
    val = draw_features(600, seed=1)
    val[:9] += 8
    patients = [f"p{max(index - 8, 0)}" for index in range(len(val))]
    train = draw_features(200)
    by_picture, by_patient = fit_gate(train, val), fit_gate(train, val, val_patients=patients)
    assert by_patient.limit >= by_picture.limit
    rejected = {patient for patient, score in zip(patients, by_patient.check_features(val), strict=True) if score > 1}
    assert len(rejected) <= 0.01 * len(set(patients))


def test_few_val_pictures_set_a_limit_beyond_the_farthest():
    train, new = draw_features(200), draw_features(4000, seed=2)
    limits = [fit_gate(train, draw_features(12, seed=seed)).limit for seed in range(3, 23)]
    farthest = [fit_gate(train, draw_features(12, seed=seed), max_rejected=0.5).limit for seed in range(3, 23)]
    assert min(limits) > max(farthest)
    gate = fit_gate(train, draw_features(12, seed=3))
    distances = gate.check_features(new) * gate.limit
    # Over many draws, about 1 % of new radiographs are rejected; the farthest of 12 would reject 1 in 13.
    assert np.mean([(distances > limit).mean() for limit in limits]) < 0.04


@settings(max_examples=40)
@given(st.integers(0, 1000), st.floats(0, 30), st.floats(0, 30))
def test_farther_along_a_ray_never_scores_lower(example_seed, near, far):
    gate = fit_gate(draw_features(80), draw_features(60, seed=1))
    ray = np.random.default_rng(example_seed).standard_normal(40).astype(np.float32)
    steps = np.array(sorted((near, far)), dtype=np.float32)
    scores = gate.check_features(gate.mean + steps[:, None] * ray)
    assert scores[1] >= scores[0] * (1 - 1e-5)


def test_a_score_depends_on_its_row_alone(example):
    together = example.gate.check_features(example.val_features)
    alone = [example.gate.check_features(row[None])[0] for row in example.val_features]
    reordered = example.gate.check_features(np.ascontiguousarray(example.val_features[::-1]))[::-1]
    assert np.array_equal(together, np.array(alone))
    assert np.array_equal(together, reordered)


def test_features_that_are_not_finite_are_refused():
    gate = fit_gate(draw_features(80), draw_features(60, seed=1))
    broken = draw_features(4, seed=2)
    broken[0, 3], broken[1, 3], broken[2, 3] = np.nan, np.inf, 1e38
    scores = gate.check_features(broken)
    assert np.isposinf(scores[:3]).all()
    assert np.isfinite(scores[3])
    assert gate.explain_score(float("inf"))
    assert gate.explain_score(float("nan"))
    assert gate.explain_score(1.0) == ""


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (draw_features(7), draw_features(9), "at least 8 training and 2 validation"),
        (draw_features(20), draw_features(1), "at least 8 training and 2 validation"),
        (np.full((20, 40), 3, dtype=np.float32), draw_features(9), "the same features"),
        (draw_features(20) * np.float32(np.nan), draw_features(9), "not finite"),
        (draw_features(20), draw_features(9)[:, :39], "fitted to 40 features"),
    ],
)
def test_features_that_make_no_gate(train, val, message):
    with pytest.raises(BundleError, match=message):
        fit_gate(train, val)


# ---- the file -------------------------------------------------------------------------------------------------------


def test_a_gate_comes_back_from_its_file_to_the_bit(tmp_path, example):
    path = tmp_path / "gate.npz"
    example.gate.save(path)
    read = Gate.load(path)
    assert np.array_equal(read.check_features(example.val_features), example.gate.check_features(example.val_features))
    for name in (
        "mean",
        "components",
        "variances",
        "residual_variance",
        "limit",
        "rejected_val_share",
        "n_train",
        "n_val",
    ):
        assert np.array_equal(getattr(read, name), getattr(example.gate, name)), name
    assert [file.name for file in tmp_path.iterdir()] == ["gate.npz"]


def test_the_file_is_small_with_all_components(tmp_path):
    gate = fit_gate(draw_features(600, f=2048), draw_features(20, seed=1, f=2048))
    assert gate.components.shape == (128, 2048)
    gate.save(tmp_path / "gate.npz")
    assert (tmp_path / "gate.npz").stat().st_size < 600_000


def test_files_that_are_no_gate(tmp_path, example):
    path = tmp_path / "gate.npz"
    with pytest.raises(BundleError, match="missing"):
        Gate.load(path)
    example.gate.save(path)
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="no input gate"):
        Gate.load(path)
    path.write_text("not an archive")
    with pytest.raises(BundleError, match="no input gate"):
        Gate.load(path)
    for change, message in (
        ({"version": np.int64(99)}, "version 99"),
        ({"mean": np.array([None, {}], dtype=object)}, "no input gate"),
        ({"mean": arrays["mean"][:-1]}, "hold together"),
        ({"variances": -arrays["variances"]}, "hold together"),
        ({"scales": arrays["scales"] * np.nan}, "hold together"),
        ({"scales": arrays["scales"][:2]}, "no input gate"),
    ):
        np.savez(path, allow_pickle=True, **{**arrays, **change})
        with pytest.raises(BundleError, match=message):
            Gate.load(path)
    del arrays["counts"]
    np.savez(path, **arrays)
    with pytest.raises(BundleError, match="no input gate"):
        Gate.load(path)


def test_a_gate_that_does_not_hold_together_cannot_be_made(example):
    with pytest.raises(BundleError, match="hold together"):
        replace(example.gate, limit=0.0)


def test_applying_a_gate_needs_no_science_stack(tmp_path, example):
    example.gate.save(tmp_path / "gate.npz")
    np.savez(tmp_path / "data.npz", pictures=example.val[:3], features=example.val_features[:3])
    code = (
        "import sys, numpy as np; from pathlib import Path; from hilum.inference.gate import Gate\n"
        "data = np.load('data.npz'); gate = Gate.load(Path('gate.npz'))\n"
        "print([v.accepted for v in gate.judge(data['pictures'], data['features'])])\n"
        "print(sorted({'torch', 'scipy', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[True, True, True]", "[]"]


# ---- the drawings and the real radiographs --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_drawings_are_whole_and_differ(kind):
    first, second = draw_many(kind, 2)
    assert first.shape == (SIZE, SIZE)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    assert np.array_equal(first, draw(kind, np.random.default_rng(0), SIZE))


@pytest.mark.real_data
def test_real_radiographs_pass_the_checks_and_are_named_when_shown_wrongly(real_data: Path):
    files = sorted(real_data.glob("train/*/*.jpeg"))[::20]
    pictures = [read_prepared(str(file), PreprocessSpec()) for file in files]
    assert len(pictures) > 200
    assert all(read_gray(file)[1].colour == 0 for file in files[::10])
    reasons = {how: [str(check_picture(spoil(how, picture)) or "") for picture in pictures] for how in SPOILINGS}
    assert np.mean([check_picture(picture) is None for picture in pictures]) > 0.99
    assert all(reasons["inverted"])
    assert np.mean(["inverted" in reason for reason in reasons["inverted"]]) > 0.95
    for how in ("turned 90", "turned 270"):
        assert np.mean([bool(reason) for reason in reasons[how]]) > 0.95
        assert np.mean(["on its side" in reason for reason in reasons[how]]) > 0.9
