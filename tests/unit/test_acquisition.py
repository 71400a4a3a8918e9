import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.data import acquisition as acq

pytestmark = pytest.mark.unit

LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    ramp = np.linspace(30, 200, 64)[None] + 30 * np.sin(np.linspace(0, 6, 64))[:, None]
    return np.asarray(np.clip(ramp + rng.normal(0, 3, (64, 64)), 0, 255), dtype=np.uint8)


@given(strength=st.floats(-12, 12))
def test_s_curves_run_from_black_to_white_and_undo_each_other(strength):
    curve = acq.sigmoid_curve(strength)
    assert curve[0] == pytest.approx(0, abs=1e-9)
    assert curve[-1] == pytest.approx(1, abs=1e-9)
    assert (np.diff(curve) > 0).all()
    back = np.interp(curve, np.linspace(0, 1, 256), acq.sigmoid_curve(-strength))
    np.testing.assert_allclose(back, np.linspace(0, 1, 256), atol=0.01)


def test_curves_that_change_nothing_change_nothing():
    for curve in (acq.gamma_curve(1), acq.contrast_curve(1), acq.sigmoid_curve(0)):
        np.testing.assert_array_equal(acq.apply_curve(LEVELS, curve), LEVELS)


def test_gamma_darkens_and_a_window_cuts_both_ends(picture):
    assert acq.apply_curve(picture, acq.gamma_curve(2)).mean() < picture.mean() - 20
    cut = acq.apply_curve(picture, acq.window_curve(picture, low=0.1, high=0.9))
    assert (cut == 0).mean() == pytest.approx(0.1, abs=0.03)
    assert (cut == 255).mean() == pytest.approx(0.1, abs=0.03)


def test_equalising_makes_gray_values_equally_frequent(picture):
    flat = acq.apply_curve(picture, acq.equalising_curve(picture))
    counts, _ = np.histogram(flat, bins=4, range=(0, 256))
    np.testing.assert_allclose(counts / flat.size, 0.25, atol=0.04)


def test_blur_lowers_detail_and_local_contrast_raises_it(picture):
    def detail(shown):
        return np.abs(np.diff(shown.astype(float), axis=1)).mean()

    assert detail(acq.blur(picture, sigma=2)) < 0.7 * detail(picture)
    assert detail(acq.lower_resolution(picture, factor=0.3)) < 0.8 * detail(picture)
    assert detail(acq.raise_local_contrast(picture, sigma=0.06, amount=1.0)) > 1.3 * detail(picture)


def test_noise_has_the_deviation_that_was_asked_for():
    gray = np.full((128, 128), 128, dtype=np.uint8)
    for grain in (0.0, 1.0):
        noisy = acq.add_noise(gray, sigma=0.05, grain=grain, rng=np.random.default_rng(1))
        assert noisy.std() == pytest.approx(0.05 * 255, rel=0.05)


def test_shading_brightens_the_side_that_it_points_to():
    gray = np.full((64, 64), 100, dtype=np.uint8)
    right = acq.shade(gray, strength=0.3, degrees=0)
    assert right[:, -1].mean() == pytest.approx(130, abs=1)
    assert right[:, 0].mean() == pytest.approx(70, abs=1)
    down = acq.shade(gray, strength=0.3, degrees=90)
    assert down[-1].mean() > down[0].mean() + 50


def test_reframing_keeps_the_whole_and_shows_what_is_asked_for(picture):
    np.testing.assert_array_equal(acq.reframe(picture), picture)
    lower = acq.reframe(picture, top=0.5)
    np.testing.assert_allclose(lower[::2].astype(float), picture[32:], atol=14)
    wide = acq.reframe(picture, top=-0.5, bottom=1.5, left=-0.5, right=1.5, surround=7)
    assert (wide[:15] == 7).all()
    assert wide[16:48, 16:48].mean() == pytest.approx(picture.mean(), abs=2)


def test_turning_by_ninety_degrees_moves_the_corner(picture):
    marked = picture.copy()
    marked[:8, :8] = 255
    turned = acq.reframe(marked, degrees=90)
    corners = [turned[:8, :8], turned[:8, -8:], turned[-8:, :8], turned[-8:, -8:]]
    means = [corner.mean() for corner in corners]
    assert sorted(means)[-1] > 230
    assert np.argmax(means) in (1, 2)


def test_shutters_text_and_covers_lie_where_they_are_put():
    gray = np.full((100, 100), 90, dtype=np.uint8)
    shut = acq.collimate(gray, top=0.1, bottom=0, left=0, right=0.2)
    assert (shut[:10] == 0).all()
    assert (shut[:, 80:] == 0).all()
    assert (shut[10:, :80] == 90).all()
    text = acq.draw_text(gray, "R", row=0.2, column=0.8, size=0.2, value=255)
    rows, columns = np.nonzero(text != 90)
    assert rows.size > 20
    assert abs(rows.mean() - 20) < 6
    assert abs(columns.mean() - 80) < 6
    covered = acq.cover(gray, row=0.5, column=0.0, height=0.2, width=0.2, value=3)
    assert (covered[40:60, :10] == 3).all()
    assert (covered == 3).sum() == 200
