"""One step of learning: forward, loss, backward, clipping and optimiser; on CUDA as one captured graph."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from hilum.augment import to_device
from hilum.config import TrainConfig
from hilum.model.network import RadiographNet, list_parameter_groups

logger = logging.getLogger(__name__)

REFERENCE_BATCH = 32
"""The batch that `train.lr`, `train.head_lr` and `train.ema_decay` are meant for; `scale_to_batch` gives the others."""

_WARMUP_STEPS = 3  # run before a capture, so that libraries have chosen their kernels and made their workspaces

ComputeLoss = Callable[[Tensor, Tensor], Tensor]


class TrainingStep:
    """Calls with (inputs, targets) learn from one batch and return its loss, a tensor without dimensions.

    At batch 32 a GPU computes faster than Python can launch its kernels. So on CUDA the step is captured as one graph
    after a few ordinary steps, and replayed from then on. The returned loss is overwritten by the next call. Batches
    must have one shape.
    """

    def __init__(
        self,
        network: RadiographNet,
        optimizer: AdamW,
        compute_loss: ComputeLoss,
        *,
        device: torch.device,
        dtype: torch.dtype,
        clip_norm: float | None,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.compute_loss = compute_loss
        self.device = device
        self.dtype = dtype
        self.clip_norm = clip_norm
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._steps = 0
        self._inputs = self._targets = self._loss = torch.empty(0)

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Learn from one batch: inputs (b, 3, s, s), targets (b, outputs), both on the device."""
        if self.device.type != "cuda":
            return self._learn(inputs, targets)
        if self._graph is None and self._steps < _WARMUP_STEPS:
            self._steps += 1
            return self._learn_aside(inputs, targets)
        if self._graph is None:
            self._capture(inputs, targets)
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        assert self._graph is not None
        self._graph.replay()
        return self._loss

    def forget(self) -> None:
        """Drop the captured graph, because other parameters learn from now on."""
        self._graph = None
        self._steps = 0
        self.optimizer.zero_grad(set_to_none=True)

    def _learn(self, inputs: Tensor, targets: Tensor) -> Tensor:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        # The cache of casts would outlive a capture; each weight is cast once a step anyway.
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.dtype is torch.bfloat16, cache_enabled=False
        ):
            logits = self.network(inputs)
        loss = self.compute_loss(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm, foreach=True)
        self.optimizer.step()
        return loss.detach()

    def _learn_aside(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Learn on a stream of its own, as a capture does (PyTorch's notes on CUDA graphs)."""
        stream = self._stream
        assert stream is not None
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            loss = self._learn(inputs, targets)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        return loss

    def _capture(self, inputs: Tensor, targets: Tensor) -> None:
        """Record the step; nothing is computed yet."""
        self._inputs = inputs.clone(memory_format=torch.channels_last)
        self._targets = targets.clone()
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._loss = self._learn(self._inputs, self._targets)
        self._graph = graph


def build_optimizer(network: RadiographNet, config: TrainConfig, device: torch.device) -> AdamW:
    """Return AdamW with a group for each stage, biases and BatchNorm apart; `RateSchedule` sets its learning rates."""
    groups = list_parameter_groups(
        network, lr=config.lr, layer_decay=config.layer_decay, weight_decay=config.weight_decay
    )
    on_cuda = device.type == "cuda"
    for group in groups:
        group["peak_lr"] = group["lr"]
        if on_cuda:  # a captured step reads its learning rates from the device
            group["lr"] = torch.tensor(group["lr"], device=device)
    return AdamW(groups, lr=config.lr, fused=device.type in ("cpu", "cuda"), capturable=on_cuda)


class RateSchedule:
    """The learning rate of each group of the optimiser: the head alone first, then all by warm-up and cosine."""

    def __init__(self, optimizer: AdamW, config: TrainConfig, *, steps_per_epoch: int) -> None:
        self.optimizer = optimizer
        self.config = config
        self.scale = scale_to_batch(config)
        self.head_steps = config.head_epochs * steps_per_epoch
        self.steps = config.epochs * steps_per_epoch
        self.peaks = [float(group["peak_lr"]) for group in optimizer.param_groups]

    def compute(self, step: int) -> list[float]:
        """Return the learning rate of each group in step `step`, counted from 0 over both phases."""
        if step < self.head_steps:
            rate = self.scale * self.config.head_lr
            return [rate if group["stage"] == "fc" else 0.0 for group in self.optimizer.param_groups]
        factor = compute_schedule(step - self.head_steps, total=self.steps, warmup=self.config.warmup)
        return [self.scale * factor * peak for peak in self.peaks]

    def apply(self, step: int) -> None:
        """Set the learning rates of step `step`."""
        for group, rate in zip(self.optimizer.param_groups, self.compute(step), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def scale_to_batch(config: TrainConfig) -> float:
    """Return the factor on learning rates at the configured batch size: the square root of its share of 32.

    For Adam and its kin the square root, not the batch itself, keeps the training alike (Malladi et al. 2022,
    arXiv:2205.10287).
    """
    return math.sqrt(config.batch_size / REFERENCE_BATCH)


def scale_decay(config: TrainConfig) -> float | None:
    """Return the decay a step of the averaged weights, so that the average spans as many images at any batch size."""
    return None if config.ema_decay is None else config.ema_decay ** (config.batch_size / REFERENCE_BATCH)


def compute_schedule(step: int, *, total: int, warmup: float) -> float:
    """Return the factor on the peak learning rate: linear warm-up, then half a cosine down to 0 (SGDR, 2017).

    Negative steps (before the phase begins) and steps past the end give 0.
    """
    if step < 0 or step >= total:
        return 0.0
    rise = max(round(total * warmup), 1)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))


def mix(inputs: Tensor, targets: Tensor, *, alpha: float, seed: int | list[int]) -> tuple[Tensor, Tensor]:
    """Blend each image and target of a batch with another one (MixUp, Zhang et al. 2018, arXiv:1710.09412).

    One share a batch, drawn from Beta(alpha, alpha) and taken as at least a half, so that each image stays the
    larger part of itself. `seed` alone decides, so that a resumed training mixes alike.
    """
    rng = np.random.default_rng(seed)
    share = rng.beta(alpha, alpha)
    share = max(share, 1 - share)
    partner = to_device(torch.from_numpy(rng.permutation(len(targets))), targets.device)
    return share * inputs + (1 - share) * inputs[partner], share * targets + (1 - share) * targets[partner]
