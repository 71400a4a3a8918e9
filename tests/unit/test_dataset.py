import numpy as np
import pytest
import torch

from hilum.config import AugmentConfig
from hilum.data.dataset import Draw, EpochSampler, RadiographDataset, build_loader
from hilum.preprocess import PreprocessSpec, normalise

pytestmark = pytest.mark.unit

SPEC = PreprocessSpec(size=32)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 255, (20, 32, 32), dtype=np.uint8)


LABELS = np.array([0] * 5 + [1] * 15)
TARGETS = LABELS[:, None].astype(np.float32)


def test_an_epoch_is_a_permutation_that_seed_and_epoch_decide():
    sampler = EpochSampler(20, seed=3)
    first = list(sampler)
    assert sorted(draw.place for draw in first) == list(range(20))
    assert first == list(EpochSampler(20, seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(EpochSampler(20, seed=4)) != first


def test_draws_follow_weights():
    sampler = EpochSampler(20, seed=0, weights=np.where(LABELS == 1, 1.0, 3.0))
    drawn = []
    for epoch in range(100):
        sampler.set_epoch(epoch)
        drawn += [LABELS[draw.place] for draw in sampler]
    assert len(drawn) == 2000
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_do_not_depend_on_workers(pictures, workers):
    def load(count):
        sampler = EpochSampler(20, seed=0)
        dataset = RadiographDataset(pictures, TARGETS, config=AugmentConfig())
        return list(build_loader(dataset, SPEC, batch_size=8, workers=count, sampler=sampler))

    expected = load(0)
    assert len(expected) == 2  # the last four pictures do not fill a batch
    for (a, la), (b, lb) in zip(expected, load(workers), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(la, lb)


def test_without_augmentation_the_batch_is_what_preprocess_makes(pictures):
    rows = np.array([3, 7, 11])
    dataset = RadiographDataset(pictures, TARGETS[rows], rows=rows)
    batches = list(build_loader(dataset, SPEC, batch_size=8, workers=0))
    np.testing.assert_array_equal(batches[0][0], normalise(pictures[rows], SPEC))
    assert batches[0][1].tolist() == [[0.0], [1.0], [1.0]]


def test_corners_are_exchanged_where_lungs_are_known_and_not_where_augmentation_is_off(pictures):
    lungs = np.zeros(pictures.shape, dtype=np.bool_)

    def draw(**settings):
        config = AugmentConfig(**settings)
        dataset = RadiographDataset(pictures, TARGETS, config=config, lungs=lungs)
        return torch.stack([dataset[Draw(place, 7)][0] for place in range(4)])[:, 0].numpy()

    np.testing.assert_array_equal(draw(enabled=False, corners=1), pictures[:4])
    still = {"rotate_degrees": 0, "translate": 0, "shear_degrees": 0, "zoom_out": 0, "crop_scale_min": 1}
    gray = {
        "brightness": 0,
        "contrast": 0,
        "gamma": 0,
        "display": 0,
        "noise": 0,
        "blur": 0,
        "marks": 0,
        "collimation": 0,
    }
    off = {"aspect_jitter": 0, "erase_probability": 0, "acquisition_probability": 0, **still, **gray}
    np.testing.assert_array_equal(draw(corners=0, **off), pictures[:4])
    changed = draw(corners=1, **off) != pictures[:4]
    assert changed.any(axis=(1, 2)).sum() >= 3  # all but one that was drawn to be its own neighbour
    assert not changed[:, 14:18, 14:18].any()
