"""A seeded fuzzer over everything that reads what others wrote: `python -m tests.fuzz 20000`.

Each input is a sound file with some bytes changed. A reader may answer or raise one of Hilum's own errors, with one
line of text; anything else, or more than ten seconds, is a failure. The same number always gives the same input.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.bundle import read_bundle
from hilum.config import load_config
from hilum.data.images import read_gray
from hilum.data.manifest import load_data, read_manifest, scan, write_manifest
from hilum.data.phantom import draw_phantom
from hilum.errors import HilumError, ImageReadError
from hilum.evaluation.ledger import read_ledger
from hilum.inference.familiarity import Familiarity, fit_familiarity
from hilum.inference.inputs import Inputs
from hilum.inference.preparation import prepare_picture
from hilum.inference.rows import COLUMNS, read_csv, read_json_lines
from hilum.preprocess import PreprocessSpec
from hilum.types import Label

SECONDS = 10.0
Read = Callable[[Path], object]


class FailureError(Exception):
    """A reader did what it must not do."""


def build_cases(folder: Path) -> dict[str, tuple[bytes, str, Read]]:
    """Return sound inputs by name: content, name of the file, and what reads it."""
    rng = np.random.default_rng(0)
    gray = draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=(96, 80))
    image = Image.fromarray(gray)
    deep = Image.fromarray(gray.astype(np.uint16) << 6)
    kinds = {
        "jpeg": (image, "JPEG", {"quality": 85}),
        "progressive": (image.convert("RGB"), "JPEG", {"progressive": True}),
        "cmyk": (image.convert("CMYK"), "JPEG", {}),
        "png": (image, "PNG", {}),
        "png16": (deep, "PNG", {}),
        "palette": (image.quantize(64), "PNG", {}),
        "bmp": (image, "BMP", {}),
        "tiff": (image, "TIFF", {}),
        "lzw": (image, "TIFF", {"compression": "tiff_lzw"}),
        "deflate": (deep, "TIFF", {"compression": "tiff_deflate"}),
    }
    cases: dict[str, tuple[bytes, str, Read]] = {}
    for name, (picture, form, options) in kinds.items():
        stream = io.BytesIO()
        picture.save(stream, form, **options)
        cases[name] = (stream.getvalue(), f"{name}.img", _read_image)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for number in range(3):
            members.writestr(f"folder/{number}.png", cases["png"][0])
    cases["zip"] = (archive.getvalue(), "pictures.zip", _read_zip)
    arrays = io.BytesIO()
    splits = {f"{split}_images": np.stack([gray] * 3) for split in ("train", "val", "test")}
    labels = {f"{split}_labels": np.array([[0], [1], [1]], dtype=np.uint8) for split in ("train", "val", "test")}
    np.savez(arrays, **splits, **labels)
    cases["npz"] = (arrays.getvalue(), "data.npz", load_data)
    (folder / "a.png").write_bytes(cases["png"][0])
    table = "path,label,patient,split\na.png,NORMAL,1,train\na2.png,PNEUMONIA,2,test\n"
    cases["labels"] = (table.encode(), "labels.csv", load_data)
    manifest = folder / "data" / "manifest.csv"
    manifest.parent.mkdir()
    (folder / "NORMAL").mkdir()
    (folder / "NORMAL" / "IM-0001-0001.png").write_bytes(cases["png"][0])
    write_manifest(scan(folder / "NORMAL" / ".."), manifest)
    cases["manifest"] = (manifest.read_bytes(), "manifest.csv", read_manifest)
    config = "train:\n  lr: 3.0e-4\n  epochs: 5\naugment:\n  noise: 0.06\nseed: 3\n"
    cases["yaml"] = (config.encode(), "config.yaml", load_config)
    row = dict.fromkeys(COLUMNS, "") | {"path": "a.png", "status": "ok", "probability": 0.5, "logit": 0.1}
    cases["jsonl"] = ((json.dumps(row) + "\n").encode() * 3, "rows.jsonl", lambda path: list(read_json_lines(path)))
    rows = ",".join(COLUMNS) + "\n" + "a.png,ok,0.5,0.1,NORMAL,0.5,,0.3\n" * 3
    cases["rows"] = (rows.encode(), "rows.csv", lambda path: list(read_csv(path)))
    ledger = (Path(__file__).parents[1] / "docs" / "test_ledger.csv").read_bytes().splitlines(keepends=True)
    cases["ledger"] = (b"".join(ledger[:3]), "ledger.csv", read_ledger)
    features = rng.normal(size=(40, 12)).astype(np.float32)
    fit_familiarity(features[:20], features[20:]).save(folder / "gate.npz")
    bundle = next((Path(__file__).parents[1] / "src" / "hilum" / "packaged").iterdir())
    cases["bundle.json"] = ((bundle / "bundle.json").read_bytes(), "bundle.json", _read_bundle)
    cases["gate"] = ((folder / "gate.npz").read_bytes(), "gate.npz", Familiarity.load)
    return cases


def _read_image(path: Path) -> None:
    read_gray(path)
    read_gray(path, at_least=30)


def _read_zip(path: Path) -> None:
    for item in Inputs([str(path)]):
        if not isinstance(item.content, ImageReadError):
            prepare_picture(item, PreprocessSpec(size=32))


def _read_bundle(path: Path) -> None:
    folder = path.parent / "bundle"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "bundle.json")
    read_bundle(folder)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes of a file as accidents and attackers do."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if not changed:
            break
        place = int(rng.integers(len(changed)))
        length = int(min(rng.integers(1, 65), len(changed) - place))
        kind = int(rng.integers(8))
        if kind == 0:
            changed[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[place : place + length] = rng.bytes(length)
        elif kind == 2:
            changed[place : place + length] = bytes(length)
        elif kind == 3:
            changed[place : place + length] = b"\xff" * length
        elif kind == 4:
            del changed[place : place + length]
        elif kind == 5:
            changed[place:place] = changed[place : place + length] * int(rng.integers(1, 20))
        elif kind == 6:
            del changed[place:]
        else:
            other = int(rng.integers(len(changed)))
            changed[place : place + length] = changed[other : other + length]
    return bytes(changed)


def run_one(number: int, cases: dict[str, tuple[bytes, str, Read]], folder: Path) -> str:
    """Run input `number` and return how it ended: read, or the name of Hilum's error.

    Raises:
        FailureError: another exception, several lines of text, or too much time.
    """
    rng = np.random.default_rng([7, number])
    name = sorted(cases)[number % len(cases)]
    content, file, read = cases[name]
    path = folder / file
    path.write_bytes(mutate(content, rng))
    started = time.perf_counter()
    try:
        read(path)
        outcome = "read"
    except HilumError as error:
        outcome = type(error).__name__
        if "\n" in str(error):
            raise FailureError(f"input {number} ({name}): a message of several lines: {error}") from None
    except Exception as error:
        raise FailureError(f"input {number} ({name}): {type(error).__name__}: {error}") from error
    seconds = time.perf_counter() - started
    if seconds > SECONDS:
        raise FailureError(f"input {number} ({name}): took {seconds:.1f} s")
    return f"{name}: {outcome}"


def fuzz(numbers: range) -> tuple[Counter[str], list[str]]:
    """Run many inputs; return how they ended, and the failures."""
    outcomes: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = build_cases(folder)
        for number in numbers:
            try:
                outcomes[run_one(number, cases, folder)] += 1
            except FailureError as failure:
                failures.append(str(failure))
    return outcomes, failures


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found, failed = fuzz(range(first, first + count))
    for outcome, times in sorted(found.items()):
        print(f"{times:7,}  {outcome}")
    for failure in failed:
        print(failure)
    sys.exit(bool(failed))
