"""A peer: PyTorch in eager mode and float32, with torchvision's transforms and a DataLoader, as most projects do it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hilum.benchmark.contestants import Entry, Setting
from hilum.model.network import RadiographNet
from hilum.model.run import WEIGHTS
from hilum.model.weights import load_strictly, read_state
from hilum.preprocess import PreprocessSpec

# As PyTorch itself does on Linux; this process was started in another way, which its children would take over.
_START = "fork" if "fork" in multiprocessing.get_all_start_methods() else None


class Files(Dataset[Tensor]):
    """Picture files as network input (3, size, size)."""

    def __init__(self, paths: Sequence[Path], spec: PreprocessSpec) -> None:
        self.paths = [str(path) for path in paths]
        # The channels are made after the resizing: resizing three equal ones would cost three times as much.
        self.transform = transforms.Compose(
            [
                transforms.Grayscale(),
                transforms.Resize((spec.size, spec.size), antialias=True),
                transforms.ToTensor(),
                transforms.Lambda(_triple),
                transforms.Normalize(spec.mean, spec.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            pixels: Tensor = self.transform(image)
        return pixels


def _triple(pixels: Tensor) -> Tensor:
    return pixels.expand(3, -1, -1)


class EagerContestant:
    """PyTorch, tuned by memory layout, batch size and number of loading processes."""

    def __init__(self, entry: Entry) -> None:
        self.options: Mapping[str, Sequence[Any]] = {
            "channels_last": (True, False),
            "batch": (16, 8, 32),
            "workers": (1, 2, 0),
        }
        self._entry = entry
        torch.set_num_threads(entry.threads)
        torch.manual_seed(0)
        self._network = RadiographNet().eval()
        if entry.model is not None:
            weights = entry.model / WEIGHTS
            load_strictly(self._network, read_state(weights), source=str(weights))
        self._layout = torch.contiguous_format
        self._loader: DataLoader[Tensor] | None = None
        self._single = Files((), entry.preprocess)

    def prepare(self, paths: Sequence[Path], setting: Setting) -> None:
        """Lay the weights out and start the loading processes, which stay for all rounds."""
        self._layout = torch.channels_last if setting["channels_last"] else torch.contiguous_format
        self._network.to(memory_format=self._layout)
        workers = int(setting["workers"])
        self._loader = DataLoader(
            Files(paths, self._entry.preprocess),
            batch_size=int(setting["batch"]),
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=_START if workers else None,
        )

    def score(self, paths: Sequence[Path]) -> list[float]:
        """Score the files that were prepared."""
        if self._loader is None or len(paths) != len(self._loader.dataset):  # type: ignore[arg-type]  # it has a length
            raise ValueError("other files than those prepared")
        return [logit for batch in self._loader for logit in self._score_batch(batch)]

    def score_one(self, path: Path) -> float:
        """Score one file."""
        self._single.paths = [str(path)]
        return self._score_batch(self._single[0][None])[0]

    def _score_batch(self, batch: Tensor) -> list[float]:
        with torch.inference_mode():
            logits = self._network(batch.contiguous(memory_format=self._layout))[:, 0].numpy()
        self._entry.decide(logits)
        return [float(logit) for logit in logits]
