import numpy as np
import pytest
import torch

from hilum.config import AugmentConfig
from hilum.model.feed import ImageStore, PlainFeed, TrainingFeed, draw_order
from hilum.preprocess import PreprocessSpec, normalise

pytestmark = pytest.mark.unit

SPEC = PreprocessSpec(size=32)
CPU = torch.device("cpu")
LABELS = np.array([0] * 5 + [1] * 15)
TARGETS = LABELS[:, None].astype(np.float32)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 255, (24, 32, 32), dtype=np.uint8)


def build_feed(images, *, rows=None, config=None, batch_size=8, lungs=None):
    rows = np.arange(20) if rows is None else rows
    return TrainingFeed(
        images,
        TARGETS[: len(rows)],
        rows,
        augment=config or AugmentConfig(corners=0),
        spec=SPEC,
        batch_size=batch_size,
        seed=3,
        device=CPU,
        lungs=lungs,
    )


def collect(feed, epoch):
    batches = list(feed.iterate(epoch))
    assert len(batches) == len(feed)
    return torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])


def test_an_epoch_is_a_permutation_that_seed_and_epoch_decide():
    first = draw_order(20, seed=3, epoch=0)
    assert sorted(first) == list(range(20))
    np.testing.assert_array_equal(first, draw_order(20, seed=3, epoch=0))
    assert list(draw_order(20, seed=3, epoch=1)) != list(first)
    assert list(draw_order(20, seed=4, epoch=0)) != list(first)


def test_draws_follow_weights():
    weights = np.where(LABELS == 1, 1.0, 3.0)
    drawn = np.concatenate([LABELS[draw_order(20, seed=0, epoch=epoch, weights=weights)] for epoch in range(100)])
    assert drawn.size == 2000
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)


def test_an_epoch_can_be_had_again_and_the_next_one_differs(images):
    inputs, targets = collect(build_feed(images), 0)
    again, same = collect(build_feed(images), 0)
    assert inputs.shape == (16, 3, 32, 32)  # the last four images do not fill a batch
    assert targets.shape == (16, 1)
    assert torch.equal(inputs, again)
    assert torch.equal(targets, same)
    assert not torch.equal(inputs, collect(build_feed(images), 1)[0])


def test_the_size_of_a_batch_changes_no_image(images):
    small, _ = collect(build_feed(images, batch_size=4), 2)
    large, _ = collect(build_feed(images, batch_size=20), 2)
    # Sums over a batch may round differently: one gray level, and hardly anywhere.
    different = (small - large).abs()
    assert different.max() < 1.01 / 255 / min(SPEC.std)
    assert (different > 1e-6).float().mean() < 1e-3


def test_without_augmentation_a_batch_is_what_preprocess_makes(images):
    rows = np.array([3, 7, 11, 22])
    feed = build_feed(images, rows=rows, config=AugmentConfig(enabled=False), batch_size=4)
    inputs, targets = collect(feed, 0)
    order = draw_order(4, seed=3, epoch=0)
    np.testing.assert_array_equal(inputs, normalise(images[rows[order]], SPEC))
    np.testing.assert_array_equal(targets, TARGETS[:4][order])


def test_plain_batches_are_in_order_and_are_what_preprocess_makes(images):
    rows = np.array([3, 22, 11])
    batches = list(PlainFeed(images, rows, spec=SPEC, device=CPU).iterate())
    np.testing.assert_array_equal(torch.cat(batches), normalise(images[rows], SPEC))


def test_corners_come_from_other_images_and_only_where_the_lungs_are_known(images):
    off = {
        **dict.fromkeys(("aspect_jitter", "rotate_degrees", "translate", "shear_degrees", "zoom_out"), 0),
        **dict.fromkeys(("brightness", "contrast", "gamma", "display", "noise", "blur", "marks", "collimation"), 0),
        **{"crop_scale_min": 1, "erase_probability": 0, "acquisition_probability": 0},
    }
    lungs = np.zeros((20, 32, 32), dtype=np.bool_)
    order = draw_order(20, seed=3, epoch=0)[:16]
    plain = normalise(images[order], SPEC)
    np.testing.assert_array_equal(collect(build_feed(images, config=AugmentConfig(**off, corners=1)), 0)[0], plain)
    exchanged, _ = collect(build_feed(images, config=AugmentConfig(**off, corners=1), lungs=lungs), 0)
    changed = (exchanged.numpy() != plain)[:, 0]
    assert changed.any(axis=(1, 2)).sum() >= 14  # all but those that were drawn to be their own partner
    assert not changed[:, 14:18, 14:18].any()
    np.testing.assert_array_equal(
        collect(build_feed(images, config=AugmentConfig(**off, corners=0), lungs=lungs), 0)[0], plain
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: images cannot be put on one")
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_images_are_the_same_whether_they_are_resident_or_streamed(images, share):
    store = ImageStore(images, torch.device("cuda"), share=share)
    assert (store.resident is None) == (share == 0)
    places = np.array([3, 1, 3, 23])
    np.testing.assert_array_equal(store.take(places).cpu(), images[places])


def test_a_store_gives_masks_as_numbers(images):
    masks = images > 100
    taken = ImageStore(masks, CPU).take(np.array([2, 0]))
    assert taken.dtype == torch.uint8
    np.testing.assert_array_equal(taken, masks[[2, 0]])
