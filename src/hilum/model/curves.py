"""The learning curves as a picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hilum.report.style import COLOURS, FULL_WIDTH, INK, NEUTRAL, draw_figure
from hilum.types import Split


def draw_learning_curves(history: pd.DataFrame, path: Path) -> None:
    """Draw training and validation loss and validation AUROC by epoch, with the phases and the chosen epoch marked.

    `history` has the columns of history.csv. The training loss includes augmentation, label smoothing and class
    weights, so that it may lie above the validation loss.
    """
    epochs = history["epoch"]
    best = int(history.loc[history["best"] == 1, "epoch"].iloc[-1])
    with draw_figure(path, width=FULL_WIDTH, height=3.8) as figure:
        loss, auroc = figure.subplots(1, 2)
        loss.plot(epochs, history["train_loss"], "o-", color=COLOURS[Split.TRAIN], label="training (augmented)")
        loss.plot(epochs, history["val_loss"], "o-", color=COLOURS[Split.VAL], label="validation")
        loss.set(title="Loss", xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
        auroc.plot(epochs, history["val_auroc"], "o-", color=COLOURS[Split.VAL], label="validation")
        auroc.set(title="AUROC", xlabel="epoch", ylabel="AUROC")
        for axes in (loss, auroc):
            _mark(axes, history, best)
        loss.legend(loc="best")


def _mark(axes: Axes, history: pd.DataFrame, best: int) -> None:
    head = int((history["phase"] == "head").sum())
    last = int(history["epoch"].max())
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if 0 < head < last:
        axes.axvspan(0.5, head + 0.5, color=NEUTRAL, alpha=0.12, linewidth=0)
        axes.text(0.6, 0.02, "head only", transform=axes.get_xaxis_transform(), fontsize=8, color=NEUTRAL)
    axes.axvline(best, color=INK, linewidth=0.8, linestyle=":")
    axes.text(best, 1.01, "chosen", transform=axes.get_xaxis_transform(), fontsize=8, color=INK, ha="center")
