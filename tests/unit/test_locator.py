"""The locator: its box and view, the crop that it gives, and that OpenVINO says the same as torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hilum.augment import geometry
from hilum.bundle import Precision
from hilum.data.phantom import draw_phantom
from hilum.inference.framing import MAP_SIDE, WHOLE, is_whole, place_map
from hilum.inference.runtime import Network
from hilum.model.crop import LungCrop, find_frames
from hilum.model.exported_network import ExportedNetwork, convert_to_openvino, save_openvino
from hilum.model.locator import SIDE, WEIGHTS, Locator, load_locator
from hilum.model.locator_data import BatchMaker, Pictures, draw_others, find_edges, show_wrongly
from hilum.model.locator_training import compute_loss, locate, measure_overlap
from hilum.model.network import RadiographNet
from hilum.preprocess import PreprocessSpec, build_reduction
from hilum.types import Label, UInt8Array, View

pytestmark = pytest.mark.unit

SPEC = PreprocessSpec(size=64, field=96, margin=0.1)
CPU = torch.device("cpu")


def draw_phantoms(count: int, *, size: int = 96, seed: int = 0) -> UInt8Array:
    rng = np.random.default_rng(seed)
    return np.stack([draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=size) for _ in range(count)])


def pad(pictures: UInt8Array, *, share: float, value: int) -> UInt8Array:
    """Pad (n, s, s) at each edge by a share of the side, and squash back."""
    size = pictures.shape[1]
    wide = round(share * size)
    padded = np.pad(pictures, ((0, 0), (wide, wide), (wide, wide)), constant_values=value)
    resized = [Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR) for picture in padded]
    return np.stack([np.asarray(picture) for picture in resized])


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 1_000_000
    assert sum(parameter.numel() for parameter in load_locator().parameters()) < 250_000


@pytest.mark.parametrize(("size", "side"), [(224, 112), (320, 112), (64, 112), (112, 112)])
def test_the_reduction_is_that_of_pillow(size, side, rng):
    picture = rng.integers(0, 256, (size, size), dtype=np.uint8)
    matrix = build_reduction(size, side)
    reduced = matrix @ picture.astype(np.float32) @ matrix.T
    wanted = np.asarray(Image.fromarray(picture.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(reduced, wanted, atol=0.02)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("value", [0, 255])
def test_the_box_follows_the_lungs_when_a_picture_is_padded(value):
    """What is around the picture must not change what the classifier sees."""
    phantoms = draw_phantoms(8)
    before = find_frames(phantoms, SPEC, CPU)
    after = find_frames(pad(phantoms, share=0.15, value=value), SPEC, CPU)
    moved = (before + 0.15) / 1.3
    overlap = measure_overlap(after, moved)
    assert overlap.min() > 0.75
    assert np.median(overlap) > 0.88


def test_the_crop_is_what_the_augmenter_shows_of_a_frame(rng):
    images = torch.from_numpy(rng.integers(0, 256, (3, 96, 96)).astype(np.float32))
    boxes = torch.tensor([[0.1, 0.9, 0.2, 0.8], [-0.05, 0.7, 0.3, 1.1], list(WHOLE)])
    crop = LungCrop(SPEC)
    matrices = torch.eye(2, 3).expand(3, 2, 3)
    wanted = geometry.warp(images, matrices, size=64, frames=boxes)
    torch.testing.assert_close(crop.cut(images, boxes), wanted, atol=0.02, rtol=0)


def test_where_no_chest_is_seen_the_whole_picture_is_shown():
    phantom = draw_phantoms(1)[0]
    pictures = np.stack([phantom, np.rot90(phantom), np.full_like(phantom, 77)])
    frames = find_frames(pictures, SPEC, CPU)
    assert not is_whole(frames[0])
    assert is_whole(frames[1])
    assert is_whole(frames[2])


def test_the_margin_widens_the_box():
    phantoms = draw_phantoms(4)
    tight, wide = (find_frames(phantoms, SPEC.model_copy(update={"margin": m}), CPU) for m in (0.0, 0.25))
    height = tight[:, 1] - tight[:, 0]
    np.testing.assert_allclose(wide[:, 1] - wide[:, 0], 1.5 * height, rtol=1e-4)
    np.testing.assert_allclose(wide[:, :2].mean(1), tight[:, :2].mean(1), atol=1e-5)


@pytest.mark.parametrize("spec", [SPEC, PreprocessSpec(size=64)])
def test_openvino_says_what_torch_says(tmp_path, spec):
    torch.manual_seed(0)
    network = RadiographNet().eval()
    phantoms = draw_phantoms(3, size=spec.side)
    pictures = np.concatenate([phantoms, 255 - phantoms[:1]])
    with torch.inference_mode():
        wanted = ExportedNetwork(network, spec)(torch.from_numpy(pictures))
    path = tmp_path / "network.xml"
    save_openvino(convert_to_openvino(network, spec), path, precision=Precision.FP32)
    found = Network.load(path, size=spec.side, precision=Precision.FP32).infer(pictures)
    for name, expected in zip(("logit", "cam", "features", "box", "views"), wanted, strict=True):
        np.testing.assert_allclose(getattr(found, name), expected.numpy(), atol=1e-3, err_msg=name)
    assert (found.views.argmax(1) == [0, 0, 0, 1]).all()


def test_a_map_is_laid_back_where_it_was_seen():
    cam = np.full((7, 7), 3.0, dtype=np.float32)
    assert place_map(cam, np.array(WHOLE, dtype=np.float32)) is cam
    placed = place_map(cam, np.array([0.25, 0.75, 0.5, 1.2], dtype=np.float32))
    assert placed.shape == (MAP_SIDE, MAP_SIDE)
    inside = placed[17:47, 33:]
    np.testing.assert_allclose(inside, 3.0, atol=1e-4)
    assert placed[:15].max() == placed[49:].max() == placed[:, :31].max() == 0


# ---- its training ---------------------------------------------------------------------------------------------------


def make_source(count: int) -> Pictures:
    pictures = draw_phantoms(count, size=160)
    masks = np.zeros(pictures.shape, dtype=np.bool_)
    masks[:, 40:120, 30:130] = True
    return Pictures("phantoms", pictures, masks, np.ones(count, dtype=np.bool_))


def test_edges_of_masks():
    masks = torch.zeros(3, 10, 10, dtype=torch.bool)
    masks[0, 2:7, 3:9] = True
    masks[1, 0, 0] = masks[1, 9, 9] = True
    edges = find_edges(masks).numpy()
    np.testing.assert_allclose(edges, [[0.2, 0.7, 0.3, 0.9], [0, 1, 0, 1], [0, 1, 0, 1]], atol=1e-6)
    assert measure_overlap(edges[:1], edges[:1])[0] == pytest.approx(1)
    assert measure_overlap(edges[:1], edges[1:2])[0] == pytest.approx(0.3)


def test_batches_hold_every_view_and_boxes_for_radiographs_alone():
    maker = BatchMaker(make_source(120), draw_others()[::20], seed=0)
    batches = list(maker.iterate(0))
    assert len(batches) == len(maker)
    views = torch.cat([batch.view for batch in batches])
    assert set(views.tolist()) == set(range(len(View)))
    for batch in batches:
        assert batch.pictures.shape == (64, SIDE, SIDE)
        assert batch.pictures.min() >= 0
        assert batch.pictures.max() <= 255
        assert not batch.boxed[batch.view == len(View) - 1].any()
        assert ((batch.box >= 0) & (batch.box <= 1)).all()
    again = next(BatchMaker(make_source(120), draw_others()[::20], seed=0).iterate(0))
    assert torch.equal(again.pictures, batches[0].pictures)


def test_turning_is_that_of_the_views():
    picture = torch.arange(16.0).reshape(4, 4)
    assert torch.equal(show_wrongly(picture, View.FRONTAL), picture)
    assert torch.equal(show_wrongly(picture, View.INVERTED), 255 - picture)
    assert torch.equal(show_wrongly(picture, View.TURNED_LEFT), torch.rot90(picture))
    assert torch.equal(show_wrongly(picture, View.UPSIDE_DOWN), torch.rot90(picture, 2))
    assert torch.equal(show_wrongly(picture, View.TURNED_RIGHT), torch.rot90(picture, 3))


def test_a_locator_learns():
    torch.manual_seed(0)
    locator = Locator()
    maker = BatchMaker(make_source(60), draw_others()[::40], seed=0)
    batch = next(maker.iterate(0))
    optimizer = torch.optim.AdamW(locator.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = compute_loss(locator(batch.pictures), batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    boxes, views = locate(locator.eval(), make_source(3).pictures)
    assert boxes.shape == (3, 4)
    np.testing.assert_allclose(views.sum(1), 1, rtol=1e-5)


@pytest.mark.real_data
def test_the_boxes_of_real_radiographs_are_those_of_the_classical_fit(real_data):
    from hilum.data.cache import read_prepared  # noqa: PLC0415
    from hilum.data.lungs import find_lungs  # noqa: PLC0415

    spec = PreprocessSpec()
    pictures = np.stack([read_prepared(str(file), spec) for file in sorted(real_data.glob("train/*/*.jpeg"))[::60]])
    boxes, views = locate(load_locator(), pictures)
    found = find_lungs(pictures)
    sure = np.array([lungs.plausible for lungs in found])
    wanted = find_edges(torch.from_numpy(np.stack([lungs.mask for lungs in found]))).numpy()
    overlap = measure_overlap(boxes[sure], wanted[sure])
    assert (views.argmax(1) == 0).all()
    assert np.median(overlap) > 0.93
    assert np.quantile(overlap, 0.1) > 0.8
