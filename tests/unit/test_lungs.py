"""Lung masks, against phantoms whose anatomy is known."""

import numpy as np
import pytest
from scipy import ndimage

from hilum.data.acquisition import apply_curve, draw_text, gamma_curve
from hilum.data.lungs import find_lungs, segment_all, segment_lungs
from hilum.data.lungs.shape import (
    LUNGS,
    MEAN_OUTLINE,
    POINTS,
    build_covariance,
    fill_outline,
    find_normals,
    move_outline,
)
from hilum.data.phantom import render_phantom
from hilum.types import Label, Pathogen

pytestmark = pytest.mark.unit

SIDE = 160


@pytest.fixture(scope="module")
def phantoms():
    causes = (None, Pathogen.BACTERIA, None, Pathogen.VIRUS, Pathogen.BACTERIA, None)
    return [
        render_phantom(
            np.random.default_rng(seed),
            label=Label.PNEUMONIA if cause else Label.NORMAL,
            pathogen=cause,
            size=SIDE,
        )
        for seed, cause in enumerate(causes)
    ]


def overlap(one, other):
    """Dice's coefficient."""
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_masks_agree_with_the_anatomy(phantoms):
    found = find_lungs(np.stack([phantom.pixels for phantom in phantoms]))
    dice = [overlap(lungs.mask, phantom.lungs) for lungs, phantom in zip(found, phantoms, strict=True)]
    assert all(lungs.plausible for lungs in found)
    assert min(dice) > 0.82, dice
    assert np.mean(dice) > 0.87, dice


def test_opacities_stay_inside(phantoms):
    ill = [phantom for phantom in phantoms if phantom.opacity.any()]
    assert len(ill) == 3
    for phantom in ill:
        mask = segment_lungs(phantom.pixels).mask
        assert (mask & phantom.opacity).sum() / phantom.opacity.sum() > 0.75


def test_corners_and_the_lowest_rows_are_outside(phantoms):
    corner = SIDE // 8
    for phantom in phantoms:
        mask = segment_lungs(phantom.pixels).mask
        for part in (mask[:corner, :corner], mask[:corner, -corner:], mask[-corner // 2 :]):
            assert not part.any()


@pytest.mark.parametrize("gamma", [0.6, 1.6])
def test_exposure_hardly_moves_the_outline(phantoms, gamma):
    for phantom in phantoms[:2]:
        other = segment_lungs(apply_curve(phantom.pixels, gamma_curve(gamma)))
        assert overlap(segment_lungs(phantom.pixels).mask, other.mask) > 0.95


def test_a_marker_hardly_moves_the_outline(phantoms):
    marked = draw_text(phantoms[0].pixels, "R", row=0.1, column=0.06, size=0.1, value=255)
    assert overlap(segment_lungs(phantoms[0].pixels).mask, segment_lungs(marked).mask) > 0.97


@pytest.mark.parametrize("size", [64, 96, 320])
def test_any_size_gives_the_same_lungs(size):
    phantom = render_phantom(np.random.default_rng(3), label=Label.NORMAL, pathogen=None, size=size)
    lungs = segment_lungs(phantom.pixels)
    assert lungs.mask.shape == (size, size)
    assert overlap(lungs.mask, phantom.lungs) > 0.85


def test_a_picture_without_lungs_gets_the_mean_outline(rng):
    mean = fill_outline(MEAN_OUTLINE, SIDE)
    smooth = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 15)
    pictures = {
        "noise": rng.integers(0, 256, (SIDE, SIDE)),
        "black": np.zeros((SIDE, SIDE)),
        "gray": np.full((SIDE, SIDE), 100),
        "ramp": np.tile(np.arange(SIDE), (SIDE, 1)),
        "clouds": np.clip(128 + 40 * smooth / smooth.std(), 0, 255),
    }
    for name, picture in pictures.items():
        lungs = segment_lungs(picture.astype(np.uint8))
        assert not lungs.plausible, name
        np.testing.assert_array_equal(lungs.mask, mean)


def test_all_at_once_is_one_by_one(phantoms):
    pictures = np.stack([phantom.pixels for phantom in phantoms[:3]])
    masks = segment_all(pictures)
    assert masks.shape == pictures.shape
    assert masks.dtype == np.bool_
    for mask, picture in zip(masks, pictures, strict=True):
        np.testing.assert_array_equal(mask, segment_lungs(picture).mask)


def test_no_pictures_no_masks():
    assert segment_all(np.zeros((0, SIDE, SIDE), dtype=np.uint8)).shape == (0, SIDE, SIDE)


def test_normals_point_out_of_each_lung():
    normals = find_normals(MEAN_OUTLINE)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    outside = MEAN_OUTLINE + 0.01 * normals
    for lung in LUNGS:
        inner = fill_outline(MEAN_OUTLINE, 500, lungs=(lung,))
        rows, columns = (np.rint(outside[lung][:, axis] * 500 - 0.5).astype(int) for axis in (1, 0))
        assert inner[rows, columns].mean() < 0.05


def test_prior_is_a_covariance_and_the_mean_is_where_it_is_put():
    covariance = build_covariance(MEAN_OUTLINE)
    assert covariance.shape == (POINTS, POINTS)
    np.testing.assert_allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    moved = move_outline(np.array([0.4, 0.6]), (2.0, 0.5))
    np.testing.assert_allclose(moved.mean(axis=0), [0.4, 0.6])
    np.testing.assert_allclose(np.ptp(moved, axis=0), np.ptp(MEAN_OUTLINE, axis=0) * [2.0, 0.5])
