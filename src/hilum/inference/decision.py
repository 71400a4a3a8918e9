"""From the network's logit to a probability and a label: the one policy that evaluation and every predictor share."""

from __future__ import annotations

import numpy as np

from hilum.types import BoolArray, DoubleArray, FloatArray, Label


def calibrate(logits: DoubleArray | FloatArray, *, temperature: float, intercept: float = 0.0) -> DoubleArray:
    """Return the probability of PNEUMONIA, sigmoid(logit / temperature + intercept), in [0, 1]. Shapes: (n,) to (n,).

    Computed in float64 by a formula that neither overflows nor loses small probabilities.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature + intercept
    return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)), dtype=np.float64)


def is_positive(probabilities: DoubleArray, *, threshold: float) -> BoolArray:
    """Return where a picture counts as PNEUMONIA: its probability is at least the threshold."""
    return np.asarray(probabilities >= threshold, dtype=np.bool_)


def decide(probability: float, *, threshold: float) -> Label:
    """Return the label of one picture by the rule of `is_positive`."""
    return Label.PNEUMONIA if probability >= threshold else Label.NORMAL
