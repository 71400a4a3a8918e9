"""The one look of all figures: matplotlib's object interface, no pyplot, colours that colour-blind readers tell apart.

Usage:

    with draw_figure(folder / "roc.png", width=HALF_WIDTH, height=5) as figure:
        axes = figure.subplots()
        axes.plot(x, y, color=COLOURS[Label.PNEUMONIA])

The picture is saved, atomically, when the block ends without an error. Draw in one thread: matplotlib's settings are
global while the block is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from hilum.files import atomic_path
from hilum.types import Label, Pathogen, Split

DPI = 150

# Widths in inches at which the text of a figure is well read on a page: two abreast, or across it (`Figure.wide`).
HALF_WIDTH = 5.6
FULL_WIDTH = 10.0

# Classes and pathogens are Okabe and Ito's hues (https://jfly.uni-koeln.de/color/), virus a purple of its own; splits
# go from dark to light, so that they differ in grey print too.
COLOURS: Mapping[str, str] = MappingProxyType(
    {
        Label.NORMAL: "#0072B2",
        Label.PNEUMONIA: "#D55E00",
        Pathogen.BACTERIA: "#E69F00",
        Pathogen.VIRUS: "#8E5EA8",
        Split.TRAIN: "#334A66",
        Split.VAL: "#009E84",
        Split.TEST: "#6DB7E0",
    }
)
INK = "#1F2933"
SOFT_INK = "#5B6673"
GRID = "#E6EAEE"
NEUTRAL = "#8A94A0"
DIVERGING = "RdBu_r"
SEQUENTIAL = "viridis"

# Any: matplotlib types its settings as a union of a few hundred literals, which no plain dictionary satisfies.
_SETTINGS: Any = MappingProxyType(
    {
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that a figure looks alike on every machine
        "font.size": 10,
        "text.color": INK,
        "text.parse_math": False,  # names of files are shown, and $ is a letter in them
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.labelsize": 10,
        "axes.labelcolor": INK,
        "axes.edgecolor": NEUTRAL,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",  # axes.grid(True) draws both
        "axes.formatter.limits": (-4, 6),
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": SOFT_INK,
        "ytick.color": SOFT_INK,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
        "image.interpolation": "antialiased",
    }
)


@contextmanager
def draw_figure(path: Path, *, width: float = HALF_WIDTH, height: float = 3.8) -> Iterator[Figure]:
    """Yield an empty figure of `width` x `height` inches in the common look; save it to `path` when the block succeeds.

    Axes are laid out without overlap (constrained layout). Make them with `figure.subplots(...)`, or with
    `figure.subplot_mosaic(...)`.
    """
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at 150 dots an inch, atomically; equal figures give equal bytes."""
    with mpl.rc_context(_SETTINGS), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
    figure.clear()


def show_picture(
    axes: Axes,
    picture: NDArray[Any],
    *,
    title: str = "",
    frame: str | None = None,
    cmap: str = "gray",
    vmin: float | None = 0,
    vmax: float | None = 255,
) -> AxesImage:
    """Show an (h, w) or RGB (h, w, 3) picture without ticks; `frame` is the colour of a border.

    The default range is that of 8-bit gray; the returned image is what a colour bar needs.
    """
    image = axes.imshow(picture, cmap=cmap, vmin=vmin, vmax=vmax)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame is not None)
        spine.set_edgecolor(frame or "none")
        spine.set_linewidth(2.0)
    if title:
        axes.set_title(title, fontsize=8, fontweight="normal", loc="center", pad=4)
    return image


def label_bars(axes: Axes, bars: BarContainer, texts: Sequence[str]) -> None:
    """Write one text on the tip of each upright bar, and leave room for it."""
    axes.bar_label(bars, labels=list(texts), padding=3, fontsize=9, color=INK)
    axes.margins(y=0.12)
