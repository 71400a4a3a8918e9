"""A small real model and pictures that it can score, for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from hilum.config import EvaluateConfig
from hilum.data.images import read_picture
from hilum.errors import ImageReadError
from hilum.evaluation.results import measure
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import fit_operating_point
from hilum.files import sha256_file
from hilum.types import Score

SIDE = 28  # 7 x 7 cells of 4 x 4 pixels
GRAYS_A_LOGIT = 10.0


class BrightnessScorer:
    """A linear model on brightness: each cell of 4 x 4 pixels gives its share of the logit, so the map is exact."""

    def __init__(self, name="brightness"):
        self.name = name

    def describe(self):
        return {"Network": "Brightness model, one logit", "Initial weights": "no", "Seed": "0"}

    def describe_runtime(self):
        return {"device": "abacus", "precision": "float64"}

    def score(self, paths):
        for path in paths:
            try:
                gray, _ = read_picture(path)
            except ImageReadError as error:
                yield error
                continue
            cam = (gray.reshape(7, 4, 7, 4).mean((1, 3)) - 128) / GRAYS_A_LOGIT
            yield Score(float(cam.mean()), cam.astype(np.float32))


def draw_splits(folder: Path, *, sizes=None, seed=0, distance=1.5):
    """Draw pictures whose brightness tells their class but for some, and return their splits table.

    `sizes` gives (NORMAL, PNEUMONIA) pictures for each split, two of each patient; `distance` is that of the classes
    from zero in logits, with a standard deviation of 1.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for split, (normal, pneumonia) in (sizes or {"train": (4, 6), "val": (20, 40), "test": (24, 30)}).items():
        for number in range(normal + pneumonia):
            ill = number >= normal
            pathogen = ("bacteria" if number // 2 % 3 else "virus") if ill else ""
            patient = f"{pathogen or 'IM'}/{split}-{number // 2}"
            logit = rng.normal(distance if ill else -distance, 1)
            path = folder / split / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.normal(0, 12, (SIDE, SIDE))
            pixels = np.clip(128 + logit * GRAYS_A_LOGIT + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)
            label = "PNEUMONIA" if ill else "NORMAL"
            rows.append((str(path), sha256_file(path), label, pathogen, patient, split))
    return pd.DataFrame(rows, columns=["path", "sha256", "label", "pathogen", "patient", "split"])


def draw_scored(split, *, size=120, share=0.6, distance=1.5, spread=1.0, seed=0):
    """Draw logits of normal distributions around +distance and -distance, two pictures of each patient; no files."""
    rng = np.random.default_rng(seed)
    ill = np.arange(size) < round(share * size)
    logits = np.where(ill, distance, -distance) + rng.normal(0, spread, size)
    table = pd.DataFrame(
        {
            "path": [f"{split}/{number}.png" for number in range(size)],
            "label": np.where(ill, "PNEUMONIA", "NORMAL"),
            "pathogen": np.where(ill, np.where(np.arange(size) % 2, "virus", "bacteria"), ""),
            "patient": [f"{split}-{number // 2}" for number in range(size)],
            "split": str(split),
            "status": "ok",
            "message": "",
            "logit": logits,
        }
    )
    return ScoredSplit(split, table, tuple(np.full((7, 7), logit, np.float32) for logit in logits))


def build_results(tested, val=None, point=None):
    """Measure a drawn split at the operating point given, or at the one that val gives."""
    point = point or fit_operating_point(val.labels, val.logits, config=EvaluateConfig(bootstrap=100))
    splits = pd.concat([part.table for part in (val, tested) if part is not None])
    return measure("model", tested, val, point, splits=splits, config=EvaluateConfig(bootstrap=100), seed=0)
