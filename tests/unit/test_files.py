import errno
import json
import os

import pytest

from hilum.errors import HilumError
from hilum.files import (
    atomic_folder,
    atomic_path,
    hold,
    new_folder,
    parse_yaml,
    read_json,
    read_text,
    sha256_bytes,
    sha256_file,
    write_json,
    write_text,
)

pytestmark = pytest.mark.unit


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "result.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="full"), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half", encoding="utf-8")
        raise OSError(errno.ENOSPC, "disk full")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_the_temporary_name_keeps_the_suffix_and_the_folder(tmp_path):
    path = tmp_path / "new" / "figure.png"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == path.parent
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"


def test_an_error_names_what_was_asked_for(tmp_path):
    (tmp_path / "file").touch()
    wanted = tmp_path / "file" / "result.txt"
    for opened in (atomic_path, atomic_folder):
        with pytest.raises(OSError, match=r"Not a directory|File exists") as caught, opened(wanted):
            pass
        assert caught.value.filename == str(wanted)
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.txt") as temporary:  # noqa: PT012
        temporary.unlink()
        temporary.read_bytes()
    assert caught.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "another").read_bytes()
    assert caught.value.filename == str(tmp_path / "another")


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_json_round_trip(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None, "é"]})
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": [1.5, None, "é"]}


@pytest.mark.parametrize("text", ["{", json.dumps([1])])
def test_what_is_no_json_object_is_named(text, tmp_path):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(HilumError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(HilumError, match="missing"):
        read_json(tmp_path / "b.json")


def test_hashes_agree(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f") == sha256_bytes(b"abc")
    assert sha256_bytes(b"abc").startswith("ba7816bf")  # FIPS 180-2, appendix B.1


def test_a_folder_with_a_result_is_refused(tmp_path):
    assert new_folder(tmp_path / "a", marker="m.json").is_dir()
    (tmp_path / "a" / "m.json").touch()
    with pytest.raises(HilumError, match="already holds"):
        new_folder(tmp_path / "a", marker="m.json")
    (tmp_path / "file").touch()
    with pytest.raises(HilumError, match="is a file"):
        new_folder(tmp_path / "file", marker="m.json")


@pytest.mark.parametrize("text", ["seed: 2024-02-30", "[" * 5000 + "]" * 5000, "a: [1", "a: !!python/object:os.x {}"])
def test_yaml_that_is_none_is_a_value_error_in_one_line(text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ['{"a": ' * 20_000, '{"a": 1' + "0" * 5000 + "}", "{", "[1]", "\ufeff{}"])
def test_json_that_is_none_is_one_sentence(tmp_path, text):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(HilumError, match=r"x\.json") as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_a_pipe_is_not_read_as_text(tmp_path):
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(HilumError, match="no regular file"):
        read_text(tmp_path / "x.yaml")


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    second = hold(tmp_path, what="the run")
    with hold(tmp_path, what="the run"), pytest.raises(HilumError, match="Another process works on the run"):
        second.__enter__()
    with hold(tmp_path, what="the run"):
        pass
