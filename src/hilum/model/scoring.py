"""Scores pictures with a trained run, in float32, by the same preprocessing as training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from hilum.data.cache import read_prepared
from hilum.errors import BundleError, ImageReadError
from hilum.model.network import RadiographNet, count_outputs
from hilum.model.processor import has_bfloat16
from hilum.model.run import Run, read_run
from hilum.model.weights import load_strictly, read_state
from hilum.preprocess import normalise
from hilum.types import DoubleArray, Score, UInt8Array

BATCH = 32


class RunScorer:
    """The network of a run: paths in, one Score or ImageReadError a path out, in the order given."""

    def __init__(self, run: Run) -> None:
        self.run = run
        # `hilum run` calls every run folder "run": its parent tells them apart.
        folder = run.folder.resolve()
        self.name = f"{folder.parent.name}/{folder.name}" if folder.name == "run" else folder.name
        self.spec = run.config.preprocess
        self.network = RadiographNet(outputs=count_outputs(run.config))
        load_strictly(self.network, read_state(run.weights), source=str(run.weights))
        self.network.eval().to(memory_format=torch.channels_last)

    @classmethod
    def open(cls, folder: Path) -> RunScorer:
        """Read a run folder.

        Raises:
            BundleError: no whole run.
        """
        return cls(read_run(folder))

    def describe(self) -> Mapping[str, str]:
        """Return what a report says of the model."""
        config, provenance = self.run.config, self.run.provenance
        count = self.run.splits["split"].value_counts()
        return {
            "Network": "ResNet-50, one logit",
            "Initial weights": str(provenance["weights"]["name"]),
            "Input": f"{self.spec.size} x {self.spec.size} pixels, gray in three channels",
            "Trained on": f"{count.get('train', 0):,} pictures, epoch chosen on {count.get('val', 0):,}",
            "Epochs": f"{config.train.head_epochs} (head only) + {config.train.epochs} (whole network)",
            "Precision of training": str(provenance["precision"]),
            "Seed": _name_seed(self.run),
        }

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
        with ThreadPoolExecutor(max_workers=2) as pool:
            batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
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

    def score_prepared(self, pictures: UInt8Array) -> DoubleArray:
        """Return the logits (n,) of prepared pictures (n, size, size), those that `score` gives."""
        batches = (pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH))
        return np.array([score.logit for batch in batches for score in self.score_pictures(batch)])

    def score_quickly(self, pictures: UInt8Array) -> DoubleArray:
        """Return the logits (n,) of prepared pictures (n, size, size) alone, in bfloat16 where that is quicker.

        Logits differ by some hundredths from those of `score`: enough to rank recipes, not to report figures.
        """
        logits = []
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16()):
            for start in range(0, len(pictures), BATCH):
                block = normalise(pictures[start : start + BATCH], self.spec)
                batch = torch.from_numpy(block).contiguous(memory_format=torch.channels_last)
                logits.append(self.network(batch)[:, 0].float().numpy().astype(np.float64))
        return np.concatenate(logits)

    def score_pictures(self, pictures: UInt8Array) -> list[Score]:
        """Score prepared pictures (n, size, size)."""
        batch = torch.from_numpy(normalise(pictures, self.spec)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            output = self.network.forward_maps(batch)
        if not torch.isfinite(output.logit).all():
            raise BundleError(f"{self.run.weights} gives values that are not finite; train it again.")
        maps = output.cam.numpy().astype(np.float32)
        pathogens = [None] * len(maps) if output.pathogen is None else output.pathogen.tolist()
        return [
            Score(logit, cam, pathogen)
            for logit, cam, pathogen in zip(output.logit.tolist(), maps, pathogens, strict=True)
        ]


def _name_seed(run: Run) -> str:
    averaged = run.provenance.get("averaged", [])
    if not averaged:
        return str(run.config.seed)
    return "mean of the weights of " + ", ".join(f"{one['folder']} (seed {one['seed']})" for one in averaged)
