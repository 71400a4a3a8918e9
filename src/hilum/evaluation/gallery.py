"""The worst mistakes and the surest right calls, each picture beside its class activation map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pandas as pd
from matplotlib.axes import Axes

from hilum.data.images import read_picture
from hilum.evaluation.wording import write_count, write_list, write_probability
from hilum.inference.explain import draw_scale, overlay
from hilum.report.render import Figure
from hilum.report.style import COLOURS, FULL_WIDTH, INK, SOFT_INK, draw_figure, show_picture
from hilum.types import FloatArray, Label, Status, UInt8Array

_PAIRS_ACROSS = 3
_DECODE_AT_LEAST = 300  # pixels a side: what a tile shows at 150 dots an inch, with room to look closer
_NAME_LENGTH = 34
# Inches: between pairs, between the two of a pair and between rows, for a line of text, for the colour scale.
_GUTTER, _GAP, _LINE, _LEGEND = 0.3, 0.06, 0.24, 0.62


@dataclass(frozen=True, slots=True)
class Case:
    """One picture to show: its row of predictions.csv and its class activation map."""

    path: str
    label: Label
    pathogen: str
    probability: float
    cam: FloatArray


def pick_mistakes(predictions: pd.DataFrame, cams: Sequence[FloatArray | None], *, count: int) -> list[Case]:
    """Return the mistakes farthest beyond the threshold, missed pneumonias and false alarms in turn, the worst first.

    Taking turns keeps a model that errs in one direction from hiding its other mistakes. Returns fewer than `count`
    cases where there are fewer mistakes.
    """
    wrong = predictions[(predictions["status"] == Status.OK) & (predictions["prediction"] != predictions["label"])]
    missed = wrong[wrong["label"] == Label.PNEUMONIA].sort_values("logit", ascending=True, kind="stable")
    alarms = wrong[wrong["label"] == Label.NORMAL].sort_values("logit", ascending=False, kind="stable")
    return [_read_case(predictions, cams, position) for position in _take_turns(missed, alarms)[:count]]


def pick_correct(predictions: pd.DataFrame, cams: Sequence[FloatArray | None], *, count: int) -> list[Case]:
    """Return the right calls farthest from the threshold, pneumonias and normal pictures in turn, the surest first."""
    right = predictions[(predictions["status"] == Status.OK) & (predictions["prediction"] == predictions["label"])]
    found = right[right["label"] == Label.PNEUMONIA].sort_values("logit", ascending=False, kind="stable")
    clear = right[right["label"] == Label.NORMAL].sort_values("logit", ascending=True, kind="stable")
    return [_read_case(predictions, cams, position) for position in _take_turns(found, clear)[:count]]


def draw_mistakes(cases: Sequence[Case], path: Path, *, threshold: float, full_scale: float) -> Figure:
    """Draw mistakes with their class activation maps."""
    _draw_cases(cases, path, full_scale=full_scale)
    missed = sum(case.label is Label.PNEUMONIA for case in cases)
    alarms = len(cases) - missed
    parts = [f"{write_count(missed, 'missed pneumonia')}"] * bool(missed)
    parts += [f"{write_count(alarms, 'false alarm')}"] * bool(alarms)
    caption = (
        f"{write_list(parts)}, each kind with the worst first (threshold {threshold:.3f}). Colour shows where the "
        f"evidence for PNEUMONIA came from, on one scale up to {full_scale:g} logits; a false alarm whose colour lies "
        "outside the lungs, at an edge, a tube or a marker points to a shortcut rather than to an opacity."
    )
    return Figure(path, "The worst mistakes.", _begin(caption), alt=f"Radiographs. {_begin(caption)}", wide=True)


def draw_correct(cases: Sequence[Case], path: Path, *, full_scale: float) -> Figure:
    """Draw sure and right calls with their class activation maps."""
    _draw_cases(cases, path, full_scale=full_scale)
    found = sum(case.label is Label.PNEUMONIA for case in cases)
    clear = len(cases) - found
    parts = [f"{write_count(found, 'pneumonia')}"] * bool(found)
    parts += [f"{write_count(clear, 'normal picture')}"] * bool(clear)
    caption = (
        f"{write_list(parts)} that the model called right with the greatest distance to the threshold, on the same "
        "colour scale as the mistakes. Being right does not show that it was right for a medical reason: see where "
        "the colour lies."
    )
    return Figure(path, "Sure and right.", _begin(caption), alt=f"Radiographs. {_begin(caption)}", wide=True)


def _take_turns(first: pd.DataFrame, second: pd.DataFrame) -> list[int]:
    """Return row positions from two tables in turn, then the rest of the longer one."""
    one, two = [int(place) for place in first.index], [int(place) for place in second.index]
    shared = min(len(one), len(two))
    turns = [place for pair in zip(one, two, strict=False) for place in pair]
    return turns + one[shared:] + two[shared:]


def _read_case(predictions: pd.DataFrame, cams: Sequence[FloatArray | None], position: int) -> Case:
    row, cam = predictions.iloc[position], cams[position]
    if cam is None:
        raise ValueError(f"row {position} has a score but no class activation map")
    return Case(str(row["path"]), Label(row["label"]), str(row["pathogen"]), float(row["probability"]), cam)


def _draw_cases(cases: Sequence[Case], path: Path, *, full_scale: float) -> None:
    """Place pictures by inches: three pairs across, a line of text above and below each."""
    across = min(_PAIRS_ACROSS, len(cases))
    rows = -(-len(cases) // across)
    pictures = [read_picture(case.path, at_least=_DECODE_AT_LEAST)[0] for case in cases]
    pair = FULL_WIDTH / _PAIRS_ACROSS
    side = (pair - _GUTTER - _GAP) / 2
    tall = side * min(1.1, max(picture.shape[0] / picture.shape[1] for picture in pictures))
    step = _LINE + tall + _LINE + _GAP
    width, height = pair * across, rows * step + _LEGEND
    with draw_figure(path, width=width, height=height) as figure:
        figure.set_layout_engine("none")
        for index, (case, picture) in enumerate(zip(cases, pictures, strict=True)):
            x = pair * (index % across) + _GUTTER / 2
            y = height - step * (index // across) - _LINE - tall
            places = [(x / width, y / height), ((x + side + _GAP) / width, y / height)]
            left, right = (figure.add_axes((*place, side / width, tall / height), anchor="S") for place in places)
            _draw_case(left, right, case, picture, full_scale=full_scale)
        legend = figure.add_axes((_GUTTER / 2 / width, 0.42 / height, (2 * side + _GAP) / width, 0.13 / height))
        legend.imshow(draw_scale(400, 20), aspect="auto", extent=(0, full_scale, 0, 1))
        legend.grid(False)
        legend.set_yticks([])
        legend.tick_params(labelsize=7, length=2)
        legend.set_xlabel("evidence for PNEUMONIA in logits", fontsize=7.5, labelpad=1)


def _draw_case(left: Axes, right: Axes, case: Case, picture: UInt8Array, *, full_scale: float) -> None:
    colour = COLOURS[case.label]
    show_picture(left, picture, frame=colour)
    show_picture(right, overlay(picture, case.cam, full_scale=full_scale), frame=colour)
    cause = f" ({case.pathogen})" if case.pathogen else ""
    left.set_title(_shorten(PurePath(case.path).name), fontsize=7.5, fontweight="normal", color=SOFT_INK, pad=4)
    left.set_xlabel(f"{case.label}{cause}", fontsize=8, color=colour, fontweight="bold", loc="left", labelpad=4)
    right.set_xlabel(write_probability(case.probability), fontsize=8.5, color=INK, loc="right", labelpad=4)


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"


def _begin(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
