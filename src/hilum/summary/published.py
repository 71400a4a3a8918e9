"""Figures that others published on the same 624 test pictures, with what must be known before comparing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """One published result; None where the source does not give the figure."""

    model: str
    source: str
    accuracy: float
    auroc: float
    sensitivity: float | None
    specificity: float | None
    caveat: str


PUBLISHED = (
    Published(
        "Inception-v3, features fixed",
        "Kermany et al. 2018, Cell 172:1122",
        0.928, 0.968, 0.932, 0.901,
        "one model, without interval",
    ),
    Published(
        "ResNet-50 at 224 px",
        "Yang et al. 2023, MedMNIST v2",
        0.884, 0.962, None, None,
        "pictures of 28 px, enlarged",
    ),
    Published(
        "best network end to end, 224 px",
        "Doerrich et al. 2024, MedMNIST+",
        0.911, 0.980, None, None,
        "the highest of many test figures, which flatters; centre-cropped pictures",
    ),
    Published(
        "DINO ViT-B, linear probe, 224 px",
        "Doerrich et al. 2024, MedMNIST+",
        0.916, 0.989, None, None,
        "the highest of many test figures, which flatters; centre-cropped pictures",
    ),
    Published(
        "Google AutoML Vision",
        "Yang et al. 2023, MedMNIST v2",
        0.946, 0.991, None, None,
        "pictures of 28 px; closed, cannot be reproduced",
    ),
)  # fmt: skip

PUBLISHED_PATHOGEN = Published(
    "Inception-v3, bacterial or viral",
    "Kermany et al. 2018, Cell 172:1122",
    0.907, 0.940, 0.886, 0.909,
    "pneumonias alone; the cause is that of the file name",
)  # fmt: skip
