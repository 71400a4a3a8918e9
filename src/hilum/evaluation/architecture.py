"""The architecture figure: the stages of a network, as read off the network itself, drawn as slabs.

A slab's height falls with the root of the map's side, its depth grows with the logarithm of the channels; a stage of
several equal blocks is cut into as many slices.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Polygon

from hilum.inference.explain import overlay
from hilum.report.render import Cell, Figure, Table
from hilum.report.style import FULL_WIDTH, INK, NEUTRAL, SOFT_INK, draw_figure
from hilum.types import Stage

_KINDS = {
    "input": "#C9D2DC",
    "convolution": "#6FA8D6",
    "pool": "#8CC9B5",
    "blocks": "#2F6FA8",
    "linear": "#D9793D",
}
_SLANT = 0.32  # how far the side of a slab recedes, as a share of its height
_TALLEST = 2.3
_GAP = 0.42
_NAME_AT, _DETAIL_WIDTH = 1.78, 17  # characters of a line that a column has room for
_SHAPE_AT, _SIZE_AT, _BLOCK_AT, _BLOCK_STEP = -1.7, -1.97, -2.38, 0.28
_LEAST_COLUMN = 1.12  # room for the text of a stage, in the units of the figure


@dataclass(frozen=True, slots=True)
class _Slab:
    stage: Stage
    x: float
    width: float
    height: float

    @property
    def slant(self) -> float:
        return self.height * _SLANT * 0.5

    @property
    def right(self) -> float:
        return self.x + self.width + self.slant

    @property
    def centre(self) -> float:
        return self.x + (self.width + self.slant) / 2


def draw_architecture(stages: Sequence[Stage], path: Path, *, name: str) -> Figure:
    """Draw the network from input to logit; `name` is what it is called, such as "ResNet-50"."""
    slabs = _place(stages)
    left, right, low, high = -1.0, slabs[-1].right + 0.45, -3.75, 2.05
    with draw_figure(path, width=FULL_WIDTH, height=FULL_WIDTH * (high - low) / (right - left)) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        for before, after in itertools.pairwise(slabs):
            _draw_arrow(axes, (before.right + 0.04, 0.0), (after.x - 0.04, 0.0))
        for slab in slabs:
            _draw_slab(axes, slab)
            _draw_text(axes, slab)
        for y, text in ((_SHAPE_AT, "output"), (_SIZE_AT, "parameters"), (_BLOCK_AT, "each block,\nwith shortcut")):
            axes.text(left, y, text, va="center", linespacing=1.5, fontsize=7.5, color=SOFT_INK, fontstyle="italic")
        _draw_activation_map(axes, [slab for slab in slabs if len(slab.stage.output_shape) == 3][-1], slabs[-1])
        _draw_legend(axes, stages)
        axes.set(xlim=(left, right), ylim=(low, high), aspect="equal")
    caption = _describe(stages, name)
    return Figure(path, "Architecture.", caption, alt=f"Block diagram. {caption}", wide=True)


def tabulate_stages(stages: Sequence[Stage]) -> Table:
    """Return the stages as a table for a report."""
    rows: list[tuple[Cell, ...]] = [
        (stage.name, stage.detail or stage.kind, stage.repeats, _write_shape(stage.output_shape), stage.parameters)
        for stage in stages
    ]
    rows.append(("total", "", None, "", sum(stage.parameters for stage in stages)))
    return Table(("Stage", "Computes", "Blocks", "Output", "Parameters"), rows, caption="Stages of the network.")


def _describe(stages: Sequence[Stage], name: str) -> str:
    total = sum(stage.parameters for stage in stages)
    blocks = [stage.repeats for stage in stages if stage.kind == "blocks"]
    maps = [stage for stage in stages if len(stage.output_shape) == 3][-1]
    inside = f", {sum(blocks)} residual blocks ({' + '.join(map(str, blocks))})" if blocks else ""
    _, height, width = maps.output_shape
    return (
        f"{name} as it was evaluated: {total:,} parameters{inside}. The {height} × {width} maps of {maps.name}, "
        "weighted as the last layer weights their means, are the class activation map: its mean plus the bias of the "
        "last layer is the logit."
    )


def _place(stages: Sequence[Stage]) -> list[_Slab]:
    largest = max(max(stage.output_shape[1:], default=1) for stage in stages)
    slabs: list[_Slab] = []
    x = 0.0
    for stage in stages:
        width, height = _measure(stage, largest)
        slant = height * _SLANT * 0.5
        column = max(_LEAST_COLUMN, width + slant + _GAP)
        offset = (column - width - slant) / 2
        slabs.append(_Slab(stage, x + offset, width, height))
        x += column
    return slabs


def _measure(stage: Stage, largest: int) -> tuple[float, float]:
    """Return width and height of a slab in the units of the figure."""
    channels = stage.output_shape[0]
    if len(stage.output_shape) == 1:
        # A vector: no area, so a bar whose length grows with its features.
        return 0.14, 0.25 + 0.12 * math.log2(max(1, channels))
    height = _TALLEST * math.sqrt(stage.output_shape[1] / largest)
    return 0.05 + 0.075 * max(0.0, math.log2(channels) - 1), height


def _draw_slab(axes: Axes, slab: _Slab) -> None:
    colour = _KINDS.get(slab.stage.kind, NEUTRAL)
    slices = slab.stage.repeats if slab.stage.kind == "blocks" else 1
    step = slab.width / slices
    low, rise = -slab.height / 2 - slab.slant / 2, slab.slant
    for index in reversed(range(slices)):
        x = slab.x + index * step
        thick = step * (0.86 if slices > 1 else 1.0)
        front = [(x, low), (x + thick, low), (x + thick, low + slab.height), (x, low + slab.height)]
        top = [front[3], front[2], (front[2][0] + rise, front[2][1] + rise), (front[3][0] + rise, front[3][1] + rise)]
        side = [front[1], front[2], (front[2][0] + rise, front[2][1] + rise), (front[1][0] + rise, front[1][1] + rise)]
        for corners, light in ((side, 0.8), (top, 1.25), (front, 1.0)):
            axes.add_patch(Polygon(corners, facecolor=_lighten(colour, light), edgecolor="white", linewidth=0.5))


def _draw_text(axes: Axes, slab: _Slab) -> None:
    stage = slab.stage
    title = stage.name if stage.repeats == 1 else f"{stage.name}  ×{stage.repeats}"
    axes.text(slab.centre, _NAME_AT, title, ha="center", va="bottom", fontsize=9, fontweight="bold", color=INK)
    axes.text(slab.centre, _SHAPE_AT, _write_shape(stage.output_shape), ha="center", va="center", fontsize=8, color=INK)
    size = _write_size(stage.parameters) if stage.parameters else "–"
    axes.text(slab.centre, _SIZE_AT, size, ha="center", va="center", fontsize=8, color=SOFT_INK)
    lines = [line.strip() for line in stage.detail.split("→")] if stage.detail else []
    if len(lines) == 1:
        text = textwrap.fill(lines[0], _DETAIL_WIDTH)
        axes.text(slab.centre, _NAME_AT - 0.05, text, ha="center", va="top", fontsize=7, color=SOFT_INK)
    for index, line in enumerate(lines if len(lines) > 1 else []):
        y = _BLOCK_AT - _BLOCK_STEP * index
        box = FancyBboxPatch(
            (slab.centre - 0.42, y - 0.1), 0.84, 0.2, boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=_lighten(_KINDS["blocks"], 2.2), edgecolor="none",
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(slab.centre, y, line, ha="center", va="center", fontsize=7, color=INK)


def _draw_activation_map(axes: Axes, maps: _Slab, head: _Slab) -> None:
    """Draw the map's grid under the head, with an arrow from the last maps."""
    _, rows, columns = maps.stage.output_shape
    y, x = np.mgrid[:rows, :columns]
    # A drawing, not a result: one bump, to show what kind of thing the map is.
    bump = np.exp(-(((x - 0.3 * columns) / columns) ** 2 + ((y - 0.6 * rows) / rows) ** 2) * 14).astype(np.float32)
    side = 0.8
    left, low = head.centre - side / 2 - 0.25, _BLOCK_AT - 2 * _BLOCK_STEP - 0.1
    shown = overlay(np.full((rows, columns), 120, dtype=np.uint8), bump, full_scale=1.0)
    axes.imshow(shown, extent=(left, left + side, low, low + side), interpolation="nearest", zorder=3)
    start, middle = maps.centre + 0.5, low + side / 2
    _draw_arrow(axes, (start, middle), (left - 0.06, middle))
    place = ((start + left) / 2, middle + 0.06)
    axes.text(*place, "weighted sum", ha="center", va="bottom", fontsize=7, color=SOFT_INK)
    text = f"class activation map, {rows} × {columns}"
    axes.text(left + side, low - 0.08, text, ha="right", va="top", fontsize=8, color=INK)


def _draw_legend(axes: Axes, stages: Sequence[Stage]) -> None:
    kinds = [kind for kind in _KINDS if any(stage.kind == kind for stage in stages)]
    names = {"blocks": "residual blocks", "pool": "pooling"}
    handles = [Patch(color=_KINDS[kind], label=names.get(kind, kind)) for kind in kinds]
    axes.legend(handles=handles, ncols=len(handles), loc="lower left", handlelength=1.2, handleheight=1.0, fontsize=8)


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    if end[0] - start[0] > 0.05:
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color=NEUTRAL, lw=1))


def _lighten(colour: str, factor: float) -> tuple[float, float, float]:
    """Darken below 1 towards black, lighten above 1 towards white."""
    red, green, blue = to_rgb(colour)
    if factor <= 1:
        return red * factor, green * factor, blue * factor
    share = min(1.0, (factor - 1) / 1.5)
    return red + (1 - red) * share, green + (1 - green) * share, blue + (1 - blue) * share


def _write_shape(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} × {shape[2]} × {shape[0]:,}" if len(shape) == 3 else f"{shape[0]:,}"


def _write_size(parameters: int) -> str:
    if parameters >= 1_000_000:
        return f"{parameters / 1e6:.2f} M"
    return f"{parameters / 1e3:.1f} k" if parameters >= 10_000 else f"{parameters:,}"
