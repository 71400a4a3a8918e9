"""Where the class activation map puts its evidence, in the pictures that the model calls PNEUMONIA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from hilum.evaluation.intervals import Estimate
from hilum.evaluation.shortcuts.means import estimate_mean
from hilum.evaluation.shortcuts.sample import Sample
from hilum.types import DoubleArray, FloatArray


@dataclass(frozen=True, slots=True)
class EvidenceResult:
    """Positive evidence of the maps of `n` pictures called PNEUMONIA.

    `inside` is the mean share of it that lies in the lungs, `area` the share of the picture that they cover: evidence
    spread evenly would have as much inside. `pointing` is the share of maps whose peak lies in the lungs.
    """

    n: int
    inside: Estimate
    area: float
    pointing: Estimate


def check_evidence(sample: Sample, *, resamples: int, seed: int) -> EvidenceResult:
    """Compare maps with lung masks; no forward pass. Maps without positive evidence are left out."""
    shares, peaks, areas, patients = [], [], [], []
    for place in np.flatnonzero(sample.called).tolist():
        energy = np.maximum(_enlarge(sample.cams[place], sample.masks.shape[-1]), 0)
        if not energy.any():
            continue
        mask = sample.masks[place]
        shares.append(float(energy[mask].sum() / energy.sum()))
        peaks.append(float(mask.flat[int(energy.argmax())]))
        areas.append(float(mask.mean()))
        patients.append(sample.patients[place])

    def estimate(values: list[float]) -> Estimate:
        return estimate_mean(np.array(values), patients, resamples=resamples, seed=seed)

    area = float(np.mean(areas)) if areas else float(sample.masks.mean())
    return EvidenceResult(len(shares), estimate(shares), area, estimate(peaks))


def _enlarge(cam: FloatArray, side: int) -> DoubleArray:
    """Return the map at the size of the picture, linear between the middles of its cells."""
    large = Image.fromarray(cam.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(large, dtype=np.float64)
