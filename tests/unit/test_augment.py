import numpy as np
import pytest
import torch

from hilum.config import AugmentConfig
from hilum.data.augment import augment, build_augmentation, exchange_corners

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


def exchange(picture, lungs, other, *, probability, seed):
    rng = np.random.default_rng(seed)
    return exchange_corners(picture, lungs, other=other, probability=probability, rng=rng)


def test_corners_become_another_childs_and_the_lungs_of_both_stay():
    size = 100
    lungs, others = np.zeros((2, size, size), dtype=np.bool_)
    lungs[20:80, 20:45] = True
    others[10:60, 60:90] = True
    picture = np.full((size, size), 50, dtype=np.uint8)
    stranger = np.where(others, 255, 150).astype(np.uint8)
    for seed in range(20):
        changed = exchange(picture, lungs, (stranger, others), probability=1, seed=seed)
        assert (changed.shape, changed.dtype) == ((size, size), np.uint8)
        corners = changed[[2, 2, -3, -3], [2, -3, 2, -3]]
        np.testing.assert_allclose(corners.astype(int), 150, atol=2)
        np.testing.assert_array_equal(changed[25:75, 25:40], 50)  # the child's own lung
        np.testing.assert_array_equal(changed[15:55, 65:85], 50)  # no lung of the other one
        np.testing.assert_array_equal(changed[42:58, 46:58], 50)  # the middle is no corner
    again = exchange(picture, lungs, (stranger, others), probability=1, seed=19)
    np.testing.assert_array_equal(again, changed)


def test_each_corner_is_exchanged_as_often_as_asked():
    size = 50
    nowhere = np.zeros((size, size), dtype=np.bool_)
    picture, stranger = np.zeros((2, size, size), dtype=np.uint8)
    stranger[:] = 200
    changed = [exchange(picture, nowhere, (stranger, nowhere), probability=0.3, seed=seed) for seed in range(300)]
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert np.mean([c[row, column] > 150 for c in changed]) == pytest.approx(0.3, abs=0.08)
    np.testing.assert_array_equal(exchange(picture, nowhere, (stranger, nowhere), probability=0, seed=1), picture)
