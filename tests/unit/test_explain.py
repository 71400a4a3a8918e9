import sys
from subprocess import run

import numpy as np
import pytest

from hilum.inference.explain import FULL_SCALE, MAX_OPACITY, draw_scale, fit_full_scale, overlay, panel
from hilum.types import Label

pytestmark = pytest.mark.unit


def gray(height=70, width=140, value=90):
    return np.full((height, width), value, dtype=np.uint8)


def peak(row, column, height=8.0):
    cam = np.full((7, 7), -2.0, dtype=np.float32)
    cam[row, column] = height
    return cam


def colourfulness(rgb):
    return rgb.max(-1).astype(int) - rgb.min(-1)


def test_a_map_without_evidence_leaves_the_picture_gray():
    picture = np.random.default_rng(0).integers(0, 256, (50, 60), dtype=np.uint8)
    shown = overlay(picture, np.full((7, 7), -3.0, dtype=np.float32))
    assert shown.shape == (50, 60, 3)
    assert (shown == picture[..., None]).all()


def test_colour_lies_where_the_evidence_is():
    shown = colourfulness(overlay(gray(), peak(1, 5)))
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    # Cell (1, 5) of 7 x 7 spans rows 10-20 and columns 100-120 of a 70 x 140 picture.
    assert 10 <= row < 20
    assert 100 <= column < 120
    assert shown[40:, :60].max() == 0


def test_equal_evidence_gives_equal_colour_in_every_picture():
    alone = overlay(gray(), peak(3, 3, height=4.0))
    beside_a_stronger_one = peak(3, 3, height=4.0)
    beside_a_stronger_one[0, 0] = 50.0
    assert (overlay(gray(), beside_a_stronger_one)[30:40, 60:80] == alone[30:40, 60:80]).all()


def test_opacity_saturates_and_never_hides_the_radiograph():
    full = np.full((7, 7), FULL_SCALE, dtype=np.float32)
    assert (overlay(gray(), full) == overlay(gray(), full * 5)).all()
    dark, bright = overlay(gray(value=0), full), overlay(gray(value=255), full)
    assert np.abs((bright.astype(int) - dark).mean() - 255 * (1 - MAX_OPACITY)) < 1


def test_scale_of_the_legend_runs_from_gray_to_colour():
    scale = colourfulness(draw_scale(100, 8))
    assert scale.shape == (8, 100)
    assert scale[0, 0] == 0
    assert scale[0, -1] > 40


def test_full_scale_of_a_model_comes_from_its_peaks():
    assert fit_full_scale([peak(0, 0, height=h) for h in range(1, 102)]) == pytest.approx(91)
    assert fit_full_scale([]) == FULL_SCALE
    assert fit_full_scale([peak(0, 0, height=-1.0)]) == FULL_SCALE


@pytest.mark.parametrize(("height", "width"), [(224, 224), (60, 90), (2000, 2600)])
def test_panel_shows_the_picture_untouched_beside_the_overlay(height, width):
    picture = np.random.default_rng(1).integers(0, 200, (height, width), dtype=np.uint8)
    options = {"probability": 0.934, "threshold": 0.41, "label": Label.PNEUMONIA}
    plain = panel(picture, peak(3, 3), **options)
    titled = panel(picture, peak(3, 3), title="folder/" * 200 + "name.png", **options)
    shown = min(1024, max(360, min(height, width)))
    assert plain.dtype == np.uint8
    assert shown < plain.shape[0] < 1.5 * shown
    assert plain.shape[1] == titled.shape[1]
    assert titled.shape[0] > plain.shape[0]
    left, right = colourfulness(plain[:, : plain.shape[1] // 2]), colourfulness(plain[:, plain.shape[1] // 2 :])
    assert (left > 30).sum() == 0  # letters are ink, the picture is gray
    assert (right > 60).sum() > 100


def test_needs_neither_torch_nor_pyplot():
    code = (
        "import sys, hilum.inference.explain; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib.pyplot')))"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
