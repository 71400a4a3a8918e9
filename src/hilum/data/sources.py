"""Downloading the public data sets that Hilum is made for."""

from __future__ import annotations

import hashlib
import http.client
import logging
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from hilum.errors import DataError
from hilum.files import atomic_path
from hilum.progress import track

KAGGLE_HANDLE = "paultimothymooney/chest-xray-pneumonia"
KAGGLE_PAGE = f"https://www.kaggle.com/datasets/{KAGGLE_HANDLE}"
MEDMNIST_PAGE = "https://zenodo.org/records/10519652"
# File names and MD5 sums of PneumoniaMNIST as medmnist 3.0.2 publishes them (medmnist.info); importing that package
# would load torch.
_MEDMNIST_FILES = {
    28: ("pneumoniamnist.npz", "28209eda62fecd6e6a2d98b1501bb15f"),
    64: ("pneumoniamnist_64.npz", "8f4eceb4ccffa70c672198ea285246c6"),
    128: ("pneumoniamnist_128.npz", "05b46931834c231683c68f40c47b2971"),
    224: ("pneumoniamnist_224.npz", "d6a3c71de1b945ea11211b03746c1fe1"),
}
_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60


def fetch_kaggle(out: Path) -> Path:
    """Download the Kaggle copy "Chest X-Ray Images (Pneumonia)" (1.2 GB, 5,856 pictures) into a folder, and return it.

    Raises:
        DataError: kagglehub is not installed, the folder holds something, or the download fails; the message says what
            to do by hand.
    """
    by_hand = f"download it by hand from {KAGGLE_PAGE}, unpack it into {out} and run: hilum scan {out}"
    try:
        import kagglehub  # noqa: PLC0415 - an extra
        import requests  # noqa: PLC0415 - what kagglehub calls
    except ImportError:
        raise DataError(f"The package kagglehub is missing: pip install 'hilum[fetch]', or {by_hand}.") from None
    # It logs to stdout, which belongs to results.
    logging.getLogger("kagglehub").setLevel(logging.WARNING)
    try:
        return Path(kagglehub.dataset_download(KAGGLE_HANDLE, output_dir=str(out)))
    except FileExistsError:
        raise DataError(f"{out} holds files already; name a new folder with --out.") from None
    except (requests.ConnectionError, requests.Timeout):
        raise DataError(f"kaggle.com cannot be reached; {by_hand}.") from None
    except Exception as error:  # kagglehub, kagglesdk and requests share no base class
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise  # a local file, such as on a full disk
        raise DataError(f"The Kaggle data set cannot be downloaded ({_in_one_line(error)}); {by_hand}.") from None


def fetch_medmnist(out: Path, *, size: Literal[28, 64, 128, 224] = 224) -> Path:
    """Download PneumoniaMNIST, pictures of `size` x `size` pixels, into a folder, and return the .npz.

    A file that is there and has the published MD5 is not downloaded again.

    Raises:
        DataError: the download fails, or its MD5 is another than the published one.
    """
    name, md5 = _MEDMNIST_FILES[size]
    path = out / name
    if path.is_file() and _md5(path) == md5:
        return path
    download(f"{MEDMNIST_PAGE}/files/{name}?download=1", path, md5=md5, page=MEDMNIST_PAGE)
    return path


def download(url: str, path: Path, *, md5: str, page: str) -> None:
    """Download a file and check it; nothing is left at `path` on failure. `page` is where a person finds the file.

    Raises:
        DataError: the server cannot be reached or refuses, or the content has another MD5.
        OSError: the file cannot be written.
    """
    by_hand = f"download {path.name} by hand from {page} to {path} and run: hilum scan {path}"
    digest = hashlib.md5(usedforsecurity=False)
    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream:
            for block in _read_blocks(url, path.name, by_hand):
                digest.update(block)
                stream.write(block)
        if digest.hexdigest() != md5:
            raise DataError(
                f"{path.name} arrived damaged (its MD5 is {digest.hexdigest()}, not {md5}); try again, or {by_hand}."
            )


def _read_blocks(url: str, name: str, by_hand: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            length = int(response.headers.get("Content-Length") or 0)
            blocks = iter(lambda: response.read(_BLOCK_BYTES), b"")
            total = math.ceil(length / _BLOCK_BYTES) or None
            yield from track(blocks, description=f"Downloading {name} (MB)", total=total)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the response as well
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(f"{url} cannot be downloaded ({_in_one_line(reason)}); {by_hand}.") from None


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _in_one_line(error: BaseException | str) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
