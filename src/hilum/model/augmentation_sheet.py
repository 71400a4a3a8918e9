"""A sheet of augmented pictures: what the network sees of one radiograph over several epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hilum.augment import STRENGTHS, draw_parameters
from hilum.config import Config
from hilum.data.cache import read_prepared
from hilum.data.lungs import segment_all, widen
from hilum.model.feed import TrainingFeed
from hilum.report.render import Figure, Section
from hilum.report.style import COLOURS, FULL_WIDTH, draw_figure, show_picture
from hilum.types import Label, Split

VARIANTS = 6
PICTURES_PER_CLASS = 2


def draw_augmentation_sheet(splits: pd.DataFrame, path: Path, config: Config) -> Figure:
    """Draw train pictures, two of each class, each followed by six augmented versions of it."""
    train = splits[splits["split"] == Split.TRAIN]
    rng = np.random.default_rng(config.seed)
    rows = [
        row
        for label in Label
        for row in train[train["label"] == label]
        .sample(min(PICTURES_PER_CLASS, int((train["label"] == label).sum())), random_state=int(rng.integers(2**31)))
        .itertuples()
    ]
    pictures = np.stack([read_prepared(str(row.path), config.preprocess) for row in rows])
    lungs = widen(segment_all(pictures)) if config.augment.exchanges_corners else None
    # Targets have no say here, and corners come from the other rows of the sheet.
    feed = TrainingFeed(
        pictures,
        np.zeros((len(rows), 1), dtype=np.float32),
        np.arange(len(rows)),
        augment=config.augment,
        spec=config.preprocess,
        batch_size=len(rows),
        seed=config.seed,
        device=torch.device("cpu"),
        lungs=lungs,
    )
    places = np.repeat(np.arange(len(rows)), VARIANTS)
    parameters = draw_parameters(config.augment, seed=config.seed, epoch=0, count=len(places))
    changed = feed.augment(places, parameters).numpy().reshape(len(rows), VARIANTS, *pictures.shape[1:])
    with draw_figure(path, width=FULL_WIDTH, height=FULL_WIDTH / (VARIANTS + 1) * len(rows) + 0.4) as figure:
        grid = figure.subplots(len(rows), VARIANTS + 1, squeeze=False)
        for place, (axes_row, row) in enumerate(zip(grid, rows, strict=True)):
            show_picture(axes_row[0], pictures[place], title=str(row.label), frame=COLOURS[Label(str(row.label))])
            for axes, version in zip(axes_row[1:], changed[place], strict=True):
                show_picture(axes, version)
    return Figure(
        path,
        title="Augmented training pictures",
        caption=_describe(config),
        alt="Rows of radiographs: the first of each row as it is, six changed versions beside it.",
        wide=True,
    )


def build_augmentation_section(splits: pd.DataFrame, path: Path, config: Config) -> Section:
    """Return the sheet as a section of a page."""
    return Section(
        "Augmentation",
        [
            "What the network is shown in training is drawn anew in each epoch. Pose, field of view and exposure may "
            "change as they do between films, but findings must stay visible: where most versions of a picture show "
            "no lung that a reader could judge, the strengths are too high.",
            draw_augmentation_sheet(splits, path, config),
        ],
    )


def _describe(config: Config) -> str:
    settings = config.augment
    if not settings.enabled:
        return "Augmentation is switched off: every version equals the picture on the left."
    chance = settings.acquisition_probability
    parts = {
        f"rotation up to {settings.rotate_degrees:g}°": settings.rotate_degrees,
        f"crops down to {_percent(settings.crop_scale_min)} of the area": settings.crop_scale_min < 1,
        f"aspect changes up to {_percent(settings.aspect_jitter)}": settings.aspect_jitter,
        f"brightness ±{_percent(settings.brightness)}": settings.brightness,
        f"contrast ±{_percent(settings.contrast)}": settings.contrast,
        f"gamma from {1 / (1 + settings.gamma):.2f} to {1 + settings.gamma:.2f}": settings.gamma,
        f"blur in {_percent(settings.blur_probability)}": settings.blur and settings.blur_probability,
        f"fields of view up to {_percent(settings.zoom_out)} wider": settings.zoom_out,
        "other display curves and windows": settings.display,
        f"local contrast raised by up to {_percent(settings.local_contrast)}": settings.local_contrast and chance,
        f"shading up to {_percent(settings.shading)}": settings.shading and chance,
        f"resolution down to {_percent(settings.resolution_min)}": settings.resolution_min < 1 and chance,
        f"JPEG quality down to {settings.jpeg_quality_min}": settings.jpeg_quality_min < 95 and chance,
        f"black edges up to {_percent(settings.collimation)} wide": settings.collimation and chance,
        f"letters and covers near the edges in {_percent(settings.marks)}": settings.marks,
        f"noise up to {_percent(settings.noise)} of the range": settings.noise,
        f"erasing in {_percent(settings.erase_probability)}": settings.erase_probability and settings.erase_scale,
        f"left-right flips in {_percent(settings.flip_probability)}": settings.flip_probability,
    }
    listed = [text for text, on in parts.items() if on]
    graded = ""
    if settings.graded:
        shares = [f"{_percent(share)}" for share in STRENGTHS]
        graded = f" A version gets {', '.join(shares[:-1])} or {shares[-1]} of all these strengths."
    corners = ""
    if settings.corners:
        corners = f" Each corner, as far as no lung lies there, is another picture's in {_percent(settings.corners)}."
    return f"Each row shows a training picture and six versions of it: {', '.join(listed)}.{graded}{corners}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
