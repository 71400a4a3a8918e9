"""Fixtures that several tests share. Pictures are drawn here; none is stored."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# The same examples on every machine, and no folder of examples left behind.
settings.register_profile("hilum", deadline=None, derandomize=True, database=None, print_blob=False)
settings.load_profile("hilum")

ROOT = Path(__file__).resolve().parents[1]


def _find_real(name: str) -> Path:
    folder = Path(os.environ.get("HILUM_REAL_DATA") or ROOT.parent / "shared" / "data") / name
    if not folder.is_dir():
        pytest.skip(f"the public data set is not at {folder}; set HILUM_REAL_DATA to the folder that holds {name}")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder chest_xray of the public data set (train and test, 5,840 pictures of 224 x 224 px)."""
    return _find_real("chest_xray")


@pytest.fixture(scope="session")
def other_hospitals() -> Path:
    """The folder of 1,388 frontal radiographs of other hospitals, with its labels.csv."""
    return _find_real("other_hospitals")


@pytest.fixture(scope="session")
def real_fullres() -> Path:
    """The folder of 51 pictures of the public data set as they were published."""
    return _find_real("chest_xray_fullres_sample")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


DrawPicture = Callable[..., Path]


@pytest.fixture
def draw_picture(rng: np.random.Generator) -> DrawPicture:
    """A function that writes a small picture of its own to a path, by its suffix, and returns the path."""

    def draw(path: Path, *, size: tuple[int, int] = (48, 40)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
        return path

    return draw


KAGGLE_NAMES = {
    "train/NORMAL": ["IM-9115-0001.jpeg", "IM-9115-0002.jpeg", "IM-9117-0001.jpeg", "NORMAL2-IM-9115-0001.jpeg"],
    "train/PNEUMONIA": ["person9001_bacteria_1.jpeg", "person9001_bacteria_2.jpeg", "person9001_virus_6.jpeg"],
    "val/NORMAL": ["NORMAL2-IM-9427-0001.jpeg"],
    "val/PNEUMONIA": ["person9946_bacteria_4874.jpeg"],
    "test/NORMAL": ["IM-9001-0001.jpeg"],
    "test/PNEUMONIA": ["person9100_bacteria_475.jpeg", "person9003_virus_15.jpeg"],
}


@pytest.fixture
def kaggle_folder(tmp_path: Path, draw_picture: DrawPicture) -> Path:
    """Twelve small pictures in the folders and under the names of the Kaggle copy."""
    root = tmp_path / "chest_xray"
    for folder, names in KAGGLE_NAMES.items():
        for name in names:
            draw_picture(root / folder / name)
    return root
