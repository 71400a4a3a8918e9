"""Trains the locator that comes with the package: `python -m hilum.model.locator_training`.

Radiographs come in folders, one a source, and are labelled by the classical fit of `hilum.data.lungs`. What is no
chest radiograph is drawn, read from further folders, and made of radiographs. `--leave-out` keeps a folder's pictures
for measuring only.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.model.locator import SIDE, Locator, LocatorOutput, load_locator
from hilum.model.locator_data import (
    STORED_SIDE,
    Batch,
    BatchMaker,
    Pictures,
    draw_others,
    find_edges,
    read_folder,
    read_source,
    resize_square,
)
from hilum.model.weights import save_network
from hilum.progress import track
from hilum.types import FloatArray, UInt8Array

logger = logging.getLogger(__name__)

_LEAST_AGREEMENT = 0.7  # IoU of the classical fit with an earlier locator


def measure_overlap(found: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return intersection over union (n,) of boxes (n, 4)."""
    sides = []
    for first, last in ((0, 1), (2, 3)):
        shared = np.minimum(found[:, last], wanted[:, last]) - np.maximum(found[:, first], wanted[:, first])
        sides.append(np.maximum(shared, 0))
    areas = [(box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2]) for box in (found, wanted)]
    shared = sides[0] * sides[1]
    return np.asarray(shared / (areas[0] + areas[1] - shared), dtype=np.float32)


def compute_loss(output: LocatorOutput, batch: Batch) -> Tensor:
    """Return the sum of the losses of view, box and lungs."""
    loss = F.cross_entropy(output.view, batch.view, label_smoothing=0.02)
    if not batch.boxed.any():
        return loss
    box = F.smooth_l1_loss(output.box[batch.boxed], batch.box[batch.boxed], beta=0.02)
    lungs = F.binary_cross_entropy_with_logits(output.lungs[batch.boxed], batch.lungs[batch.boxed])
    return loss + 20 * box + 0.5 * lungs


def train_locator(
    radiographs: Pictures, others: UInt8Array, *, epochs: int, seed: int = 0, lr: float = 3e-3
) -> Locator:
    """Train a locator from scratch; its last weights are averaged over the steps."""
    torch.manual_seed(seed)
    maker = BatchMaker(radiographs, others, seed=seed)
    locator = Locator().to(memory_format=torch.channels_last)
    decay = torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)  # type: ignore[no-untyped-call]
    average = torch.optim.swa_utils.AveragedModel(locator, multi_avg_fn=decay, use_buffers=True)
    optimizer = torch.optim.AdamW(locator.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(maker), pct_start=0.1)
    for epoch in range(epochs):
        losses = []
        for batch in track(maker.iterate(epoch), description=f"Epoch {epoch + 1} of {epochs}", total=len(maker)):
            optimizer.zero_grad()
            loss = compute_loss(locator(batch.pictures), batch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(locator.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(locator)
            losses.append(float(loss.detach()))
        logger.info("epoch %d: loss %.4f", epoch + 1, np.mean(losses))
    trained = average.module
    assert isinstance(trained, Locator)
    return trained.eval()


@torch.inference_mode()
def locate(locator: Locator, pictures: UInt8Array) -> tuple[FloatArray, FloatArray]:
    """Return boxes (n, 4) and probabilities of each view (n, 6) of square pictures (n, s, s)."""
    reduced = np.stack([resize_square(picture, SIDE) for picture in pictures])
    outputs = [locator(torch.from_numpy(reduced[k : k + 256]).float()) for k in range(0, len(reduced), 256)]
    boxes = torch.cat([output.box for output in outputs])
    return boxes.numpy(), torch.softmax(torch.cat([output.view for output in outputs]), dim=1).numpy()


def doubt_boxes(source: Pictures, locator: Locator) -> Pictures:
    """Return the source without the boxes that an earlier locator contradicts: the fit errs now and then, too."""
    boxes, _ = locate(locator, source.pictures)
    overlap = measure_overlap(boxes, find_edges(torch.from_numpy(source.masks)).numpy())
    return replace(source, plausible=source.plausible & (overlap >= _LEAST_AGREEMENT))


def describe(locator: Locator, source: Pictures) -> str:
    """Say in one line how well a source's lungs are found."""
    boxes, views = locate(locator, source.pictures)
    sure = source.plausible
    overlap = measure_overlap(boxes[sure], find_edges(torch.from_numpy(source.masks[sure])).numpy())
    median, low = np.quantile(overlap, (0.5, 0.05))
    refused = float((views.argmax(1) != 0).mean())
    return (
        f"{source.name}: {len(views):,} pictures, IoU median {median:.3f}, 5th percentile {low:.3f} on {sure.sum():,} "
        f"with a plausible fit; {refused:.2%} are not called frontal"
    )


def main() -> None:
    """Train and write a locator, and say how well it does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("radiographs", nargs="+", type=Path, help="folders of frontal chest radiographs, one a source")
    parser.add_argument("--others", nargs="*", type=Path, default=[], help="folders of pictures of something else")
    parser.add_argument("--leave-out", nargs="*", default=[], help="names of folders that only measure")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--cache", type=Path, default=Path("runs/locator"))
    parser.add_argument("--check-by", type=Path, help="an earlier locator; boxes that it contradicts are not learnt")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sources = [read_source(folder, options.cache) for folder in options.radiographs]
    used = [source for source in sources if source.name not in options.leave_out]
    if options.check_by is not None:
        earlier = load_locator(options.check_by)
        used = [doubt_boxes(source, earlier) for source in used]
    joined = Pictures(
        "all",
        *(np.concatenate([getattr(source, part) for source in used]) for part in ("pictures", "masks", "plausible")),
    )
    read = [read_folder(folder, STORED_SIDE) for folder in options.others if folder.name not in options.leave_out]
    locator = train_locator(joined, np.concatenate([draw_others(), *read]), epochs=options.epochs, seed=options.seed)
    save_network(locator.half(), options.out)
    locator.float()
    for source in sources:
        logger.info("%s%s", describe(locator, source), " (left out)" if source.name in options.leave_out else "")
    for folder in options.others:
        _, views = locate(locator, read_folder(folder, STORED_SIDE))
        left = " (left out)" if folder.name in options.leave_out else ""
        logger.info(
            "%s: %.2f%% of %d are not called frontal%s",
            folder.name,
            100 * (views.argmax(1) != 0).mean(),
            len(views),
            left,
        )


if __name__ == "__main__":
    main()
