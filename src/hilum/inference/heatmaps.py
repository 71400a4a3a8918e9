"""Heat maps as files: one PNG a radiograph, in one folder, written while the next pictures are scored."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image

from hilum.files import atomic_path
from hilum.inference.explain import panel
from hilum.types import Prediction, Status

# Names of files may have 255 bytes on most systems; the hash, the suffix and the temporary name need some.
_MAX_STEM_BYTES = 120


def name_heatmap(source: str) -> str:
    """Return the file name of a picture's heat map: its own name, and 12 hex digits of the SHA-256 of `source`.

    `source` is what stands in the column path. Pictures of one name in two folders get two heat maps, a picture always
    the same one, and no name can leave the folder.
    """
    stem = Path(source.replace("\\", "/")).stem
    safe = re.sub(r"[^\w.-]+", "_", stem).strip("._")
    short = safe.encode()[:_MAX_STEM_BYTES].decode(errors="ignore") or "picture"
    return f"{short}-{hashlib.sha256(source.encode()).hexdigest()[:12]}.png"


def write_heatmaps(
    predictions: Iterable[Prediction], folder: Path, *, full_scale: float, threads: int = 1
) -> Iterator[Prediction]:
    """Write a heat map for each prediction whose status is ok, and yield all of them, in order and without pictures.

    A prediction is yielded when its heat map is there, so that whoever counts it as done is right.

    Args:
        predictions: with picture and class activation map.
        folder: made if missing; nothing outside of it is written.
        full_scale: evidence in logits at which colours saturate, as `hilum.inference.explain` has it.
        threads: how many are drawn at a time.

    Raises:
        OSError: a heat map cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting: deque[tuple[Prediction, Future[None]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="heatmap")
    try:
        for prediction in predictions:
            future = pool.submit(_write_heatmap, prediction, folder, full_scale)
            waiting.append((replace(prediction, picture=None), future))
            if len(waiting) > 2 * threads:
                yield _finish(*waiting.popleft())
        while waiting:
            yield _finish(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finish(prediction: Prediction, future: Future[None]) -> Prediction:
    future.result()
    return prediction


def _write_heatmap(prediction: Prediction, folder: Path, full_scale: float) -> None:
    picture, cam, label = prediction.picture, prediction.cam, prediction.prediction
    if prediction.status is not Status.OK or picture is None or cam is None or label is None:
        return
    if prediction.probability is None or prediction.threshold is None:
        return
    page = panel(
        picture,
        cam,
        probability=prediction.probability,
        threshold=prediction.threshold,
        label=label,
        title=prediction.source,
        full_scale=full_scale,
        familiarity=prediction.familiarity,
        box=prediction.box,
    )
    with atomic_path(folder / name_heatmap(prediction.source)) as temporary:
        Image.fromarray(page).save(temporary)
