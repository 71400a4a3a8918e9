"""Synthetic chest radiographs: phantom patients for demonstrations and tests, in the layout of the Kaggle data set.

A simple model of projection: thicknesses of tissue, air and bone along each ray give an attenuation, attenuation gives
the counts of the detector with their noise, and a display curve gives the picture. Exposure, noise, size, marker and
pose are drawn without regard to the label, so that nothing but the lungs tells the classes apart.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from hilum.data.phantom_anatomy import Anatomy, draw_anatomy
from hilum.data.phantom_opacity import Finding, draw_finding, measure_opacity
from hilum.data.phantom_projection import Layers, Shape, draw_pose, project_layers
from hilum.errors import ConfigError
from hilum.files import new_folder
from hilum.progress import track
from hilum.types import BoolArray, FloatArray, Label, Pathogen, Split, UInt8Array

JPEG_QUALITY = 90
# Every file says itself that it is synthetic, wherever it is moved.
COMMENT = b"Hilum phantom: a synthetic radiograph, not a patient"
# Attenuation a body unit. Bone stands for what it adds to the tissue in its place.
TISSUE, BONE, VESSEL = 1.0, 6.0, 3.0


@dataclass(frozen=True, slots=True)
class Phantom:
    """One synthetic radiograph with what is known of it. All arrays are (h, w).

    `lungs` is where air is seen in the healthy chest, `opacity` where pneumonia replaces a good part of that air.
    """

    pixels: UInt8Array
    lungs: BoolArray
    opacity: BoolArray


def draw_phantom(
    rng: np.random.Generator,
    *,
    label: Label,
    pathogen: Pathogen | None,
    size: int | Shape = 256,
    anatomy: Anatomy | None = None,
    finding: Finding | None = None,
) -> UInt8Array:
    """Draw one radiograph, (h, w) gray 0-255; see `render_phantom`, which returns the masks too."""
    return render_phantom(rng, label=label, pathogen=pathogen, size=size, anatomy=anatomy, finding=finding).pixels


def render_phantom(
    rng: np.random.Generator,
    *,
    label: Label,
    pathogen: Pathogen | None,
    size: int | Shape = 256,
    anatomy: Anatomy | None = None,
    finding: Finding | None = None,
) -> Phantom:
    """Draw one radiograph with its masks.

    Args:
        rng: source of chance.
        label: NORMAL or PNEUMONIA.
        pathogen: what causes the pneumonia; None for NORMAL and for nothing else.
        size: (height, width) in pixels, or the side of a square.
        anatomy: the patient, where several pictures share one; drawn when missing.
        finding: the patient's pneumonia, where several pictures share it; drawn when missing.

    Raises:
        ConfigError: label, pathogen and finding contradict each other, or the size is below 32 pixels.
    """
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < 32:
        raise ConfigError(
            f"A phantom of {shape[0]} x {shape[1]} pixels is too small to show a chest; take at least 32."
        )
    if (label is Label.PNEUMONIA) != (pathogen is not None) or (finding and finding.pathogen is not pathogen):
        raise ConfigError(f"A phantom cannot be {label} with pathogen {pathogen}: pneumonia has one, NORMAL has none.")
    anatomy = anatomy or draw_anatomy(rng)
    pose = draw_pose(rng, shape)
    layers = project_layers(anatomy, pose, shape)
    lungs = layers.air > 0.3
    opacity = np.zeros(shape, dtype=np.float32)
    if pathogen is not None:
        opacity = measure_opacity(finding or draw_finding(rng, pathogen), layers, scale=pose.scale)
    pixels = _expose(rng, _attenuate(layers, opacity, aeration=rng.uniform(0.62, 0.8)))
    return Phantom(pixels=pixels, lungs=lungs, opacity=lungs & (opacity > 0.25))


def _attenuate(layers: Layers, opacity: FloatArray, *, aeration: float) -> FloatArray:
    """Add up what weakens the rays.

    `aeration` is the share of both lungs together that is air, whatever the opacity: open lung makes up for closed lung
    by overinflation. So the mean brightness of the lungs does not give the label away.
    """
    open_air = layers.air * (1 - opacity)
    fill = min(aeration * float(layers.air.sum()) / float(open_air.sum()), 0.96)
    air = open_air * np.float32(fill)
    tissue = np.maximum(layers.tissue - air, 0)
    # Soft rays stop first, so bone behind bone adds less (beam hardening).
    bone = layers.bone / (1 + np.float32(7) * layers.bone)
    return np.float32(TISSUE) * tissue + np.float32(BONE) * bone + np.float32(VESSEL) * layers.vessels


def _expose(rng: np.random.Generator, attenuation: FloatArray) -> UInt8Array:
    """Turn attenuation into a displayed film."""
    shape = attenuation.shape
    scale = max(shape) / 256
    # Counts follow Poisson's law, so their logarithm has a deviation of 1 / sqrt(counts).
    dose = np.exp(rng.uniform(np.log(2500), np.log(25000)))
    grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), rng.uniform(0.35, 0.7))
    noisy = gaussian_filter(attenuation, rng.uniform(0.3, 0.8) * scale)
    noisy += grain * np.exp(noisy * np.float32(0.5)) * np.float32(1.2 / np.sqrt(dose))
    low = rng.uniform(0.0, 0.25)
    high = float(np.quantile(noisy[::4, ::4], 0.995)) * rng.uniform(0.98, 1.12)
    shown = np.clip((noisy - np.float32(low)) / np.float32(high - low), 0, 1)
    # The shoulder of the curve: bone over the heart shows less than bone over the lung.
    shown = 1 - (1 - shown) ** np.float32(rng.uniform(1.2, 1.9))
    shown **= np.float32(_find_gamma(shown, target=rng.normal(0.5, 0.065)))
    shown = np.float32(rng.uniform(0, 0.05)) + shown * np.float32(rng.uniform(0.86, 1.0))
    _collimate(rng, shown)
    _mark(rng, shown)
    return np.asarray(np.clip(shown * 255, 0, 255) + np.float32(0.5), dtype=np.uint8)


def _find_gamma(shown: FloatArray, *, target: float) -> float:
    """Return the exponent that gives the picture a mean of `target`, within what a display curve can do."""
    sample = shown[::4, ::4]
    low, high = 0.4, 2.5
    for _step in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if float(np.mean(sample**middle)) > target else (low, middle)
    return (low + high) / 2


def _collimate(rng: np.random.Generator, shown: FloatArray) -> None:
    height, width = shown.shape
    if rng.random() > 0.35:
        return
    level = rng.uniform(0, 0.06)
    for side in range(4):
        if rng.random() > 0.5:
            continue
        border = round(rng.uniform(0.01, 0.05) * (height if side < 2 else width))
        strip = (slice(0, border), slice(height - border, height))[side] if side < 2 else slice(None)
        columns = (slice(0, border), slice(width - border, width))[side - 2] if side >= 2 else slice(None)
        shown[strip, columns] = level


def _mark(rng: np.random.Generator, shown: FloatArray) -> None:
    """Put the letter R at the patient's right side, as on most films."""
    height, width = shown.shape
    present = rng.random() < 0.85
    letter = max(8, round(height * rng.uniform(0.05, 0.1)))
    corner = (round(width * rng.uniform(0.01, 0.1)), round(height * rng.uniform(0.02, 0.5)))
    brightness, stroke = rng.uniform(0.7, 1.0), int(rng.integers(0, 2))
    if not present:
        return
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text(corner, "R", fill=255, stroke_width=stroke, font=ImageFont.load_default(size=letter))
    mask = np.asarray(image, dtype=np.float32) / np.float32(255)
    shown += mask * (np.float32(brightness) - shown)


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
            return image.info.get("comment") == COMMENT
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
