"""Scores images with a trained run on any device, in float32, by the same preprocessing as training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hilum.augment import to_device
from hilum.bundle import describe_input
from hilum.data.cache import read_prepared
from hilum.errors import BundleError, ImageReadError
from hilum.inference.framing import WHOLE, place_map
from hilum.model.crop import LungCrop
from hilum.model.device import (
    choose_device,
    choose_dtype,
    describe_device,
    explain_device_errors,
    is_out_of_memory,
)
from hilum.model.inputs import normalise_on_device
from hilum.model.network import RadiographNet, count_outputs
from hilum.model.run import Run, read_run
from hilum.model.weights import load_strictly, read_state
from hilum.types import DoubleArray, FloatArray, Score, UInt8Array

logger = logging.getLogger(__name__)

BATCH = {"cpu": 32, "cuda": 256, "mps": 64}
"""Images that are scored together, by the type of device."""
_READERS = {"cpu": 2, "cuda": 8, "mps": 4}
_SMALLER = "close what else uses it"


class RunScorer:
    """The network of a run: paths in, one Score or ImageReadError a path out, in the order given.

    Args:
        run: what `read_run` gives.
        device: what `hilum.model.device.choose_device` takes.

    Raises:
        DeviceError: the device is not there, or has no room for the network.
    """

    def __init__(self, run: Run, *, device: str = "auto") -> None:
        self.run = run
        self.device = choose_device(device)
        self.batch = BATCH[self.device.type]
        # `hilum run` calls every run folder "run": its parent tells them apart.
        folder = run.folder.resolve()
        self.name = f"{folder.parent.name}/{folder.name}" if folder.name == "run" else folder.name
        self.spec = run.config.preprocess
        self.network = RadiographNet(outputs=count_outputs(run.config))
        load_strictly(self.network, read_state(run.weights), source=str(run.weights))
        with explain_device_errors(self.device, smaller=_SMALLER):
            self.network.eval().to(self.device).to(memory_format=torch.channels_last)
            self.crop = None if self.spec.field is None else LungCrop(self.spec).to(self.device)

    @classmethod
    def open(cls, folder: Path, *, device: str = "auto", unfinished: bool = False) -> RunScorer:
        """Read a run folder; `unfinished` as for `read_run`.

        Raises:
            BundleError: no whole run.
            DeviceError: as above.
        """
        return cls(read_run(folder, unfinished=unfinished), device=device)

    def describe(self) -> Mapping[str, str]:
        """Return what a report says of the model."""
        config, provenance = self.run.config, self.run.provenance
        count = self.run.splits["split"].value_counts()
        return {
            "Network": "ResNet-50, one logit",
            "Initial weights": str(provenance["weights"]["name"]),
            "Input": describe_input(self.spec),
            "Trained on": f"{count.get('train', 0):,} pictures, epoch chosen on {count.get('val', 0):,}",
            "Epochs": f"{config.train.head_epochs} (head only) + {config.train.epochs} (whole network)",
            "Precision of training": str(provenance["precision"]),
            "Seed": _name_seed(self.run),
            "Scored on": "{device}, {precision}".format(**self.describe_runtime()),
        }

    def describe_runtime(self, *, quickly: bool = False) -> Mapping[str, str]:
        """Return what computes, as metrics.json carries it; with `quickly`, what `score_quickly` computes in."""
        dtype = _choose_half(self.device) if quickly else torch.float32
        return {"device": describe_device(self.device), "precision": str(dtype).removeprefix("torch.")}

    def describe_training(self) -> Mapping[str, str]:
        """Return what a report says of how the model came about."""
        settings, provenance = self.run.config.train, self.run.provenance
        facts = {
            "Optimiser": f"AdamW, peak learning rate {settings.lr:g} at the last block, "
            f"× {settings.layer_decay:g} for each stage towards the input",
            "Batch": f"{settings.batch_size} pictures",
            "Class balance": settings.balance,
            "Label smoothing": f"{settings.label_smoothing:g}",
            "Averaged weights": "none" if settings.ema_decay is None else f"decay {settings.ema_decay:g} a step",
            "BatchNorm": settings.batch_norm,
            "Best epoch chosen by": settings.monitor,
            "Machine": str(provenance["processor"]),
            "Versions": ", ".join(f"{name} {version}" for name, version in provenance["packages"].items()),
            "Source": str(provenance["git_commit"] or "installed package"),
        }
        timings = provenance["timings"]
        if timings:
            facts["Time"] = (
                f"{timings['train_seconds'] / 60:.1f} min, {timings['pictures_per_second']:.1f} pictures/s in training"
            )
        return facts

    def score(self, paths: Sequence[str]) -> Iterator[Score | ImageReadError]:
        """Yield a Score, or the ImageReadError of a picture that cannot be read, for each path in order."""
        with ThreadPoolExecutor(max_workers=_READERS[self.device.type]) as pool:
            batches = [paths[start : start + self.batch] for start in range(0, len(paths), self.batch)]
            upcoming = pool.map(self._read, batches[0]) if batches else iter(())
            for index in range(len(batches)):
                items = list(upcoming)
                if index + 1 < len(batches):  # the next batch is read while the network computes this one
                    upcoming = pool.map(self._read, batches[index + 1])
                yield from self._score_batch(items)

    def _read(self, path: str) -> UInt8Array | ImageReadError:
        try:
            return read_prepared(path, self.spec)
        except ImageReadError as error:
            return error

    def _score_batch(self, items: Sequence[UInt8Array | ImageReadError]) -> Iterator[Score | ImageReadError]:
        readable = [item for item in items if not isinstance(item, ImageReadError)]
        scores: Iterator[Score] = iter(self.score_pictures(np.stack(readable)) if readable else [])
        for item in items:
            yield item if isinstance(item, ImageReadError) else next(scores)

    def score_prepared(self, images: UInt8Array) -> DoubleArray:
        """Return the logits (n,) of prepared images (n, side, side), those that `score` gives."""
        with _exact():
            return self._compute_logits(images, torch.float32)

    def score_quickly(self, images: UInt8Array) -> DoubleArray:
        """Return the logits (n,) of prepared images (n, side, side) alone, in half precision where that is quicker.

        Logits differ from those of `score` by a hundredth at most in float16 (CUDA), by a tenth in bfloat16 (CPU):
        enough to rank recipes, not to report figures.
        """
        logits = self._compute_logits(images, _choose_half(self.device))
        # float16 ends at 65,504; a network that exceeds it is scored again in float32.
        return logits if np.isfinite(logits).all() else self.score_prepared(images)

    def score_pictures(self, images: UInt8Array) -> list[Score]:
        """Score prepared images (n, side, side), at least one."""

        def forward(inputs: Tensor, boxes: Tensor) -> list[Tensor]:
            output = self.network.forward_maps(inputs)
            found = (output.logit, output.cam, boxes, output.pathogen)
            return [values for values in found if values is not None]

        with _exact():
            logits, cams, boxes, *found = self._compute(images, forward)
        if not np.isfinite(logits).all():
            raise BundleError(f"{self.run.weights} gives values that are not finite; train it again.")
        pathogens = found[0].tolist() if found else [None] * len(cams)
        return [
            Score(logit, place_map(cam, box), pathogen)
            for logit, cam, box, pathogen in zip(logits.tolist(), cams, boxes, pathogens, strict=True)
        ]

    def _compute_logits(self, images: UInt8Array, dtype: torch.dtype) -> DoubleArray:
        def forward(inputs: Tensor, _: Tensor) -> list[Tensor]:
            with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32):
                return [self.network(inputs)[:, 0]]

        found = self._compute(images, forward)
        return found[0].astype(np.float64) if found else np.empty(0)

    def _compute(self, images: UInt8Array, forward: Callable[[Tensor, Tensor], list[Tensor]]) -> list[FloatArray]:
        """Return each tensor that `forward` gives, (n, ...), over all images; smaller batches where memory is short.

        Nothing waits for the device before the last batch is under way.

        Raises:
            DeviceError: a single image does not fit, or the device fails.
        """
        outputs: list[list[Tensor]] = []
        start = 0
        with torch.inference_mode(), explain_device_errors(self.device, smaller=_SMALLER):
            while start < len(images):
                block = images[start : start + self.batch]
                try:
                    outputs.append(forward(*self._prepare(block)))
                except RuntimeError as error:
                    if not is_out_of_memory(error) or len(block) == 1:
                        raise
                    self.batch = len(block) // 2
                    logger.info("Batches of %d images do not fit %s; taking %d.", len(block), self.device, self.batch)
                    continue
                start += len(block)
            # Here the computation is waited for, and here its errors on a GPU come to light.
            return [torch.cat(parts).float().cpu().numpy() for parts in zip(*outputs, strict=True)]

    def _prepare(self, block: UInt8Array) -> tuple[Tensor, Tensor]:
        """Return network input (b, 3, size, size) on the device, and the boxes (b, 4) that it shows."""
        images = to_device(torch.from_numpy(np.array(block)), self.device)
        boxes = torch.tensor(WHOLE).expand(len(images), 4)
        if self.crop is not None:
            images, boxes, _ = self.crop(images)
        return normalise_on_device(images, self.spec).contiguous(memory_format=torch.channels_last), boxes


def _choose_half(device: torch.device) -> torch.dtype:
    """Return float16 on CUDA, which has tensor cores for it since Volta, else what training would take."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        return torch.float16
    return choose_dtype(device)


@contextmanager
def _exact() -> Iterator[None]:
    """Compute float32 as such: a GPU's TF32 would move logits by more than a thousandth."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _name_seed(run: Run) -> str:
    averaged = run.provenance.get("averaged", [])
    if not averaged:
        return str(run.config.seed)
    return "mean of the weights of " + ", ".join(f"{one['folder']} (seed {one['seed']})" for one in averaged)
