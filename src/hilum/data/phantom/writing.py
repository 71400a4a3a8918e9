"""Writing a data set of phantom patients in the layout of the Kaggle pneumonia set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.data.phantom.anatomy import draw_anatomy
from hilum.data.phantom.drawing import draw_phantom
from hilum.data.phantom.opacity import draw_finding
from hilum.errors import ConfigError
from hilum.files import new_folder
from hilum.progress import track
from hilum.types import Label, Pathogen, Split, UInt8Array

JPEG_QUALITY = 90
# Every file says itself that it is synthetic, wherever it is moved.
COMMENT = b"Hilum phantom: a synthetic radiograph, not a patient"


def write_phantoms(out: Path, *, patients: int = 120, seed: int = 0, size: int = 256, test_share: float = 0.25) -> Path:
    """Write a data set of phantom patients in the layout and with the file names of the Kaggle pneumonia set.

    Folders train/ and test/ x NORMAL/ and PNEUMONIA/ hold one to four pictures a patient; no patient stands in both
    splits and about 65 % of the pictures are PNEUMONIA. The same arguments write the same pictures.

    Args:
        out: the folder to write into; made if missing.
        patients: how many patients, at least 6: each of normal, bacteria and virus stands in both splits.
        seed: of everything that is drawn.
        size: about the mean side of the pictures in pixels; they are wider than high and vary.
        test_share: share of each group's patients that go to test, above 0 and below 1.

    Returns:
        `out`.

    Raises:
        ConfigError: `patients`, `size` or `test_share` do not fit.
        HilumError: `out` already holds train/.
    """
    if patients < 6:
        raise ConfigError(
            f"{patients} phantom patients are too few: each kind stands in both splits, so ask for at least 6."
        )
    if size < 64:
        raise ConfigError(f"Phantoms of {size} pixels are too small to show a chest; ask for at least 64.")
    if not 0 < test_share < 1:
        raise ConfigError(f"The test share of phantoms must lie between 0 and 1, not {test_share}.")
    new_folder(out, marker="train")
    cases = _draw_cases(patients, seed, test_share)
    # The folders get their names when all is written, train last: it is what marks a finished set.
    with tempfile.TemporaryDirectory(dir=out, prefix=".phantoms-") as temporary:
        for case in track(cases, description="Drawing phantoms"):
            for name, pixels in _draw_pictures(case, seed, size):
                path = Path(temporary, case.split, case.label, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, format="JPEG", quality=JPEG_QUALITY, comment=COMMENT)
        for split in (Split.TEST, Split.TRAIN):
            Path(temporary, split).replace(out / split)
    return out


def is_phantom(path: Path) -> bool:
    """Return whether a file is a picture that `write_phantoms` wrote, by the comment inside it."""
    try:
        with Image.open(path) as image:
            return bool(image.info.get("comment") == COMMENT)
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Case:
    """One patient of a phantom data set. `number` counts within the name space, `first` the pictures before."""

    index: int
    space: str
    number: int
    first: int
    pictures: int
    pathogen: Pathogen | None
    split: Split

    @property
    def label(self) -> Label:
        return Label.NORMAL if self.pathogen is None else Label.PNEUMONIA

    def name(self, picture: int) -> str:
        if self.pathogen is None:
            return f"{self.space}-{self.number:04d}-{picture + 1:04d}.jpeg"
        return f"person{self.number}_{self.pathogen}_{self.first + picture + 1}.jpeg"


def _draw_cases(patients: int, seed: int, test_share: float) -> list[_Case]:
    rng = np.random.default_rng([seed, 0])
    bacteria, virus = max(2, round(0.38 * patients)), max(2, round(0.27 * patients))
    groups = ((None, patients - bacteria - virus), (Pathogen.BACTERIA, bacteria), (Pathogen.VIRUS, virus))
    cases: list[_Case] = []
    drawn = 0
    for pathogen, count in groups:
        tests = min(max(round(test_share * count), 1), count - 1)
        in_test = rng.permutation(count) < tests
        # Dealt and not drawn, so that no group has more pictures a patient than another.
        pictures = rng.permutation(np.resize([2, 1, 3, 1, 2, 4, 1, 2, 3, 1], count))
        for index in range(count):
            space = str(pathogen) if pathogen else ("IM", "NORMAL2-IM")[index % 2]
            number = index + 1 if pathogen else index // 2 + 1
            split = Split.TEST if in_test[index] else Split.TRAIN
            cases.append(_Case(len(cases) + 1, space, number, drawn, int(pictures[index]), pathogen, split))
            drawn += int(pictures[index]) if pathogen else 0
    return cases


def _draw_pictures(case: _Case, seed: int, size: int) -> Iterator[tuple[str, UInt8Array]]:
    rng = np.random.default_rng([seed, case.index])
    anatomy = draw_anatomy(rng)
    finding = draw_finding(rng, case.pathogen) if case.pathogen else None
    for picture in range(case.pictures):
        shape = (round(size * rng.uniform(0.76, 0.96)), round(size * rng.uniform(0.96, 1.16)))
        yield (
            case.name(picture),
            draw_phantom(rng, label=case.label, pathogen=case.pathogen, size=shape, anatomy=anatomy, finding=finding),
        )
