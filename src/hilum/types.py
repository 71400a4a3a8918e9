"""The words that every module shares: labels, splits, statuses, and the results that cross module borders."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Label(StrEnum):
    """The two classes. PNEUMONIA is the positive one (index 1) everywhere."""

    NORMAL = "NORMAL"
    PNEUMONIA = "PNEUMONIA"


class Pathogen(StrEnum):
    """What caused a pneumonia, as the data set's file names say."""

    BACTERIA = "bacteria"
    VIRUS = "virus"


class Split(StrEnum):
    """Train fits weights, val chooses (epoch, threshold, temperature), test is for evaluation alone."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Status(StrEnum):
    """What became of one picture."""

    OK = "ok"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    NOT_CHEST_XRAY = "not_chest_xray"
    ERROR = "error"


class Zone(StrEnum):
    """Where a probability lies between ruling a pneumonia out and ruling it in."""

    RULED_OUT = "ruled_out"
    UNDETERMINED = "undetermined"
    RULED_IN = "ruled_in"


class View(StrEnum):
    """How a picture is shown: an upright frontal chest radiograph, one shown wrongly, or something else.

    `turned_left` is an upright picture turned by 90 degrees counter-clockwise, `turned_right` one turned clockwise.
    """

    FRONTAL = "frontal"
    INVERTED = "inverted"
    TURNED_LEFT = "turned_left"
    UPSIDE_DOWN = "upside_down"
    TURNED_RIGHT = "turned_right"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """What a picture file says of itself before any resizing: size in pixels as displayed, Pillow's mode and format.

    `colour` is the share of the picture, 0 to 1, with a colour of its own: 0 for gray and for a tint all over. `note`
    says what is odd about the file but harms nothing; it is mostly empty.
    """

    width: int
    height: int
    mode: str
    format: str
    colour: float = field(default=0.0, compare=False)
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Score:
    """What the network says of one picture, before any calibration or threshold.

    `logit` is the log-odds of PNEUMONIA. `cam` is the class activation map of the whole picture in logit units: (7, 7)
    for 224 px, its mean plus the bias of the last layer being the logit, or (64, 64) and 0 outside of the lungs' box
    where the classifier sees that alone. `pathogen` is the log-odds of viral against bacterial
    pneumonia, from networks that have learnt it. `refused` says whether the model's input gate takes the picture for no
    frontal chest radiograph, None without a gate; `familiarity` is as in `Prediction`.
    """

    logit: float
    cam: FloatArray
    pathogen: float | None = None
    refused: bool | None = None
    familiarity: float | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Result for one picture. What is not known is None; `message` says why, in one sentence.

    `source` names the picture: its path as it was given, `archive.zip!/member`, or the empty text for pixels and bytes.
    `logit` is the network's own log-odds of PNEUMONIA, `probability` is calibrated, in [0, 1], and `prediction` is
    PNEUMONIA where `probability` is at least `threshold`. All four are there when `status` is ok. A picture that the
    input gate takes for no chest radiograph keeps its logit, for study, but gets neither probability nor prediction,
    lest a number be believed, unless verdicts were asked for all the same.

    `familiarity` is the share, above 0 and up to 1, of held-out pictures that are no nearer to those of training than
    this one. `zone` is there if it was asked for and there is a probability. `view` is how the picture is shown, as the
    locator sees it. `cam` is the class activation map as in `Score`, and `box` the part of the picture that the
    classifier saw: top, bottom, left and right edge as shares of the sides. `picture` holds the gray pixels that they
    belong to, (h, w), if they were asked for.
    """

    source: str
    status: Status
    probability: float | None = None
    logit: float | None = None
    prediction: Label | None = None
    threshold: float | None = None
    message: str = ""
    familiarity: float | None = None
    view: View | None = None
    box: tuple[float, float, float, float] | None = None
    cam: FloatArray | None = field(default=None, repr=False, compare=False)
    picture: UInt8Array | None = field(default=None, repr=False, compare=False)
    zone: Zone | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a network, as the architecture figure draws it.

    `kind` is one of input, convolution, pool, blocks, linear. `output_shape` is (channels, height, width), or
    (features,) after the global pooling. `repeats` counts equal blocks inside the stage; `parameters` are those of the
    whole stage; `detail` says what it computes ("1×1, 64 → 3×3, 64 → 1×1, 256").
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    repeats: int = 1
    detail: str = ""
