"""How like the training pictures a picture is: a figure beside the probability, which refuses nothing.

The distance is taken in the space of the network's pooled features. It is that of probabilistic principal component
analysis: the Mahalanobis distance (Lee et al. 2018, "A simple unified framework for detecting out-of-distribution
samples") inside the main subspace of the training features, plus the length of what lies outside of it (as in ViM,
Wang et al. 2022) in units of its own spread. Familiarity is the conformal p-value of that distance among those of
pictures of held-out patients (Bates et al. 2023, "Testing for outliers with conformal p-values"): of pictures like
those, 5 % are at or below 0.05.

Applying it needs numpy alone.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.bundle import Bundle
from hilum.errors import BundleError
from hilum.files import atomic_path
from hilum.types import DoubleArray, FloatArray

METHOD = "distance of probabilistic PCA on pooled features"
COMPONENTS = 128
VERSION = 2
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, IndexError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """Fitted statistics. f is the number of features, d that of components.

    `mean` (f,), `components` (d, f) with orthonormal rows (of half precision, which is what is stored), `variances`
    (d,) of the training features along them, `residual_variance` that along any other direction. `held_out` (m,): the
    distances of the pictures of held-out patients, ascending. Bundles of version 1 have a `limit` in their place, at
    which they refused a picture.
    """

    mean: FloatArray
    components: FloatArray
    variances: FloatArray
    residual_variance: float
    held_out: FloatArray
    n_train: int
    limit: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            BundleError: shapes that do not fit each other, or values that are not finite or not positive.
        """
        d, f = self.components.shape if self.components.ndim == 2 else (0, 0)
        limit = 1.0 if self.limit is None else self.limit
        scales = np.array([*self.variances.ravel(), self.residual_variance, limit], dtype=np.float64)
        fits = d > 0 and self.mean.shape == (f,) and self.variances.shape == (d,) and d < f
        fits = fits and self.held_out.ndim == 1 and (self.held_out.size > 0) == (self.limit is None)
        finite = all(np.isfinite(values).all() for values in (self.mean, self.components, scales, self.held_out))
        if not (fits and finite and (scales > 0).all() and (np.diff(self.held_out) >= 0).all()):
            raise BundleError("The input gate does not hold together (shapes or values are wrong); export it again.")

    @classmethod
    def open(cls, bundle: Bundle) -> Familiarity | None:
        """Read that of a bundle, None where it has none.

        Raises:
            BundleError: the file is no gate.
        """
        return None if bundle.gate is None else cls.load(bundle.gate)

    def rank(self, features: FloatArray) -> list[float | None]:
        """Return the familiarity of each row of features (n, f), above 0 and up to 1; None for bundles of version 1.

        Raises:
            BundleError: the network gives another number of features.
        """
        if self.limit is not None:
            return [None] * len(features)
        farther = self.held_out.size - np.searchsorted(self.held_out, self.measure(features), side="left")
        return [float(share) for share in (1 + farther) / (1 + self.held_out.size)]

    def measure(self, features: FloatArray) -> FloatArray:
        """Return the distances (n,) of features (n, f), in standard deviations; infinite where they are not finite.

        Each depends on its own row alone, to the bit: however pictures are grouped, they score the same.

        Raises:
            BundleError: the network gives another number of features.
        """
        if features.ndim != 2 or features.shape[1] != self.mean.size:
            raise BundleError(
                f"The input gate is fitted to {self.mean.size:,} features a picture, and the network gives an array of "
                f"shape {features.shape}; export the bundle again."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # absurd features get an infinite distance
            centred = np.asarray(features, dtype=np.float32) - self.mean
            # einsum and not a matrix product: the latter rounds differently with the number of rows and of threads.
            inside = np.einsum("nf,df->nd", centred, self.components) ** 2
            outside = np.maximum(np.einsum("nf,nf->n", centred, centred) - inside.sum(axis=1), 0)
            squares = (inside / self.variances).sum(axis=1) + outside / np.float32(self.residual_variance)
            distances = np.asarray(np.sqrt(squares), dtype=np.float32)
        return np.where(np.isnan(distances), np.float32(np.inf), distances)

    def save(self, path: Path) -> None:
        """Write gate.npz, atomically; `load` gives the same back, to the bit."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                version=np.int64(VERSION),
                mean=self.mean,
                components=self.components.astype(np.float16),
                variances=self.variances,
                residual_variance=np.float64(self.residual_variance),
                held_out=self.held_out,
                n_train=np.int64(self.n_train),
            )

    @classmethod
    def load(cls, path: Path) -> Familiarity:
        """Read gate.npz.

        Raises:
            BundleError: the file is missing, is no gate, or is one of a later version.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
            version = int(arrays["version"])
            if version not in (1, VERSION):
                raise BundleError(f"{path} is an input gate of version {version}, not {VERSION}; export it again.")
            old = version == 1
            return cls(
                mean=np.asarray(arrays["mean"], dtype=np.float32),
                components=np.asarray(arrays["components"], dtype=np.float32),
                variances=np.asarray(arrays["variances"], dtype=np.float32),
                residual_variance=float(arrays["scales"][0] if old else arrays["residual_variance"]),
                held_out=np.empty(0, np.float32) if old else np.asarray(arrays["held_out"], dtype=np.float32),
                n_train=int(arrays["counts"][0] if old else arrays["n_train"]),
                limit=float(arrays["scales"][1]) if old else None,
            )
        except FileNotFoundError:
            raise BundleError(f"The input gate {path} is missing; export the bundle again.") from None
        except _DAMAGE as error:
            raise BundleError(f"{path} is no input gate ({error}); export the bundle again.") from None


def fit_familiarity(train_features: FloatArray, held_out_features: FloatArray) -> Familiarity:
    """Fit the distance on training features and its distribution on those of held-out patients.

    Nothing is drawn by chance.

    Args:
        train_features: (n, f), of pictures that the network was trained on, not augmented.
        held_out_features: (m, f), of pictures of other patients.

    Raises:
        BundleError: too few pictures, or features that are not finite or do not vary.
    """
    train = np.asarray(train_features, dtype=np.float64)
    held_out = np.asarray(held_out_features, dtype=np.float32)
    if len(train) < 8 or len(held_out) < 2:
        raise BundleError(
            "An input gate needs at least 8 training and 2 validation pictures; there are "
            f"{len(train)} and {len(held_out)}."
        )
    if not (np.isfinite(train).all() and np.isfinite(held_out).all()):
        raise BundleError("The network gives features that are not finite; train it again.")
    fitted = _fit_distance(train)
    return replace(fitted, held_out=np.sort(fitted.measure(held_out)))


def _fit_distance(train: DoubleArray) -> Familiarity:
    """Return the distance without anyone held out: the maximum likelihood of probabilistic PCA.

    Tipping and Bishop 1999, "Probabilistic principal component analysis", equations 7 and 8.
    """
    from scipy.linalg import eigh  # noqa: PLC0415 - applying it does without
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    n, f = train.shape
    # A direction needs several pictures before its variance is worth anything.
    count = max(1, min(COMPONENTS, n // 4, f - 1))
    mean = train.mean(axis=0)
    centred = train - mean
    with threadpool_limits(1):  # the same with any number of processors
        covariance = centred.T @ centred / (n - 1)
        variances, directions = eigh(covariance, subset_by_index=[f - count, f - 1], overwrite_a=True)
    total = float((centred**2).sum()) / (n - 1)
    if not total > 0:
        raise BundleError("The network gives the same features for every picture; train it again.")
    floor = float(variances[-1]) * 1e-9  # below it there is rounding alone
    strong = variances > floor
    return Familiarity(
        mean=mean.astype(np.float32),
        # What is held out is measured with what is stored.
        components=np.ascontiguousarray(directions.T[strong].astype(np.float16).astype(np.float32)),
        variances=variances[strong].astype(np.float32),
        residual_variance=max((total - float(variances[strong].sum())) / (f - int(strong.sum())), floor),
        held_out=np.zeros(1, dtype=np.float32),
        n_train=n,
    )
