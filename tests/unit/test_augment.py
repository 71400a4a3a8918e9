import numpy as np
import pytest
import torch

from hilum.config import AugmentConfig
from hilum.data.augment import augment, build_augmentation, reframe

pytestmark = pytest.mark.unit

OFF = {
    "graded": False,
    "crop_scale_min": 1.0,
    "aspect_jitter": 0.0,
    "rotate_degrees": 0.0,
    "translate": 0.0,
    "shear_degrees": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "noise": 0.0,
    "blur": 0.0,
    "erase_probability": 0.0,
    "zoom_out": 0.0,
    "display": 0.0,
    "local_contrast": 0.0,
    "shading": 0.0,
    "resolution_min": 1.0,
    "jpeg_quality_min": 100,
    "collimation": 0.0,
    "marks": 0.0,
    "acquisition_probability": 1.0,
}


@pytest.fixture
def picture():
    rows = torch.linspace(20, 220, 64)
    return (rows[None, :, None] + 10 * torch.sin(rows)[None, None, :]).to(torch.uint8)


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone(picture):
    chain = build_augmentation(AugmentConfig(), size=64)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = augment(picture, chain, seed=1)
    assert torch.equal(torch.rand(3), expected)
    torch.rand(100)
    assert torch.equal(first, augment(picture, chain, seed=1))
    assert not torch.equal(first, augment(picture, chain, seed=2))
    assert first.dtype == torch.uint8
    assert first.shape == picture.shape


@pytest.mark.parametrize("config", [AugmentConfig(enabled=False), AugmentConfig(**OFF)])
def test_all_switched_off_changes_nothing(picture, config):
    assert torch.equal(augment(picture, build_augmentation(config, size=64), seed=3), picture)


@pytest.mark.parametrize(
    "change",
    [
        {"crop_scale_min": 0.5},
        {"aspect_jitter": 0.3},
        {"rotate_degrees": 20.0},
        {"translate": 0.2},
        {"shear_degrees": 15.0},
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"gamma": 0.9},
        {"noise": 0.1},
        {"blur": 3.0, "blur_probability": 1.0},
        {"erase_probability": 1.0, "erase_scale": 0.2},
        {"flip_probability": 1.0},
        {"zoom_out": 0.5},
        {"display": 1.0},
        {"local_contrast": 1.0},
        {"shading": 0.5},
        {"resolution_min": 0.2},
        {"jpeg_quality_min": 5},
        {"collimation": 0.3},
        {"marks": 1.0},
    ],
)
def test_each_change_has_its_own_switch(picture, change):
    chain = build_augmentation(AugmentConfig(**{**OFF, **change}), size=64)
    changed = [augment(picture, chain, seed=seed) for seed in range(4)]
    assert any(not torch.equal(c, picture) for c in changed)


def test_gamma_keeps_black_and_white(picture):
    chain = build_augmentation(AugmentConfig(**{**OFF, "gamma": 0.9}), size=64)
    black_and_white = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    assert torch.equal(augment(black_and_white, chain, seed=0), black_and_white)


def test_a_picture_is_cut_anew_between_its_edges_and_the_lungs():
    size = 64
    lungs = np.zeros((size, size), dtype=np.bool_)
    lungs[20:44, 24:40] = True
    picture = np.zeros((size, size), dtype=np.uint8)
    picture[lungs] = 200
    picture[0], picture[-1], picture[:, 0], picture[:, -1] = 90, 90, 90, 90
    areas, edges = [], []
    for seed in range(60):
        cut = reframe(picture, lungs, rng=np.random.default_rng(seed))
        assert (cut.shape, cut.dtype) == ((size, size), np.uint8)
        areas.append((cut > 150).mean())
        edges.append((cut[:, 0] == 90).mean())
    whole = lungs.mean()
    assert min(areas) > 0.95 * whole  # never smaller
    assert max(areas) > 2 * whole
    assert max(areas) <= 1
    assert np.mean(edges) < 0.5  # what stood at the edge is mostly gone
    again = reframe(picture, lungs, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(again, reframe(picture, lungs, rng=np.random.default_rng(7)))


def test_without_lungs_a_picture_stays_as_it_is():
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    nowhere = np.zeros((8, 8), dtype=np.bool_)
    np.testing.assert_array_equal(reframe(picture, nowhere, rng=np.random.default_rng(0)), picture)
