"""Figures of the checks for shortcuts. Each function draws one PNG and returns it with its sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from hilum.evaluation.shortcuts import judgements
from hilum.evaluation.shortcuts.erasure import ErasureResult
from hilum.evaluation.shortcuts.markers import MarkerResult
from hilum.evaluation.shortcuts.masking import MaskedResult
from hilum.evaluation.shortcuts.metadata import MetadataResult
from hilum.evaluation.shortcuts.probe import ShortcutResults
from hilum.evaluation.shortcuts.sample import Sample, draw_places
from hilum.evaluation.wording import write_decimal
from hilum.inference.explain import overlay
from hilum.report.render import Figure
from hilum.report.style import COLOURS, FULL_WIDTH, HALF_WIDTH, INK, NEUTRAL, SOFT_INK, draw_figure, show_picture
from hilum.types import Label, Pathogen, Split

_EXAMPLES = (4, 2)  # called PNEUMONIA, called NORMAL
_OUTLINE = "#35C9E8"


def draw_shortcut_figures(results: ShortcutResults, folder: Path, *, full_scale: float, seed: int) -> list[Figure]:
    """Draw what these results allow. `full_scale` is the evidence in logits at which heat maps saturate."""
    drawn = [draw_examples(results, folder / "shortcut_examples.png", full_scale=full_scale, seed=seed)]
    if results.masked.whole.value is not None:
        drawn.append(draw_aurocs(results.masked, results.metadata, folder / "shortcut_auroc.png"))
    if results.markers_cleared.n:
        drawn.append(draw_markers(results.markers_cleared, results.marker_drawn, folder / "shortcut_markers.png"))
    if results.erasure.n:
        drawn.append(draw_erasure(results.erasure, folder / "shortcut_deletion.png"))
    return drawn


def draw_examples(results: ShortcutResults, path: Path, *, full_scale: float, seed: int) -> Figure:
    """Draw pictures with the outline of their lungs, and below the evidence in them."""
    sample = results.sample
    ill = draw_places(sample.called, count=_EXAMPLES[0], seed=seed)
    well = draw_places(~sample.called, count=_EXAMPLES[1], seed=seed)
    places = np.concatenate([ill, well])
    with draw_figure(path, width=FULL_WIDTH, height=3.75) as figure:
        grid = figure.subplots(2, len(places), squeeze=False)
        for (above, below), place in zip(grid.T, places, strict=True):
            _show_example(above, below, sample, int(place), full_scale=full_scale)
    caption = judgements.judge_evidence(results.evidence).text
    note = "Drawn at random: lungs as they were found (outline), and the evidence for PNEUMONIA in colour."
    return Figure(path, "Lungs and evidence.", f"{note} {caption}", alt=f"Radiographs. {caption}", wide=True)


def _show_example(above: Axes, below: Axes, sample: Sample, place: int, *, full_scale: float) -> None:
    picture, mask = sample.pictures[place], sample.masks[place]
    label = Label.PNEUMONIA if sample.labels[place] else Label.NORMAL
    verdict = Label.PNEUMONIA if sample.called[place] else Label.NORMAL
    show_picture(above, picture)
    show_picture(below, overlay(picture, sample.cams[place], full_scale=full_scale))
    for axes in (above, below):
        axes.contour(mask, levels=[0.5], colors=_OUTLINE, linewidths=1.1, linestyles="-")
    above.set_title(str(label), fontsize=8, color=COLOURS[label], loc="left", pad=4)
    below.set_xlabel(f"called {verdict}", fontsize=8, color=COLOURS[verdict], loc="left", labelpad=4)


def draw_aurocs(masked: MaskedResult, metadata: MetadataResult, path: Path) -> Figure:
    """Draw the AUROC of whole pictures, with files alike, lungs alone, no lungs, and metadata alone, with intervals."""
    bars = [
        ("whole\npicture", masked.whole, COLOURS[Split.TRAIN]),
        ("files\nalike", metadata.model_balanced, COLOURS[Split.TEST]),
        ("lungs\nalone", masked.only_lungs, COLOURS[Split.VAL]),
        ("without\nlungs", masked.without_lungs, COLOURS[Label.PNEUMONIA]),
        ("without\nlung box", masked.without_box, COLOURS[Pathogen.BACTERIA]),
        ("metadata\nalone", metadata.auroc, NEUTRAL),
    ]
    shown = [(name, estimate, colour) for name, estimate, colour in bars if estimate.value is not None]
    with draw_figure(path, width=HALF_WIDTH, height=4.4) as figure:
        axes = figure.subplots()
        for place, (_, estimate, colour) in enumerate(shown):
            value = estimate.value or 0.0
            low = value if estimate.ci_low is None else estimate.ci_low
            high = value if estimate.ci_high is None else estimate.ci_high
            axes.bar(place, value - 0.5, bottom=0.5, width=0.62, color=colour)
            axes.plot([place, place], [low, high], color=INK, linewidth=1.4)
            axes.text(place, max(high, value) + 0.01, write_decimal(value), ha="center", va="bottom", fontsize=10)
        axes.axhline(0.5, color=INK, linewidth=1)
        axes.text(len(shown) - 0.6, 0.497, "chance", ha="right", va="top", fontsize=9, color=SOFT_INK)
        axes.set_xticks(range(len(shown)), [name for name, _, _ in shown])
        axes.tick_params(axis="x", length=0, labelcolor=INK)
        lows = [estimate.ci_low for _, estimate, _ in shown if estimate.ci_low is not None]
        axes.set(ylim=(min(0.47, *lows, 1.0) - 0.01, 1.06), ylabel="AUROC, 95 % interval")
    checks = (
        judgements.judge_without_lungs(masked),
        judgements.judge_only_lungs(masked),
        judgements.judge_metadata(metadata),
    )
    caption = " ".join(judgement.text for judgement in checks)
    return Figure(path, "With and without the lungs.", caption, alt=f"Bars of AUROC. {caption}")


def draw_erasure(result: ErasureResult, path: Path) -> Figure:
    """Draw deletion and insertion curves, in the order of the map and at random."""
    with draw_figure(path, width=FULL_WIDTH, height=3.7) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, kind, what in zip(panels, ("deletion", "insertion"), ("taken out", "put in"), strict=True):
            for order, colour, style in (("map", COLOURS[Label.PNEUMONIA], "o-"), ("random", NEUTRAL, "o--")):
                area = result.areas[f"{kind}_{order}"].value or 0.0
                name = "order of the map" if order == "map" else "random order"
                label = f"{name} (area {write_decimal(area)})"
                axes.plot(
                    result.shares, result.curves[f"{kind}_{order}"], style, color=colour, markersize=4, label=label
                )
            axes.set(title=kind.capitalize(), xlabel=f"share of the picture {what}", xlim=(-0.02, 1.02))
            axes.set_ylim(-0.02, 1.04)
            axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
            axes.legend(loc="best")
        panels[0].set_ylabel("mean probability of PNEUMONIA")
    caption = judgements.judge_erasure(result).text
    return Figure(path, "Deletion and insertion.", caption, alt=f"Curves. {caption}", wide=True)


def draw_markers(cleared: MarkerResult, drawn: MarkerResult, path: Path) -> Figure:
    """Draw the change of the logit of each picture when marks go or come."""
    groups = []
    for label in Label:
        inside = cleared.labels == (label is Label.PNEUMONIA)
        groups.append((f"marks out,\n{label}", cleared.changes[inside], COLOURS[label]))
    groups.append((f"R drawn,\n{Label.NORMAL}", drawn.changes, COLOURS[Label.NORMAL]))
    groups = [group for group in groups if group[1].size]
    jitter = np.random.default_rng(0)
    with draw_figure(path, width=HALF_WIDTH, height=4.4) as figure:
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=0.8)
        for place, (_, changes, colour) in enumerate(groups):
            across = place + jitter.uniform(-0.22, 0.22, changes.size)
            axes.plot(across, changes, "o", color=colour, markersize=3.5, alpha=0.55, markeredgewidth=0)
            axes.plot([place - 0.3, place + 0.3], [changes.mean()] * 2, color=INK, linewidth=2)
        axes.set_xticks(range(len(groups)), [f"{name}\n{changes.size:,} pictures" for name, changes, _ in groups])
        axes.tick_params(axis="x", length=0, labelcolor=INK)
        axes.set(ylabel="change of the logit", xlim=(-0.6, len(groups) - 0.4))
        reach = max(1.0, 1.1 * max(float(np.abs(changes).max()) for _, changes, _ in groups))
        axes.set_ylim(-reach, reach)
        axes.text(1, 1.02, "bar: mean", transform=axes.transAxes, ha="right", fontsize=9, color=SOFT_INK)
    caption = judgements.judge_markers(cleared, drawn).text
    return Figure(path, "Marks at the edges.", caption, alt=f"Changes of the logit. {caption}")
