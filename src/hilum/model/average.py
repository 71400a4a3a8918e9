"""The exponential moving average of a network's weights and BatchNorm statistics."""

from __future__ import annotations

import copy

import torch

from hilum.model.network import RadiographNet


class WeightAverage:
    """A second network whose weights follow those of the first one.

    The decay grows as (1 + n) / (10 + n) up to `decay`, so that a short training is not held at its start (the rule of
    TensorFlow's ExponentialMovingAverage). `network` is in evaluation mode, ready to be scored and saved.
    """

    def __init__(self, network: RadiographNet, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.count = 0
        own, others = (one.state_dict(keep_vars=True) for one in (self.network, network))
        floats = [key for key, value in own.items() if value.is_floating_point()]
        counters = [key for key, value in own.items() if not value.is_floating_point()]
        self._floats = [own[key].detach() for key in floats], [others[key].detach() for key in floats]
        self._counters = [own[key] for key in counters], [others[key] for key in counters]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network after one of its steps; the first time, take its weights as they are."""
        kept = min(self.decay, (1 + self.count) / (10 + self.count)) if self.count else 0.0
        # One call for all tensors: on a GPU a loop over 320 of them costs more than the step itself.
        torch._foreach_lerp_(*self._floats, 1 - kept)
        torch._foreach_copy_(*self._counters)
        self.count += 1
