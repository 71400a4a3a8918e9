"""What a report tells besides the scores: where the pictures come from, how the model was trained, how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pandas as pd

from hilum.report.render import Section
from hilum.types import Stage


class Origin(StrEnum):
    """Which data the pictures are, because that decides what the figures may be taken to say."""

    KERMANY = "kermany"
    PHANTOM = "phantom"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Background:
    """What the caller of `evaluate` knows and the scores do not tell. Each item may be missing.

    `data` names the data set as the reader knows it, `command` is what to type to get this evaluation again, `stages`
    are those of the network, `learning_curves` is a PNG, `training` are facts of the run in the order to show them,
    `metadata_auroc` is how well file metadata alone separate the classes of the same split (hilum explore),
    `sections` are further sections of the report, such as a summary of the data, `unseen` means that the pictures were
    looked for in a bundle's list of those that it was made of, and not found, and `whole` that all pictures of the data
    are scored as test, whatever split they stand in there.
    """

    data: str = ""
    command: str = ""
    origin: Origin | None = None
    stages: Sequence[Stage] = ()
    learning_curves: Path | None = None
    training: Mapping[str, str] = field(default_factory=dict)
    metadata_auroc: float | None = None
    sections: Sequence[Section] = ()
    unseen: bool = False
    whole: bool = False


def recognise_origin(splits: pd.DataFrame) -> Origin:
    """Return KERMANY for pictures named as Kermany et al. named theirs (with a pathogen), or a MedMNIST copy of them.

    Phantoms carry the same names on purpose: whoever drew them says so with `Background.origin`.
    """
    if (splits["pathogen"] != "").any() or splits["path"].str.contains("pneumoniamnist", case=False).any():
        return Origin.KERMANY
    return Origin.UNKNOWN
