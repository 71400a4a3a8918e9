import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hilum.errors import ImageReadError
from hilum.inference.archives import MAX_MEMBER_BYTES, ZipMember, make_safe
from hilum.inference.inputs import Inputs, printable
from hilum.inference.preparation import prepare_picture
from hilum.preprocess import PreprocessSpec
from hilum.types import Status

pytestmark = pytest.mark.unit


def names(*inputs, **options):
    return [item.name for item in Inputs([str(name) for name in inputs], **options)]


def problems(*inputs, **options):
    items = Inputs([str(name) for name in inputs], **options)
    return {item.name: str(item.content) for item in items if isinstance(item.content, ImageReadError)}


def write_zip(path, members, *, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def folder(tmp_path, draw_picture):
    """b.png, a.jpeg, sub/c.JPG and what is no picture."""
    root = tmp_path / "in"
    draw_picture(root / "b.png")
    draw_picture(root / "a.jpeg")
    draw_picture(root / "sub" / "c.JPG")
    (root / "notes.txt").write_text("BM is how a bitmap begins", encoding="utf-8")
    (root / ".hidden.png").write_bytes(b"")
    (root / ".cache").mkdir()
    draw_picture(root / ".cache" / "d.png")
    (root / "Thumbs.db").write_bytes(b"\xff\xd8\xff")
    return root


def test_inputs_keep_their_order_and_folders_are_sorted(folder):
    inside = [f"{folder}/a.jpeg", f"{folder}/b.png", f"{folder}/sub/c.JPG"]
    assert names(folder) == inside
    assert names(folder / "b.png", folder, folder / "a.jpeg") == [inside[1], *inside, inside[0]]


def test_files_that_are_no_pictures_are_counted(folder):
    inputs = Inputs([str(folder)])
    assert len(list(inputs)) == 3
    assert inputs.skipped == 3
    assert len(list(inputs)) == 3
    assert inputs.skipped == 3


def test_content_makes_a_picture_where_the_name_does_not(folder, draw_picture):
    draw_picture(folder / "x.png").rename(folder / "IM0001")
    (folder / "ct.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "moving.gif").write_bytes(b"GIF89a")
    assert {Path(name).name for name in names(folder)} >= {"IM0001", "ct.dcm", "moving.gif"}


def test_a_named_file_is_read_whatever_it_is(folder):
    assert names(folder / "notes.txt", folder / ".hidden.png") == [f"{folder}/notes.txt", f"{folder}/.hidden.png"]


def test_what_is_missing_is_said_and_concerns_the_input(folder):
    items = list(Inputs([str(folder / "nowhere.png"), str(folder / "b.png"), str(folder / "*.webp")]))
    assert [item.is_input for item in items] == [True, False, True]
    assert "does not exist" in str(items[0].content)
    assert "Nothing matches" in str(items[2].content)


def test_an_empty_folder_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    (item,) = Inputs([str(tmp_path / "empty")])
    assert item.is_input
    assert "holds no pictures" in str(item.content)


def test_a_folder_named_like_a_picture(folder, draw_picture):
    (folder / "x.jpg").mkdir()
    draw_picture(folder / "y.jpg" / "inside.png")
    assert list(problems(folder)) == [f"{folder}/x.jpg"]
    assert f"{folder}/y.jpg/inside.png" in names(folder)


def test_links_in_a_circle_and_links_to_nothing(folder):
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self.png").symlink_to("self.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    found = names(folder)
    assert len(found) == 3 + 3
    assert "not followed" in problems(folder)[f"{folder}/sub/up"]
    (item,) = Inputs([str(folder / "gone.png")])
    assert "leads nowhere" in str(item.content)
    (item,) = Inputs([str(folder / "self.png")])
    assert isinstance(item.content, ImageReadError)


def test_a_link_to_another_folder_is_followed(folder, tmp_path, draw_picture):
    draw_picture(tmp_path / "elsewhere" / "e.png")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert names(folder)[2:] == [f"{folder}/link/e.png", f"{folder}/sub/c.JPG"]


def test_a_folder_may_be_left_out(folder):
    assert names(folder, skip=folder / "sub") == [f"{folder}/a.jpeg", f"{folder}/b.png"]
    assert len(names(folder, skip=folder / "not there")) == 3


def test_a_deep_tree(tmp_path, draw_picture):
    deepest = tmp_path / Path(*["d"] * 1200)
    current = tmp_path
    for part in deepest.relative_to(tmp_path).parts:
        current = current / part
        current.mkdir()
    draw_picture(deepest / "x.png")
    assert names(tmp_path) == [str(deepest / "x.png")]
    # pytest clears old folders by recursion, which a tree as deep as this one would break.
    (deepest / "x.png").unlink()
    while current != tmp_path:
        current.rmdir()
        current = current.parent


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["b.png"]),
        ("*", ["Thumbs.db", "a.jpeg", "b.png", "notes.txt", "sub/c.JPG"]),
        ("[ab].*", ["a.jpeg", "b.png"]),
        ("*/*.JPG", ["sub/c.JPG"]),
        ("**/*.[jJ]*", ["a.jpeg", "sub/c.JPG"]),
        ("**/**/c.JPG", ["sub/c.JPG"]),
        ("**", ["a.jpeg", "b.png", "sub/c.JPG"]),
        ("s?b/c.JPG", ["sub/c.JPG"]),
        (".h*", [".hidden.png"]),
    ],
)
def test_globs(folder, pattern, found, monkeypatch):
    assert names(folder / pattern) == [f"{folder}/{name}" for name in found]
    monkeypatch.chdir(folder)
    assert names(pattern) == found


def test_globs_do_not_go_in_circles(folder):
    (folder / "sub" / "up").symlink_to(folder)
    assert names(folder / "**" / "*.JPG") == [f"{folder}/sub/c.JPG"]


def test_a_file_may_have_the_name_of_a_glob(tmp_path, draw_picture):
    draw_picture(tmp_path / "scan [1].png")
    assert names(tmp_path / "scan [1].png") == [f"{tmp_path}/scan [1].png"]


def test_a_list_on_stdin(folder):
    lines = f"{folder}/b.png\r\n\n{folder}/sub\n{folder}/nowhere.png\n{folder}/*.png".encode()
    items = list(Inputs([str(folder / "a.jpeg"), "-"], stdin=io.BytesIO(lines)))
    assert [Path(item.name).name for item in items] == ["a.jpeg", "b.png", "c.JPG", "nowhere.png", "*.png"]
    assert [isinstance(item.content, ImageReadError) for item in items] == [False, False, False, True, True]
    assert not any(item.is_input for item in items)
    (item,) = Inputs(["-"], stdin=io.BytesIO(b""))
    assert item.is_input


def test_names_that_are_no_text(tmp_path, draw_picture):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.png")
    draw_picture(Path(odd))
    assert names(tmp_path) == [f"{tmp_path}/caf\\xe9\\x0a.png"]
    assert "no path" in problems("a\0b.png")["a\\x00b.png"]
    assert printable("größe 肺 .png") == "größe 肺 .png"


def test_a_zip_is_read_by_name_and_never_leaves_its_own_names(tmp_path, draw_picture):
    content = draw_picture(tmp_path / "x.png").read_bytes()
    members = [
        ("sub/b.png", content),
        ("../../etc/a.png", content),
        ("/etc/a.png", content),
        ("C:\\etc\\..\\w.png", content),
        ("README", b"no picture"),
        ("scan", content),
        ("__MACOSX/._b.png", b""),
    ]
    path = write_zip(tmp_path / "a.zip", members)
    inputs = Inputs([str(path)])
    found = {item.name.removeprefix(f"{path}!/"): item.content for item in inputs}
    assert list(found) == ["etc/a.png", "etc/a.png (2)", "etc/w.png", "scan", "sub/b.png"]
    assert {member.read() for member in found.values()} == {content}
    assert inputs.skipped == 2
    assert make_safe("../..") == "unnamed"


def test_a_zip_is_known_by_its_content_and_closed_at_the_end(tmp_path, draw_picture):
    content = draw_picture(tmp_path / "x.png").read_bytes()
    path = write_zip(tmp_path / "a.zip", [("x.png", content)]).rename(tmp_path / "study")
    (item,) = Inputs([str(path)])
    assert item.content.read() == content
    archive = item.content.archive
    assert archive.fp is not None
    del item
    stream = archive.fp
    del archive
    assert stream.closed


def test_zips_that_are_none(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "b.zip").write_bytes(b"")
    write_zip(tmp_path / "c.zip", [])
    write_zip(tmp_path / "d.npz", [("train_images.npy", b"")])
    for name, words in [("a", "zip"), ("b", "zip"), ("c", "no pictures")]:
        (item,) = Inputs([str(tmp_path / f"{name}.zip")])
        assert words in str(item.content)
        assert item.is_input
    assert "#test_images/0" in problems(tmp_path / "d.npz")[f"{tmp_path}/d.npz"]
    assert names(tmp_path / "d.npz#test_images/3") == [f"{tmp_path}/d.npz#test_images/3"]


def test_members_that_are_not_unpacked(tmp_path):
    bomb = write_zip(tmp_path / "bomb.zip", [("x.png", b"\0" * 1000)])
    (item,) = Inputs([str(bomb)])
    item.content.info.file_size = MAX_MEMBER_BYTES + 1
    with pytest.raises(ImageReadError, match="bytes unpacked") as caught:
        item.content.read()
    assert caught.value.status is Status.UNSUPPORTED

    other = write_zip(tmp_path / "other.zip", [("x.png", b"\0" * 1000)], method=zipfile.ZIP_BZIP2)
    (item,) = Inputs([str(other)])
    with pytest.raises(ImageReadError, match="deflate") as caught:
        item.content.read()
    assert caught.value.status is Status.UNSUPPORTED


def test_a_member_is_not_unpacked_beyond_the_size_it_claims(tmp_path):
    path = write_zip(tmp_path / "liar.zip", [("x.png", b"\0" * 5_000_000)])
    raw = path.read_bytes()
    claimed = (5_000_000).to_bytes(4, "little")
    path.write_bytes(raw.replace(claimed, (1000).to_bytes(4, "little")))
    (item,) = Inputs([str(path)])
    with pytest.raises(ImageReadError, match="cannot be unpacked"):
        item.content.read()


def test_a_damaged_member(tmp_path, draw_picture):
    content = draw_picture(tmp_path / "x.png").read_bytes()
    path = write_zip(tmp_path / "a.zip", [("x.png", content)], method=zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(raw)
    (item,) = Inputs([str(path)])
    assert isinstance(item.content, ZipMember)
    with pytest.raises(ImageReadError, match="CRC"):
        item.content.read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permissions(folder):
    (folder / "sub").chmod(0)
    try:
        assert names(folder) == [f"{folder}/a.jpeg", f"{folder}/b.png", f"{folder}/sub"]
        assert "cannot be read" in problems(folder)[f"{folder}/sub"]
        assert problems(folder / "sub" / "c.JPG")
    finally:
        (folder / "sub").chmod(0o755)


def pack(path, names=("a.png", "b.png", "c.png")):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"\x89PNG\r\n\x1a\n" + bytes([len(name)] * 200))


def test_members_that_the_last_record_promises_and_are_not_there_are_said(tmp_path):
    path = tmp_path / "x.zip"
    pack(path)
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    content[end + 8 : end + 12] = struct.pack("<HH", 5, 5)
    path.write_bytes(bytes(content))
    items = list(Inputs([str(path)]))
    assert len(items) == 4
    assert "counts 5 members, and 3 are found" in str(items[-1].content)


def test_a_member_without_a_name_has_a_row(tmp_path):
    path = tmp_path / "x.zip"
    pack(path, ("a.png", "zzzzz"))
    path.write_bytes(path.read_bytes().replace(b"zzzzz", b"\x00\x00\x00\x00\x00"))
    items = list(Inputs([str(path)]))
    assert [item.name.rpartition("!/")[2] for item in items][-1] == "a.png"
    assert len(items) == 2


def test_overlapping_members_are_refused(tmp_path):
    path = tmp_path / "x.zip"
    pack(path)
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\x01\x02")
    content[place + 20 : place + 24] = struct.pack("<I", 10_000_000)
    path.write_bytes(bytes(content))
    (item,) = Inputs([str(path)])
    assert "overlap" in str(item.content)


def test_a_pipe_named_like_an_archive_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.zip")
    (item,) = Inputs([str(tmp_path / "x.zip")])
    assert "no regular file" in str(item.content)


def test_a_picture_of_an_array_may_be_named(tmp_path, rng):
    path = tmp_path / "x.npz"
    np.savez(path, test_images=rng.integers(0, 256, (2, 30, 30), dtype=np.uint8))
    (item,) = Inputs([f"{path}#test_images/1"])
    assert item.content == Path(f"{path}#test_images/1")
    assert prepare_picture(item, PreprocessSpec(size=32)).pixels is not None
    (item,) = Inputs([f"{path}#test_images/7"])
    assert "holds 2 pictures" in prepare_picture(item, PreprocessSpec(size=32)).message
