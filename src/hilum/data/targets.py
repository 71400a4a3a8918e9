"""What a network is to say of each picture, as numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hilum.types import FloatArray, Label, Pathogen


def build_targets(rows: pd.DataFrame, *, pathogen: bool) -> FloatArray:
    """Return (n, 1), 1 for PNEUMONIA, or with `pathogen` (n, 2), whose second is 1 for viral and 0 for bacterial.

    The second is NaN, which the loss leaves out, for NORMAL pictures and where the pathogen is not known.
    """
    sick = (rows["label"] == Label.PNEUMONIA).to_numpy(dtype=np.float32)
    if not pathogen:
        return np.asarray(sick[:, None], dtype=np.float32)
    viral = rows["pathogen"].map({Pathogen.BACTERIA: 0.0, Pathogen.VIRUS: 1.0}).to_numpy(dtype=np.float32)
    return np.stack([sick, np.where(sick > 0, viral, np.nan)], axis=1).astype(np.float32)
