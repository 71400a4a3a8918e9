import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hilum.config import load_config
from hilum.model.augmentation_sheet import build_augmentation_section, draw_augmentation_sheet
from hilum.model.curves import draw_learning_curves
from hilum.types import Label, Split

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("epochs", [1, 4])
def test_learning_curves_are_drawn(tmp_path, epochs):
    history = pd.DataFrame(
        {
            "epoch": range(1, epochs + 1),
            "phase": ["head"] + ["all"] * (epochs - 1),
            "train_loss": [0.5] * epochs,
            "val_loss": [0.4] * epochs,
            "val_auroc": [0.9] * epochs,
            "best": [1] + [0] * (epochs - 1),
        }
    )
    draw_learning_curves(history, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > image.height
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


@pytest.fixture
def splits(tmp_path, draw_picture):
    rows = [
        {"path": str(draw_picture(tmp_path / f"{label}{i}.png")), "label": str(label), "split": str(Split.TRAIN)}
        for label in Label
        for i in range(3)
    ]
    return pd.DataFrame(rows)


def test_the_sheet_is_drawn_from_the_seed_and_says_what_is_switched_on(splits, tmp_path):
    config = load_config(overrides=["preprocess.size=48", "augment.noise=0"])
    figure = draw_augmentation_sheet(splits, tmp_path / "a.png", config)
    assert "rotation up to 15°" in figure.caption
    assert "JPEG quality down to 15" in figure.caption
    assert "noise" not in figure.caption
    draw_augmentation_sheet(splits, tmp_path / "b.png", config)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_section_tells_when_augmentation_is_off(splits, tmp_path):
    section = build_augmentation_section(splits, tmp_path / "a.png", load_config(overrides=["augment.enabled=false"]))
    assert "switched off" in section.blocks[1].caption
