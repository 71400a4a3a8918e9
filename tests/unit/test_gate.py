"""The input gate: the locator's view of a picture, and the checks of colour and of blank pictures."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from hilum.data.cache import read_prepared
from hilum.data.drawn import KINDS, SPOILINGS, draw, draw_colour, spoil
from hilum.data.images import read_gray
from hilum.data.phantom import draw_phantom
from hilum.inference.explain import overlay
from hilum.inference.gate import (
    LEAST_CHANCE,
    MAX_COLOUR,
    can_put_right,
    choose_view,
    describe_repair,
    explain_refusal,
    put_right,
)
from hilum.model.crop import LungCrop
from hilum.preprocess import PreprocessSpec
from hilum.types import FloatArray, Label, Pathogen, UInt8Array, View

pytestmark = pytest.mark.unit

SIZE = 64
SHOWN = {
    "inverted": (View.INVERTED, "inverted"),
    "turned 90": (View.TURNED_LEFT, "to the left"),
    "turned 180": (View.UPSIDE_DOWN, "upside down"),
    "turned 270": (View.TURNED_RIGHT, "to the right"),
}


def draw_phantoms(seed: int, count: int, *, size: int = SIZE) -> UInt8Array:
    rng = np.random.default_rng(seed)
    kinds = ((Label.NORMAL, None), (Label.PNEUMONIA, Pathogen.BACTERIA), (Label.PNEUMONIA, Pathogen.VIRUS))
    chosen = (kinds[index % 3] for index in range(count))
    return np.stack([draw_phantom(rng, label=label, pathogen=pathogen, size=size) for label, pathogen in chosen])


def draw_many(kind: str, count: int = 8, *, size: int = SIZE) -> UInt8Array:
    """Draw with other seeds than those that the locator was trained with."""
    return np.stack([draw(kind, np.random.default_rng(seed), size) for seed in range(1000, 1000 + count)])


def see(pictures: UInt8Array) -> FloatArray:
    """Return the packaged locator's view of pictures (n, s, s)."""
    crop = LungCrop(PreprocessSpec(size=pictures.shape[1]))
    with torch.inference_mode():
        return crop(torch.from_numpy(np.ascontiguousarray(pictures)))[2].numpy()


def explain(pictures: UInt8Array) -> list[str]:
    return [explain_refusal(picture, view) for picture, view in zip(pictures, see(pictures), strict=True)]


@pytest.mark.parametrize("size", [64, 224, 320])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_chest_radiograph_is_refused(kind, size):
    reasons = explain(draw_many(kind, size=size))
    assert sum(map(bool, reasons)) >= 7, reasons


@pytest.mark.parametrize("size", [64, 160, 320])
def test_phantoms_pass_upright_and_are_named_when_shown_wrongly(size):
    phantoms = draw_phantoms(2, 9, size=size)
    assert explain(phantoms) == [""] * 9
    for how, (_, words) in SHOWN.items():
        reasons = explain(np.stack([spoil(how, phantom) for phantom in phantoms]))
        assert all(words in reason and "--fix" in reason for reason in reasons), (how, reasons)


@pytest.mark.parametrize("how", SHOWN)
def test_putting_right_undoes_what_was_wrong(how):
    view, words = SHOWN[how]
    phantom = draw_phantom(np.random.default_rng(3), label=Label.NORMAL, pathogen=None, size=(70, 90))
    assert can_put_right(view)
    assert np.array_equal(put_right(spoil(how, phantom), view), phantom)
    assert words in describe_repair(view)


def test_the_rest_is_not_put_right():
    assert not can_put_right(View.FRONTAL)
    assert not can_put_right(View.OTHER)


def test_a_frontal_radiograph_must_be_likely():
    def give(chance: float) -> FloatArray:
        others = np.full(5, (1 - chance) / 5)
        return np.log(np.array([chance, *others])).astype(np.float32)

    assert choose_view(give(LEAST_CHANCE + 0.01)) is View.FRONTAL
    assert choose_view(give(LEAST_CHANCE - 0.01)) is View.OTHER
    gray = draw_phantoms(1, 1)[0]
    assert explain_refusal(gray, give(0.9)) == ""
    assert "probability of 70.0%" in explain_refusal(gray, give(0.7))


def test_blank_pictures_of_any_shape():
    for shape in ((1, 1), (3, 900), (900, 2), (64, 64)):
        assert "blank" in explain_refusal(np.full(shape, 90, dtype=np.uint8), None)


def test_real_photographs_are_told_by_their_colour(tmp_path):
    for index, photograph in enumerate(load_sample_images().images):
        path = tmp_path / f"{index}.png"
        Image.fromarray(photograph).save(path)
        gray, meta = read_gray(path)
        assert meta.colour > MAX_COLOUR
        assert "in colour" in explain_refusal(gray, None, colour=meta.colour)


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


# ---- the drawings and the real radiographs --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_drawings_are_whole_and_differ(kind):
    first, second = draw_many(kind, 2)
    assert first.shape == (SIZE, SIZE)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    assert np.array_equal(first, draw(kind, np.random.default_rng(1000), SIZE))


@pytest.mark.real_data
@pytest.mark.parametrize("size", [224, 320])
def test_real_radiographs_pass_and_are_named_when_shown_wrongly(real_data: Path, size):
    spec = PreprocessSpec(size=size)
    pictures = np.stack([read_prepared(str(file), spec) for file in sorted(real_data.glob("train/*/*.jpeg"))[::25]])
    assert len(pictures) > 200
    assert explain(pictures) == [""] * len(pictures)
    for how in SPOILINGS:
        reasons = explain(np.stack([spoil(how, picture) for picture in pictures]))
        assert np.mean([SHOWN[how][1] in reason for reason in reasons]) > 0.97, how
        assert all(reasons), how


@pytest.mark.real_data
def test_radiographs_of_other_hospitals_pass(other_hospitals: Path):
    spec = PreprocessSpec()
    for source in ("nih", "covid_cxnet", "hannover", "actualmed"):
        files = sorted((other_hospitals / source).glob("*.jpg"))[::5]
        assert files
        reasons = explain(np.stack([read_prepared(str(file), spec) for file in files]))
        assert np.mean([bool(reason) for reason in reasons]) <= 0.04, (source, reasons)
