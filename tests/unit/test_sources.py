import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hilum.data.sources import download, fetch_kaggle, fetch_medmnist
from hilum.errors import DataError

pytestmark = pytest.mark.unit

CONTENT = bytes(range(256)) * 10_000  # 2.6 MB: more than one block
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:1000])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.fixture
def no_network(monkeypatch):
    # Port 9 (discard) of this machine answers nothing.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_is_downloaded_and_checked(server, tmp_path):
    path = tmp_path / "new" / "file.npz"
    download(f"{server}/whole", path, md5=MD5, page="https://example.org")
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["file.npz"]


@pytest.mark.parametrize(
    ("address", "md5", "part"),
    [
        ("/gone", MD5, "cannot be downloaded"),
        ("/cut", MD5, r"arrived damaged|cannot be downloaded"),
        ("/whole", "0" * 32, "arrived damaged"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(server, tmp_path, address, md5, part):
    with pytest.raises(DataError, match=part) as caught:
        download(server + address, tmp_path / "file.npz", md5=md5, page="https://example.org/page")
    assert "by hand from https://example.org/page" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_medmnist_without_network_says_what_to_do_by_hand(no_network, tmp_path):
    with pytest.raises(DataError) as caught:
        fetch_medmnist(tmp_path, size=28)
    message = str(caught.value)
    assert "https://zenodo.org/records/10519652" in message
    assert f"hilum scan {tmp_path}/pneumoniamnist.npz" in message
    assert "\n" not in message


def test_kaggle_without_network_says_what_to_do_by_hand(no_network, tmp_path, capfd):
    pytest.importorskip("kagglehub", reason="the extra fetch is not installed")
    with pytest.raises(DataError) as caught:
        fetch_kaggle(tmp_path / "data")
    message = str(caught.value)
    assert "https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia" in message
    assert f"hilum scan {tmp_path}/data" in message
    assert "\n" not in message
    assert capfd.readouterr().out == ""


def test_kaggle_without_its_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"pip install 'hilum\[fetch\]', or download it by hand"):
        fetch_kaggle(tmp_path)
