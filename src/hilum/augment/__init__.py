"""Random changes of training images: parameters drawn on the CPU, batched operations on any device."""

from hilum.augment.chain import Augmenter
from hilum.augment.parameters import STRENGTHS, Parameters, draw_parameters
from hilum.augment.transfer import to_device

__all__ = ["STRENGTHS", "Augmenter", "Parameters", "draw_parameters", "to_device"]
