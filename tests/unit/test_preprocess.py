import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.preprocess import IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec, normalise, resize

pytestmark = pytest.mark.unit


@given(width=st.integers(1, 300), height=st.integers(1, 300), value=st.integers(0, 255))
def test_a_flat_picture_stays_flat_whatever_its_shape(width, height, value):
    spec = PreprocessSpec(size=64)
    resized = resize(np.full((height, width), value, np.uint8), spec)
    assert resized.shape == (64, 64)
    assert resized.dtype == np.uint8
    assert (resized == value).all()


def test_a_picture_of_the_right_size_passes_unchanged():
    picture = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    assert resize(picture, PreprocessSpec(size=64)) is picture


def test_shrinking_averages_and_does_not_skip():
    stripes = np.tile(np.array([0, 255], np.uint8), (512, 256))  # one pixel wide: skipping would give 0 or 255
    assert abs(resize(stripes, PreprocessSpec(size=64)).mean() - 127.5) < 2
    assert resize(stripes, PreprocessSpec(size=64)).std() < 5


def test_normalise_is_torchvisions_formula():
    pictures = np.random.default_rng(0).integers(0, 255, (2, 32, 32), dtype=np.uint8)
    batch = normalise(pictures, PreprocessSpec(size=32))
    assert batch.shape == (2, 3, 32, 32)
    assert batch.dtype == np.float32
    for channel in range(3):
        expected = (pictures / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        np.testing.assert_allclose(batch[:, channel], expected, atol=1e-5)


def test_the_specification_is_frozen_and_closed():
    with pytest.raises(ValueError, match="frozen"):
        PreprocessSpec().size = 3
    with pytest.raises(ValueError, match="Extra inputs"):
        PreprocessSpec(sise=3)
