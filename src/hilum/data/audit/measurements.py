"""What an audit has measured, as its sections need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.data.audit.duplicates import DuplicateGroup, PicturePair
from hilum.data.audit.pixels import PixelStatistics
from hilum.data.audit.shortcut import ShortcutCheck
from hilum.report.render import Figure
from hilum.types import Split, UInt8Array


@dataclass(frozen=True, slots=True)
class Measurements:
    """All that an audit measured.

    `frame`: readable pictures with their split; `numbers`: the content of eda.json; `pictures`: (224, 224) gray by
    position in `frame`, as the sheets need them; `folder`: where figures go; `seed`: what the sample was drawn with.
    """

    frame: pd.DataFrame
    numbers: Mapping[str, Any]
    pixels: PixelStatistics
    samples: Mapping[str, Sequence[int]]
    exact: Sequence[DuplicateGroup]
    near: Sequence[DuplicateGroup]
    closest: Sequence[PicturePair]
    shortcuts: ShortcutCheck
    pictures: Mapping[int, UInt8Array]
    folder: Path
    seed: int

    @property
    def development(self) -> pd.DataFrame:
        """Return the rows that design may look at: all but test's."""
        return self.frame[self.frame["split"] != Split.TEST]


def draw_into(
    measured: Measurements,
    name: str,
    draw: Callable[[Path], None],
    *,
    title: str,
    caption: str,
    alt: str,
    wide: bool = False,
) -> Figure:
    """Draw a figure into the folder of the audit, by a function that writes to a path; return it with its texts."""
    path = measured.folder / f"{name}.png"
    draw(path)
    return Figure(path, title=title, caption=caption, alt=alt, wide=wide)
