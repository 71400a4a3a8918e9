import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.augment import Augmenter, draw_parameters
from hilum.augment.curves import apply_curves, build_curves, loses_detail, measure_histograms
from hilum.augment.geometry import collimate_, compose_frames, exchange_corners, fill_, warp
from hilum.augment.gray import (
    apply_both_ways,
    build_gaussian,
    build_resolution,
    compress,
    raise_local_contrast,
    shade_,
)
from hilum.augment.marks import TextAtlas
from hilum.augment.noise import NoiseField
from hilum.augment.parameters import FIELD_SIDE, GRAINS, TEXTS
from hilum.config import AugmentConfig
from hilum.data import acquisition as acq
from hilum.preprocess import PreprocessSpec, resize

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")
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
    "corners": 0.0,
    "acquisition_probability": 1.0,
}


@pytest.fixture(scope="module")
def image():
    """A smooth image with some detail and noise, (64, 64) uint8."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(30, 200, 64)[None] + 30 * np.sin(np.linspace(0, 6, 64))[:, None]
    return np.asarray(np.clip(ramp + rng.normal(0, 3, (64, 64)), 0, 255), dtype=np.uint8)


def change(images, config, *, seed=0, epoch=0):
    images = torch.from_numpy(np.stack(images))
    parameters = draw_parameters(config, seed=seed, epoch=epoch, count=len(images))
    return Augmenter(config, size=images.shape[-1], device=CPU)(images, parameters)


def as_tensor(image):
    return torch.from_numpy(image.astype(np.float32))[None]


def as_image(tensor):
    return tensor[0].round().clamp(0, 255).numpy()


# Parameters


def test_a_row_depends_on_seed_epoch_and_position_and_on_nothing_else():
    few = draw_parameters(AugmentConfig(), seed=1, epoch=2, count=10)
    many = draw_parameters(AugmentConfig(), seed=1, epoch=2, count=25)
    other = draw_parameters(AugmentConfig(), seed=1, epoch=3, count=10)
    for name in few.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:10])
        np.testing.assert_array_equal(getattr(many.take(slice(3, 7)), name), getattr(few, name)[3:7])
    assert (few.matrix != other.matrix).any()
    assert (few.partner != other.partner).all()


@given(seed=st.integers(0, 2**31 - 1))
def test_parameters_keep_their_limits(seed):
    config = AugmentConfig()
    drawn = draw_parameters(config, seed=seed, epoch=0, count=60)
    assert (np.abs(np.log(drawn.gamma)) <= np.log1p(config.gamma) + 1e-6).all()
    assert (np.abs(drawn.contrast - 1) <= config.contrast + 1e-6).all()
    assert ((drawn.noise >= 0) & (drawn.noise <= 255 * config.noise)).all()
    assert ((drawn.resolution >= config.resolution_min) & (drawn.resolution <= 1)).all()
    assert ((drawn.quality >= config.jpeg_quality_min) & (drawn.quality <= 100)).all()
    assert (drawn.shutters <= config.collimation + 1e-6).all()
    top, bottom, left, right = drawn.erased.T
    assert ((bottom - top) * (right - left) <= config.erase_scale + 1e-3).all()
    assert ((drawn.noise_place[:, :2] >= 0) & (drawn.noise_place[:, :2] < FIELD_SIDE)).all()
    assert (drawn.mark_kind <= len(TEXTS)).all()
    assert ((drawn.partner >= 0) & (drawn.partner < 1)).all()


def test_changes_come_as_often_as_asked():
    config = AugmentConfig(acquisition_probability=0.3, blur_probability=0.2, marks=0.4, corners=0.7, graded=False)
    drawn = draw_parameters(config, seed=0, epoch=0, count=4000)
    assert np.mean(drawn.detail_amount > 0) == pytest.approx(0.3, abs=0.03)
    assert np.mean(drawn.quality < 100) == pytest.approx(0.3, abs=0.03)
    assert np.mean(drawn.blur > 0) == pytest.approx(0.2, abs=0.03)
    assert np.mean(drawn.mark_kind[:, 0] != 0) == pytest.approx(0.4, abs=0.03)
    assert np.mean(drawn.mark_kind[:, 1] != 0) == pytest.approx(0.2, abs=0.03)
    assert np.mean(drawn.corners[..., 0] > 0) == pytest.approx(0.7, abs=0.03)
    angle = np.arctan2(drawn.matrix[:, 1, 0], drawn.matrix[:, 0, 0])
    assert np.abs(angle).max() > np.deg2rad(10)


def test_graded_strengths_are_quarters_of_the_limits():
    drawn = draw_parameters(AugmentConfig(gamma=0.8, graded=True), seed=0, epoch=0, count=4000)
    largest = np.abs(np.log(drawn.gamma)).max(axis=1)
    assert np.mean(largest <= np.log1p(0.2)) > 0.25  # a quarter at a quarter of the strength, and chance besides
    assert largest.max() > np.log1p(0.7)


# The chain


def test_the_seed_alone_decides_and_the_global_generators_are_left_alone(image):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = change([image] * 3, AugmentConfig(), seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, change([image] * 3, AugmentConfig(), seed=1))
    assert not torch.equal(first, change([image] * 3, AugmentConfig(), seed=2))
    assert first.dtype == torch.uint8
    assert first.shape == (3, 64, 64)


def test_the_size_of_a_batch_changes_no_image(image):
    images = torch.from_numpy(np.stack([image, image.T, image[::-1], image[:, ::-1]] * 4))
    lungs = torch.zeros_like(images)
    lungs[:, 20:40, 20:40] = 1
    config = AugmentConfig(corners=1)
    augmenter = Augmenter(config, size=64, device=CPU)
    parameters = draw_parameters(config, seed=0, epoch=0, count=16)

    def run(rows):
        shown, masks = images[rows], lungs[rows]
        return augmenter(shown, parameters.take(rows), lungs=masks, partners=images.flip(0)[rows], partner_lungs=masks)

    together = run(slice(0, 16))
    alone = torch.cat([run(slice(k, k + 1)) for k in range(16)])
    different = (together.int() - alone.int()).abs()
    assert different.max() <= 1
    assert (different > 0).float().mean() < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: its images cannot be compared")
def test_a_gpu_makes_the_same_images(image):
    images = torch.from_numpy(np.stack([image, image.T] * 16))
    config = AugmentConfig()
    parameters = draw_parameters(config, seed=0, epoch=0, count=32)
    cuda = torch.device("cuda")
    expected = Augmenter(config, size=64, device=CPU)(images, parameters)
    found = Augmenter(config, size=64, device=cuda)(images.to(cuda), parameters).cpu()
    different = (expected.int() - found.int()).abs()
    assert (different > 1).float().mean() < 0.01


@pytest.mark.parametrize("config", [AugmentConfig(enabled=False), AugmentConfig(**OFF)])
def test_all_switched_off_changes_nothing(image, config):
    assert torch.equal(change([image], config)[0], torch.from_numpy(image))


@pytest.mark.parametrize(
    "setting",
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
def test_each_change_has_its_own_switch(image, setting):
    changed = change([image] * 4, AugmentConfig(**{**OFF, **setting}))
    assert any(not torch.equal(one, torch.from_numpy(image)) for one in changed)


def test_a_flip_is_a_flip(image):
    changed = change([image], AugmentConfig(**{**OFF, "flip_probability": 1.0}))[0]
    np.testing.assert_array_equal(changed, image[:, ::-1])


def test_gamma_keeps_black_and_white():
    black_and_white = np.zeros((32, 32), dtype=np.uint8)
    black_and_white[:, 16:] = 255
    changed = change([black_and_white] * 4, AugmentConfig(**{**OFF, "gamma": 0.9}))
    assert all(np.array_equal(one, black_and_white) for one in changed)


def test_a_frame_shows_its_part_of_the_image(image):
    frames = torch.tensor([[0.25, 0.75, 0.0, 0.5]])
    config = AugmentConfig(enabled=False)
    shown = Augmenter(config, size=32, device=CPU)(
        torch.from_numpy(image)[None], draw_parameters(config, seed=0, epoch=0, count=1), frames=frames
    )
    np.testing.assert_array_equal(shown[0], image[16:48, :32])


# Geometry


def test_warping_by_the_identity_keeps_the_image_and_a_frame_enlarges_its_part(image):
    identity = torch.eye(2, 3)[None]
    torch.testing.assert_close(warp(as_tensor(image), identity, size=64), as_tensor(image), atol=1e-3, rtol=0)
    matrix = compose_frames(identity, torch.tensor([[0.0, 0.5, 0.5, 1.0]]))
    enlarged = warp(as_tensor(image), matrix, size=64)
    upper_right = resize(np.ascontiguousarray(image[:32, 32:]), PreprocessSpec(size=64))
    inner = slice(4, 60)  # at its border the frame has neighbours, the cut-out none
    np.testing.assert_allclose(enlarged[0, inner, inner], upper_right[inner, inner], atol=1.5)


def test_what_lies_outside_is_black(image):
    away = torch.tensor([[[1.0, 0, 1.0], [0, 1, 0]]])
    moved = warp(as_tensor(image), away, size=64)
    np.testing.assert_allclose(moved[0, :, :31], image[:, 32:63], atol=0.01)
    assert (moved[0, :, 33:] == 0).all()


def test_shutters_and_covers_are_those_of_robust_validation(image):
    shut = collimate_(as_tensor(image), torch.tensor([[0.1, 0.0, 0.05, 0.2]]))
    np.testing.assert_array_equal(as_image(shut), acq.collimate(image, top=0.1, bottom=0, left=0.05, right=0.2))
    filled = fill_(as_tensor(image), torch.tensor([[0.25, 0.5, 0.5, 0.75]]), torch.tensor([9.0]))
    np.testing.assert_array_equal(
        as_image(filled), acq.cover(image, row=0.375, column=0.625, height=0.25, width=0.25, value=9)
    )


def exchange(picture, stranger, corners, *, lungs, others):
    done = exchange_corners(
        as_tensor(picture),
        torch.from_numpy(stranger)[None],
        torch.as_tensor(corners, dtype=torch.float32)[None],
        lungs=torch.from_numpy(lungs.astype(np.uint8))[None],
        partner_lungs=torch.from_numpy(others.astype(np.uint8))[None],
    )
    return as_image(done)


def test_corners_become_another_childs_and_the_lungs_of_both_stay():
    size = 100
    lungs, others = np.zeros((2, size, size), dtype=np.bool_)
    lungs[20:80, 20:45] = True
    others[10:60, 60:90] = True
    picture = np.full((size, size), 50, dtype=np.uint8)
    stranger = np.where(others, 255, 150).astype(np.uint8)
    changed = exchange(picture, stranger, [[0.38, 0.38]] * 4, lungs=lungs, others=others)
    np.testing.assert_allclose(changed[[2, 2, -3, -3], [2, -3, 2, -3]], 150, atol=2)
    np.testing.assert_array_equal(changed[25:75, 25:40], 50)  # the child's own lung
    np.testing.assert_array_equal(changed[15:55, 65:85], 50)  # no lung of the other one
    np.testing.assert_array_equal(changed[46:54, 46:54], 50)  # the middle is no corner


def test_each_corner_is_exchanged_by_itself():
    size = 50
    nowhere = np.zeros((size, size), dtype=np.bool_)
    picture, stranger = np.zeros((2, size, size), dtype=np.uint8)
    stranger[:] = 200
    places = ((1, 1), (1, -2), (-2, 1), (-2, -2))
    for chosen in range(4):
        corners = [[0.3, 0.2] if k == chosen else [0.0, 0.0] for k in range(4)]
        changed = exchange(picture, stranger, corners, lungs=nowhere, others=nowhere)
        assert [bool(changed[place] > 150) for place in places] == [k == chosen for k in range(4)]
        assert (changed > 100).sum() == 15 * 10


# Gray values


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 9.0])
def test_blur_is_that_of_robust_validation(image, sigma):
    blurred = apply_both_ways(as_tensor(image), build_gaussian(torch.tensor([sigma]), 64))
    np.testing.assert_allclose(as_image(blurred), acq.blur(image, sigma=sigma), atol=1)


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.77])
def test_lower_resolution_is_nearly_that_of_pillow(image, factor):
    lowered = apply_both_ways(as_tensor(image), build_resolution(torch.tensor([factor]), 64))
    expected = acq.lower_resolution(image, factor=factor).astype(float)
    assert np.abs(as_image(lowered) - expected).mean() < 0.5


@pytest.mark.parametrize("quality", [15, 50, 90])
@pytest.mark.parametrize("size", [64, 61])
def test_jpeg_is_nearly_that_of_libjpeg(image, quality, size):
    cut = np.ascontiguousarray(image[:size, :size])
    found = as_image(compress(as_tensor(cut), torch.tensor([float(quality)])))
    expected = acq.compress(cut, quality=quality).astype(float)
    inner = slice(0, size - size % 8)  # libjpeg continues an edge in its own way
    assert np.abs(found - expected)[inner, inner].mean() < 0.5
    assert np.abs(found - cut).mean() > 0.3  # it does lose something


def test_local_contrast_and_shading_are_those_of_robust_validation(image):
    raised = raise_local_contrast(as_tensor(image), torch.tensor([0.06]), torch.tensor([1.0]))
    np.testing.assert_allclose(as_image(raised), acq.raise_local_contrast(image, sigma=0.06, amount=1.0), atol=1)
    shaded = shade_(as_tensor(image), torch.tensor([0.4]), torch.tensor([np.deg2rad(30)], dtype=torch.float32))
    np.testing.assert_allclose(as_image(shaded), acq.shade(image, strength=0.4, degrees=30), atol=1)


def draw_curve(image, **settings):
    given = {"gamma": 1.0, "contrast": 1.0, "shift": 0.0, "display": 0, "strength": [0.0, 0.0], **settings}
    tensors = {name: torch.tensor([[value]]) for name, value in given.items()}
    return build_curves(measure_histograms(as_tensor(image)), **tensors)


def test_display_curves_are_those_of_robust_validation(image):
    np.testing.assert_allclose(draw_curve(image, gamma=1.7)[0], acq.gamma_curve(1.7), atol=1e-5)
    for strength in (5.0, -5.0):
        curve = draw_curve(image, display=1, strength=[strength, 0.0])[0]
        np.testing.assert_allclose(curve, acq.sigmoid_curve(strength), atol=1e-4)
    window = draw_curve(image, display=2, strength=[0.1, 0.1])[0]
    expected = np.clip(acq.window_curve(image, low=0.1, high=0.9), 0, 1)
    np.testing.assert_allclose(window, expected, atol=0.02)
    even = draw_curve(image, display=3, strength=[1.0, 0.0])[0]
    np.testing.assert_allclose(even, acq.equalising_curve(image), atol=0.02)
    flat = apply_curves(as_tensor(image), even[None])
    counts, _ = np.histogram(flat, bins=4, range=(0, 256))
    np.testing.assert_allclose(counts / flat.numel(), 0.25, atol=0.04)


def test_a_curve_that_makes_the_chest_white_black_or_flat_is_passed_over(image):
    levels = torch.linspace(0, 1, 256)
    histogram = measure_histograms(as_tensor(image))

    def loses(curve):
        clipped = np.clip(curve, 0, 1).astype(np.float32)
        return bool(loses_detail(histogram, torch.from_numpy(clipped)[None, None], levels))

    assert not loses(acq.gamma_curve(1.8))
    lost = (acq.contrast_curve(1, brightness=0.8), acq.contrast_curve(1, brightness=-0.8), acq.contrast_curve(0.2))
    assert all(loses(curve) for curve in lost)
    nothing = torch.zeros(1, 256)
    nothing[0, 0] = 1
    assert not loses_detail(nothing, levels[None, None], levels).any()  # nothing to lose

    candidates = {"gamma": [[1.0, 1.5]], "contrast": [[0.1, 1.0]], "shift": [[0.0, 0.0]], "display": [[0, 0]]}
    tensors = {name: torch.tensor(value) for name, value in candidates.items()}
    chosen = build_curves(histogram, **tensors, strength=torch.zeros(1, 2, 2))
    np.testing.assert_allclose(chosen[0], acq.gamma_curve(1.5), atol=1e-5)
    tensors["contrast"] = torch.tensor([[0.1, 0.1]])
    np.testing.assert_allclose(build_curves(histogram, **tensors, strength=torch.zeros(1, 2, 2))[0], levels, atol=1e-6)


@given(seed=st.integers(0, 300))
def test_a_drawn_display_curve_never_swaps_dark_and_light(seed):
    drawn = draw_parameters(AugmentConfig(display=1), seed=seed, epoch=0, count=1)
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, 0).repeat(2, 1)
    curve = build_curves(
        measure_histograms(as_tensor(gray)),
        gamma=torch.from_numpy(drawn.gamma),
        contrast=torch.from_numpy(drawn.contrast),
        shift=torch.from_numpy(drawn.shift),
        display=torch.from_numpy(drawn.display),
        strength=torch.from_numpy(drawn.display_strength),
    )
    assert (np.diff(curve[0]) >= -1e-6).all()


def test_noise_is_standard_normal_at_every_grain_and_differs_from_place_to_place():
    field = NoiseField(CPU, size=64)
    places = torch.tensor([[FIELD_SIDE - 1, FIELD_SIDE - 1, grain] for grain in range(len(GRAINS))])
    pieces = field.take(places)
    assert pieces.shape == (len(GRAINS), 64, 64)
    np.testing.assert_allclose(pieces.std(dim=(1, 2)), 1, atol=0.1)
    np.testing.assert_allclose(pieces.mean(dim=(1, 2)), 0, atol=0.1)
    roughness = pieces.diff(dim=2).std(dim=(1, 2))
    assert (roughness.diff() < 0).all()  # the coarser the smoother
    assert not torch.equal(field.take(torch.tensor([[0, 0, 0]])), field.take(torch.tensor([[5, 0, 0]])))


def test_a_text_lies_where_it_is_put():
    gray = torch.full((1, 100, 100), 90.0)
    box = torch.tensor([[0.2, 0.8, 0.2, 0.0]])
    marked = TextAtlas(CPU).draw_(gray, torch.tensor([TEXTS.index("R")]), box, torch.tensor([255.0]))
    rows, columns = np.nonzero(marked[0].numpy() > 150)
    assert rows.size > 20
    assert abs(rows.mean() - 20) < 6
    assert abs(columns.mean() - 80) < 6
    assert 8 < rows.max() - rows.min() < 24
