"""Familiarity: the distance of a picture's features from those of training, among those of held-out patients."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import BundleError
from hilum.inference.familiarity import Familiarity, fit_familiarity
from hilum.inference.gate import LEAST_FAMILIAR, warn_of_distance
from hilum.types import FloatArray

pytestmark = pytest.mark.unit


def draw_features(count: int, *, seed: int = 0, f: int = 40) -> FloatArray:
    """Features of a few strong directions and much weak noise, as networks give them."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((5, f))
    return (rng.standard_normal((count, 5)) * 3 @ directions + rng.standard_normal((count, f)) + 4).astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    return fit_familiarity(draw_features(200), draw_features(300, seed=1))


@settings(max_examples=20)
@given(st.integers(30, 400), st.integers(0, 5))
def test_of_new_pictures_like_those_held_out_the_given_share_is_below_it(held_out, seed):
    """The guarantee of conformal p-values: P(familiarity <= t) <= t, over many draws of who is held out."""
    shares = {t: [] for t in (0.05, 0.2, 0.5)}
    for k in range(8):
        fitted = fit_familiarity(draw_features(100, seed=7), draw_features(held_out, seed=100 * seed + k + 10))
        ranks = np.array(fitted.rank(draw_features(400, seed=5000 + 100 * seed + k)))
        for t, found in shares.items():
            found.append(float((ranks <= t).mean()))
    for t, found in shares.items():
        assert np.mean(found) <= t + 0.05, (t, found)
        assert np.mean(found) >= t - 1 / (held_out + 1) - 0.05, (t, found)


def test_far_features_are_unfamiliar_and_the_mean_is_familiar(fitted):
    near, far = fitted.rank(np.stack([fitted.mean, fitted.mean + 50]))
    assert near == 1
    assert far == pytest.approx(1 / 301)
    assert warn_of_distance(near) == warn_of_distance(LEAST_FAMILIAR) == warn_of_distance(None) == ""
    assert "do not rely on the probability" in warn_of_distance(far)


@settings(max_examples=40)
@given(st.integers(0, 1000), st.floats(0, 30), st.floats(0, 30))
def test_farther_along_a_ray_is_never_more_familiar(example_seed, near, far):
    fitted = fit_familiarity(draw_features(80), draw_features(60, seed=1))
    ray = np.random.default_rng(example_seed).standard_normal(40).astype(np.float32)
    steps = np.array(sorted((near, far)), dtype=np.float32)
    distances = fitted.measure(fitted.mean + steps[:, None] * ray)
    assert distances[1] >= distances[0] * (1 - 1e-5)


def test_a_distance_depends_on_its_row_alone(fitted):
    features = draw_features(30, seed=3)
    alone = [fitted.measure(row[None])[0] for row in features]
    assert np.array_equal(fitted.measure(features), np.array(alone))
    assert np.array_equal(fitted.measure(np.ascontiguousarray(features[::-1]))[::-1], np.array(alone))


def test_features_that_are_not_finite_are_the_least_familiar(fitted):
    broken = draw_features(4, seed=2)
    broken[0, 3], broken[1, 3], broken[2, 3] = np.nan, np.inf, 1e38
    assert np.isposinf(fitted.measure(broken)[:3]).all()
    assert fitted.rank(broken)[:3] == [pytest.approx(1 / 301)] * 3


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (draw_features(7), draw_features(9), "at least 8 training and 2 validation"),
        (draw_features(20), draw_features(1), "at least 8 training and 2 validation"),
        (np.full((20, 40), 3, dtype=np.float32), draw_features(9), "the same features"),
        (draw_features(20) * np.float32(np.nan), draw_features(9), "not finite"),
        (draw_features(20), draw_features(9)[:, :39], "fitted to 40 features"),
    ],
)
def test_features_that_make_none(train, val, message):
    with pytest.raises(BundleError, match=message):
        fit_familiarity(train, val)


def test_it_comes_back_from_its_file_to_the_bit(tmp_path, fitted):
    path = tmp_path / "gate.npz"
    fitted.save(path)
    read = Familiarity.load(path)
    features = draw_features(20, seed=4)
    assert read.rank(features) == fitted.rank(features)
    for name in ("mean", "components", "variances", "residual_variance", "held_out", "n_train", "limit"):
        assert np.array_equal(getattr(read, name), getattr(fitted, name)), name
    assert [file.name for file in tmp_path.iterdir()] == ["gate.npz"]


def test_the_file_is_small_with_all_components(tmp_path):
    fitted = fit_familiarity(draw_features(600, f=2048), draw_features(20, seed=1, f=2048))
    assert fitted.components.shape == (128, 2048)
    fitted.save(tmp_path / "gate.npz")
    assert (tmp_path / "gate.npz").stat().st_size < 600_000


def write_version_1(path, fitted: Familiarity, *, limit: float) -> None:
    """As Hilum wrote it until bundles had a locator."""
    np.savez(
        path,
        version=np.int64(1),
        mean=fitted.mean,
        components=fitted.components.astype(np.float16),
        variances=fitted.variances,
        scales=np.array([fitted.residual_variance, limit, 0.01]),
        counts=np.array([fitted.n_train, 60], dtype=np.int64),
    )


def test_a_file_of_version_1_is_read_with_its_limit_and_knows_no_familiarity(tmp_path, fitted):
    write_version_1(tmp_path / "gate.npz", fitted, limit=9.5)
    read = Familiarity.load(tmp_path / "gate.npz")
    features = draw_features(5, seed=2)
    assert read.limit == 9.5
    assert read.rank(features) == [None] * 5
    assert np.array_equal(read.measure(features), fitted.measure(features))


def test_files_that_are_none(tmp_path, fitted):
    path = tmp_path / "gate.npz"
    with pytest.raises(BundleError, match="missing"):
        Familiarity.load(path)
    fitted.save(path)
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="no input gate"):
        Familiarity.load(path)
    path.write_text("not an archive")
    with pytest.raises(BundleError, match="no input gate"):
        Familiarity.load(path)
    for change, message in (
        ({"version": np.int64(99)}, "version 99"),
        ({"mean": np.array([None, {}], dtype=object)}, "no input gate"),
        ({"mean": arrays["mean"][:-1]}, "hold together"),
        ({"variances": -arrays["variances"]}, "hold together"),
        ({"held_out": arrays["held_out"][::-1]}, "hold together"),
        ({"held_out": arrays["held_out"] * np.nan}, "hold together"),
    ):
        np.savez(path, allow_pickle=True, **{**arrays, **change})
        with pytest.raises(BundleError, match=message):
            Familiarity.load(path)
    del arrays["n_train"]
    np.savez(path, **arrays)
    with pytest.raises(BundleError, match="no input gate"):
        Familiarity.load(path)


def test_what_does_not_hold_together_cannot_be_made(fitted):
    with pytest.raises(BundleError, match="hold together"):
        replace(fitted, limit=1.0)
    with pytest.raises(BundleError, match="hold together"):
        replace(fitted, residual_variance=0.0)


def test_applying_it_needs_no_science_stack(tmp_path, fitted):
    fitted.save(tmp_path / "gate.npz")
    np.save(tmp_path / "features.npy", draw_features(3, seed=8))
    code = (
        "import sys, numpy as np; from pathlib import Path; from hilum.inference.familiarity import Familiarity\n"
        "import hilum.inference.gate\n"
        "print(len(Familiarity.load(Path('gate.npz')).rank(np.load('features.npy'))))\n"
        "print(sorted({'torch', 'scipy', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["3", "[]"]
