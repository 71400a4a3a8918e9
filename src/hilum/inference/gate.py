"""The input gate: is this picture like the radiographs that the model was trained on?

The simple checks of `picture_checks` come first. Then a distance in the space of the network's pooled features decides:
that of probabilistic principal component analysis, which is the Mahalanobis distance (Lee et al. 2018, "A simple
unified framework for detecting out-of-distribution samples") inside the main subspace of the training features, plus
the length of what lies outside of it (as in ViM, Wang et al. 2022) in units of its own spread. Measured against
nearest neighbours (Sun et al. 2022) and against either part alone, it let fewest other pictures pass.

Applying a gate needs numpy and Pillow alone.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from hilum.bundle import Bundle
from hilum.errors import BundleError
from hilum.files import atomic_path
from hilum.inference.picture_checks import check_picture
from hilum.types import DoubleArray, FloatArray, UInt8Array

METHOD = "distance of probabilistic PCA on pooled features"
COMPONENTS = 128
VERSION = 1
# With fewer pictures than this beyond the limit, the tail of a fitted distribution has a say.
_ENOUGH_IN_TAIL = 5


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate says of one picture.

    `reason` is one sentence, empty when the picture is accepted. `score` is the distance of the features in units of
    the limit: above 1 is refused. A picture that a simple check refuses keeps its score, which may be below 1.
    """

    accepted: bool
    reason: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A fitted gate. f is the number of features, d that of components.

    `mean` (f,), `components` (d, f) with orthonormal rows (of half precision, which is what is stored), `variances`
    (d,) of the training features along them, `residual_variance` that along any other direction. `limit` is the
    distance that counts as 1. `rejected_val_share` is the share of the validation pictures whose features are beyond.
    """

    mean: FloatArray
    components: FloatArray
    variances: FloatArray
    residual_variance: float
    limit: float
    rejected_val_share: float
    n_train: int
    n_val: int

    def __post_init__(self) -> None:
        """Refuse what cannot be a gate.

        Raises:
            BundleError: shapes that do not fit each other, or values that are not finite or not positive.
        """
        d, f = self.components.shape if self.components.ndim == 2 else (0, 0)
        scales = np.array([*self.variances.ravel(), self.residual_variance, self.limit], dtype=np.float64)
        fits = d > 0 and self.mean.shape == (f,) and self.variances.shape == (d,) and d < f
        finite = all(np.isfinite(values).all() for values in (self.mean, self.components, scales))
        if not (fits and finite and (scales > 0).all()):
            raise BundleError("The input gate does not hold together (shapes or values are wrong); export it again.")

    @classmethod
    def open(cls, bundle: Bundle) -> Gate | None:
        """Read the gate of a bundle, None where it has none.

        Raises:
            BundleError: the file is no gate.
        """
        return None if bundle.gate is None else cls.load(bundle.gate)

    def check_picture(self, gray: UInt8Array, *, colour: float = 0.0) -> str | None:
        """Return why a picture (h, w) is no upright frontal chest radiograph on its looks, or None."""
        return check_picture(gray, colour=colour)

    def check_features(self, features: FloatArray) -> FloatArray:
        """Return the distances (n,) of features (n, f) in units of the limit; infinite where features are not finite.

        Each score depends on its own row alone, to the bit: however pictures are grouped, they score the same.

        Raises:
            BundleError: the network gives another number of features.
        """
        if features.ndim != 2 or features.shape[1] != self.mean.size:
            raise BundleError(
                f"The input gate is fitted to {self.mean.size:,} features a picture, and the network gives an array of "
                f"shape {features.shape}; export the bundle again."
            )
        scores = self._measure(features) / np.float32(self.limit)
        return np.where(np.isnan(scores), np.float32(np.inf), scores)

    def explain_score(self, score: float) -> str:
        """Return why a score is refused, or an empty text when it is within the limit."""
        if score <= 1:
            return ""
        return f"Unlike the radiographs the model was trained on (distance {score:.2f}, limit 1.00)."

    def judge(
        self, pictures: UInt8Array, features: FloatArray, *, colours: Sequence[float] | None = None
    ) -> list[GateVerdict]:
        """Judge pictures (n, h, w) with their features (n, f).

        `colours` are the shares of colour of the original files, where known (`ImageMeta.colour`).

        Raises:
            BundleError: the network gives another number of features.
        """
        shares = [0.0] * len(pictures) if colours is None else colours
        verdicts = []
        for picture, colour, score in zip(pictures, shares, self.check_features(features).tolist(), strict=True):
            reason = self.check_picture(picture, colour=colour) or self.explain_score(score)
            verdicts.append(GateVerdict(accepted=not reason, reason=reason, score=score))
        return verdicts

    def save(self, path: Path) -> None:
        """Write gate.npz, atomically; `load` gives the same gate back, to the bit."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                version=np.int64(VERSION),
                mean=self.mean,
                components=self.components.astype(np.float16),
                variances=self.variances,
                scales=np.array([self.residual_variance, self.limit, self.rejected_val_share]),
                counts=np.array([self.n_train, self.n_val], dtype=np.int64),
            )

    @classmethod
    def load(cls, path: Path) -> Gate:
        """Read gate.npz.

        Raises:
            BundleError: the file is missing, is no gate, or is one of another version.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
            version = int(arrays["version"])
            if version != VERSION:
                raise BundleError(f"{path} is an input gate of version {version}, not {VERSION}; export it again.")
            residual_variance, limit, rejected_val_share = (float(value) for value in arrays["scales"])
            n_train, n_val = (int(value) for value in arrays["counts"])
            return cls(
                mean=np.asarray(arrays["mean"], dtype=np.float32),
                components=np.asarray(arrays["components"], dtype=np.float32),
                variances=np.asarray(arrays["variances"], dtype=np.float32),
                residual_variance=residual_variance,
                limit=limit,
                rejected_val_share=rejected_val_share,
                n_train=n_train,
                n_val=n_val,
            )
        except FileNotFoundError:
            raise BundleError(f"The input gate {path} is missing; export the bundle again.") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path} is no input gate ({error}); export the bundle again.") from None

    def _measure(self, features: FloatArray) -> FloatArray:
        """Return the distances (n,), in standard deviations of the training features."""
        with np.errstate(over="ignore", invalid="ignore"):  # absurd features get an infinite distance
            centred = np.asarray(features, dtype=np.float32) - self.mean
            # einsum and not a matrix product: the latter rounds differently with the number of rows and of threads.
            inside = np.einsum("nf,df->nd", centred, self.components) ** 2
            outside = np.maximum(np.einsum("nf,nf->n", centred, centred) - inside.sum(axis=1), 0)
            squares = (inside / self.variances).sum(axis=1) + outside / np.float32(self.residual_variance)
            return np.asarray(np.sqrt(squares), dtype=np.float32)


def fit_gate(
    train_features: FloatArray,
    val_features: FloatArray,
    *,
    max_rejected: float = 0.01,
    val_patients: Sequence[str] | None = None,
) -> Gate:
    """Fit the distance on training features and its limit on validation features.

    The limit is the smallest validation distance such that at most `max_rejected` of the pictures, and where
    `val_patients` is given of the patients, lie beyond it. When those would be fewer than five pictures, the limit is
    not below the same quantile of a log-normal distribution fitted to the distances either: the largest of a few is too
    low an estimate of what radiographs can reach. Nothing is drawn by chance.

    Args:
        train_features: (n, f), of pictures that the network was trained on, not augmented.
        val_features: (m, f), of pictures that it was not trained on.
        max_rejected: share of validation pictures that may be rejected, above 0 and below 1.
        val_patients: whose picture each validation picture is, (m,).

    Raises:
        BundleError: too few pictures, or features that are not finite or do not vary.
    """
    train = np.asarray(train_features, dtype=np.float64)
    val = np.asarray(val_features, dtype=np.float32)
    if len(train) < 8 or len(val) < 2:
        raise BundleError(
            f"An input gate needs at least 8 training and 2 validation pictures; there are {len(train)} and {len(val)}."
        )
    if not (np.isfinite(train).all() and np.isfinite(val).all()):
        raise BundleError("The network gives features that are not finite; train it again.")
    gate = _fit_distance(train, len(val))
    distances = gate.check_features(val).astype(np.float64)
    limit = _find_limit(distances, max_rejected)
    if val_patients is not None:
        names = np.asarray(val_patients, dtype=np.str_)
        farthest = np.array([distances[names == name].max() for name in np.unique(names)])
        limit = max(limit, _find_limit(farthest, max_rejected))
    gate = replace(gate, limit=limit)
    return replace(gate, rejected_val_share=float((gate.check_features(val) > 1).mean()))


def _fit_distance(train: DoubleArray, n_val: int) -> Gate:
    """Return a gate with a limit of 1: the maximum likelihood of probabilistic PCA.

    Tipping and Bishop 1999, "Probabilistic principal component analysis", equations 7 and 8.
    """
    from scipy.linalg import eigh  # noqa: PLC0415 - applying a gate does without
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    n, f = train.shape
    # A direction needs several pictures before its variance is worth anything.
    count = max(1, min(COMPONENTS, n // 4, f - 1))
    mean = train.mean(axis=0)
    centred = train - mean
    with threadpool_limits(1):  # the same gate with any number of processors
        covariance = centred.T @ centred / (n - 1)
        variances, directions = eigh(covariance, subset_by_index=[f - count, f - 1], overwrite_a=True)
    total = float((centred**2).sum()) / (n - 1)
    if not total > 0:
        raise BundleError("The network gives the same features for every picture; train it again.")
    floor = float(variances[-1]) * 1e-9  # below it there is rounding alone
    strong = variances > floor
    return Gate(
        mean=mean.astype(np.float32),
        # The limit is fitted with what is stored.
        components=np.ascontiguousarray(directions.T[strong].astype(np.float16).astype(np.float32)),
        variances=variances[strong].astype(np.float32),
        residual_variance=max((total - float(variances[strong].sum())) / (f - int(strong.sum())), floor),
        limit=1.0,
        rejected_val_share=0.0,
        n_train=n,
        n_val=n_val,
    )


def _find_limit(distances: DoubleArray, max_rejected: float) -> float:
    allowed = int(max_rejected * len(distances) + 1e-9)  # 0.29 * 100 is 28.999...
    limit = float(np.sort(distances)[-1 - allowed])
    if allowed < _ENOUGH_IN_TAIL:
        logarithms = np.log(np.maximum(distances, np.finfo(np.float32).tiny))
        tail = NormalDist().inv_cdf(1 - max_rejected)
        limit = max(limit, float(np.exp(logarithms.mean() + tail * logarithms.std(ddof=1))))
    return limit
