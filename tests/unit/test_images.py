import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hilum.data.images import MAX_PIXELS, read_gray, read_picture, recognise
from hilum.errors import ImageReadError
from hilum.types import ImageMeta, Status, UInt8Array

pytestmark = pytest.mark.unit

RAMP = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))  # (60, 120)


def encode(image, kind, **options):
    stream = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(height=90, width=120):
    return np.random.default_rng(1).integers(0, 256, (height, width), dtype=np.uint8)


def with_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(RAMP, kind, exif=exif)


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of_size(width, height, *, colour_type=0):
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0"))
        + png_chunk(b"IEND", b"")
    )


def tiff(pixels, *, photometric=1, sample_format=None):
    """Encode (h, w) pixels as an uncompressed little-endian TIFF, with tags that Pillow does not write."""
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape
    kind = sample_format or {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, 8 * pixels.itemsize), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, pixels.nbytes), (339, 3, kind),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
    return b"II*\0" + struct.pack("<I", 8 + pixels.nbytes) + pixels.tobytes() + directory + bytes(4)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("L", "P", "RGB", "LA", "RGBA", "I;16")),
        *(("TIFF", mode) for mode in ("L", "P", "RGB", "LA", "PA", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")),
        *(("BMP", mode) for mode in ("L", "RGB")),
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    ],
)
def test_gray_is_the_same_from_every_format_and_mode(kind, mode):
    image = Image.fromarray(RAMP.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(RAMP).convert(mode)
    gray, meta = read_gray(encode(image, kind))
    assert gray.dtype == np.uint8
    tolerance = 2 if kind == "JPEG" else 0
    np.testing.assert_allclose(gray.astype(int), RAMP.astype(int), atol=tolerance)
    assert meta == ImageMeta(width=120, height=60, mode=mode, format=kind)


def test_one_bit_pictures_are_black_and_white():
    gray, meta = read_gray(encode(Image.fromarray(RAMP).convert("1", dither=Image.Dither.NONE), "PNG"))
    np.testing.assert_array_equal(gray, np.where(RAMP >= 128, 255, 0))
    assert meta.mode == "1"


def test_colour_becomes_luma_of_bt601():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    gray, _ = read_gray(encode(colours, "PNG"))
    np.testing.assert_allclose(gray[0].astype(float), [0.299 * 255, 0.587 * 255, 0.114 * 255], atol=1)


@pytest.mark.parametrize(
    "content",
    [
        encode(Image.merge("LA", [Image.fromarray(RAMP), Image.new("L", (120, 60), 128)]), "PNG"),
        encode(Image.merge("RGBA", [Image.fromarray(RAMP)] * 3 + [Image.new("L", (120, 60), 128)]), "PNG"),
        encode(Image.merge("RGBA", [Image.fromarray(RAMP)] * 3 + [Image.new("L", (120, 60), 128)]), "TIFF"),
        encode(Image.fromarray(RAMP).convert("P"), "PNG", transparency=bytes([128] * 256)),
    ],
)
def test_half_transparent_pictures_are_half_as_bright(content):
    gray, _ = read_gray(content)
    np.testing.assert_allclose(gray.astype(float), RAMP * (128 / 255), atol=1)


def test_a_transparent_gray_value_becomes_black():
    gray, _ = read_gray(encode(RAMP, "PNG", transparency=100))
    np.testing.assert_array_equal(gray, np.where(RAMP == 100, 0, RAMP))


@pytest.mark.parametrize(
    ("largest", "full_scale"), [(200, 255), (1000, 1023), (4000, 4095), (16000, 16383), (60000, 65535)]
)
def test_deep_pixels_are_scaled_by_the_bits_that_hold_the_largest(largest, full_scale):
    deep = np.linspace(0, largest, 120).round().astype(np.uint16)[None].repeat(4, axis=0)
    expected = np.rint(deep * (255 / full_scale))
    for content in (encode(deep, "PNG"), encode(deep, "TIFF"), tiff(deep), tiff(deep.astype(np.uint32))):
        np.testing.assert_array_equal(read_gray(content)[0], expected)


def test_deep_pixels_with_white_as_zero_are_turned_around():
    deep = (RAMP.astype(np.uint16) * 257)[:4]
    np.testing.assert_array_equal(read_gray(tiff(deep, photometric=0))[0], 255 - RAMP[:4])
    np.testing.assert_array_equal(read_gray(tiff(RAMP[:4], photometric=0))[0], 255 - RAMP[:4])


def test_floating_point_pixels_up_to_one_have_full_scale_one():
    unit = np.linspace(0, 1, 256, dtype=np.float32)[None]
    np.testing.assert_array_equal(read_gray(tiff(unit))[0][0], np.arange(256))


@pytest.mark.parametrize(
    ("pixels", "part"),
    [
        (np.array([[-5, 10]], dtype=np.int16), "from -5 to 10"),
        (np.array([[0, 70_000]], dtype=np.uint32), "65,535"),
        (np.array([[np.nan, 1]], dtype=np.float32), "finite"),
    ],
)
def test_values_that_have_no_gray_are_unsupported(pixels, part):
    with pytest.raises(ImageReadError, match=part) as caught:
        read_gray(tiff(pixels))
    assert caught.value.status is Status.UNSUPPORTED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind, orientation):
    upright = RAMP.astype(int)
    expected = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, -1),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright),
    }[orientation]
    gray, meta = read_gray(with_orientation(kind, orientation))
    np.testing.assert_allclose(gray.astype(int), expected, atol=2)
    assert (meta.height, meta.width) == expected.shape


def test_a_large_jpeg_is_decoded_small_and_tells_its_own_size():
    large = np.asarray(Image.fromarray(RAMP).resize((1000, 900)))
    exif = Image.Exif()
    exif[0x0112] = 6
    gray, meta = read_gray(encode(large, "JPEG", exif=exif), at_least=224)
    assert gray.shape == (250, 225)
    assert (meta.width, meta.height) == (900, 1000)
    full, _ = read_gray(encode(large, "JPEG"))
    assert full.shape == (900, 1000)
    assert abs(full.mean() - gray.mean()) < 1


def test_asking_for_more_than_there_is_changes_nothing():
    content = encode(noise(), "JPEG")
    np.testing.assert_array_equal(read_gray(content, at_least=224)[0], read_gray(content)[0])


def test_gray_is_what_pillow_makes_of_a_colour_jpeg():
    colours = np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    content = encode(colours, "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    np.testing.assert_array_equal(read_gray(content)[0], expected)
    np.testing.assert_array_equal(read_gray(content, at_least=40)[0], expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.99])
def test_a_truncated_file_is_unreadable(kind, share):
    content = encode(noise(), kind)
    with pytest.raises(ImageReadError, match=f"cannot be decoded as {kind}") as caught:
        read_gray(content[: int(len(content) * share)])
    assert caught.value.status is Status.UNREADABLE


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg"])
def test_a_truncated_compressed_tiff_is_unreadable(compression):
    content = encode(noise(), "TIFF", compression=compression)
    with pytest.raises(ImageReadError, match="cannot be decoded as TIFF"):
        read_gray(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("content", "status", "part"),
    [
        (b"", Status.UNREADABLE, "empty"),
        (bytes(1000), Status.UNREADABLE, "no picture"),
        (b"patient,label\n1,NORMAL\n", Status.UNREADABLE, "no picture"),
        (b"BMI of all patients\n" * 20, Status.UNREADABLE, "cannot be decoded as BMP"),
        (b"%PDF-1.7\n", Status.UNSUPPORTED, "a PDF file"),
        (bytes(128) + b"DICM" + bytes(40), Status.UNSUPPORTED, "DICOM.*not read yet"),
        (encode(RAMP, "GIF"), Status.UNSUPPORTED, "a GIF file"),
        (
            encode(RAMP, "GIF", save_all=True, append_images=[Image.fromarray(255 - RAMP)]),
            Status.UNSUPPORTED,
            "a GIF file",
        ),
        (
            encode(RAMP, "TIFF", save_all=True, append_images=[Image.fromarray(RAMP)]),
            Status.UNSUPPORTED,
            "several frames",
        ),
        (
            encode(RAMP, "PNG", save_all=True, append_images=[Image.fromarray(255 - RAMP)]),
            Status.UNSUPPORTED,
            "several frames",
        ),
        (encode(Image.fromarray(RAMP).convert("RGB").convert("LAB"), "TIFF"), Status.UNSUPPORTED, "LAB"),
        (png_of_size(20_000, 20_000), Status.UNSUPPORTED, "20,000 x 20,000 pixels"),
    ],
)
def test_what_is_no_single_picture_is_told_in_one_sentence(content, status, part):
    with pytest.raises(ImageReadError, match=part) as caught:
        read_gray(content)
    assert caught.value.status is status
    assert str(caught.value).startswith("The file ")
    assert "\n" not in str(caught.value)


def test_the_bound_of_pixels_is_exact():
    with pytest.raises(ImageReadError, match="claims") as caught:
        read_gray(png_of_size(MAX_PIXELS // 2 + 1, 2))
    assert caught.value.status is Status.UNSUPPORTED
    with pytest.raises(ImageReadError, match="cannot be decoded as PNG") as caught:
        read_gray(png_of_size(MAX_PIXELS // 1000, 10))
    assert caught.value.status is Status.UNREADABLE


def test_the_content_decides_and_not_the_suffix(tmp_path):
    path = tmp_path / "really-a-png.jpeg"
    path.write_bytes(encode(RAMP, "PNG"))
    gray, meta = read_gray(path)
    np.testing.assert_array_equal(gray, RAMP)
    assert meta.format == "PNG"
    assert recognise(path.read_bytes()) == "PNG"


def test_a_message_about_a_path_names_it(tmp_path):
    path = tmp_path / "gone.png"
    with pytest.raises(ImageReadError, match=r"gone\.png cannot be read: No such file"):
        read_gray(path)
    with pytest.raises(ImageReadError, match="no regular file"):
        read_gray(tmp_path)


def damaged_exif():
    content = bytearray(with_orientation("JPEG", 6))
    start = content.index(b"Exif\0\0") + 6
    content[start + 8 : start + 10] = b"\xff\x00"  # the directory claims far more entries than there are
    return bytes(content)


def test_damage_that_pillow_only_warns_of_is_an_error_in_a_process_of_its_own(tmp_path):
    path = tmp_path / "damaged.jpeg"
    path.write_bytes(damaged_exif())
    program = "import sys, pathlib; from hilum.data.images import read_gray; read_gray(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert "ImageReadError" in done.stderr
    assert "Corrupt EXIF" in done.stderr
    assert "Warning" not in done.stderr


def test_threads_read_what_one_thread_reads():
    contents = [encode(noise(), "JPEG"), encode(RAMP, "PNG"), damaged_exif(), png_of_size(20_000, 20_000)] * 20

    def outcome(content):
        try:
            return read_gray(content)[0].sum()
        except ImageReadError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, contents)) == [outcome(content) for content in contents]


def test_a_picture_of_an_npz_is_read_by_reference(tmp_path):
    pictures = np.random.default_rng(3).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "pneumoniamnist.npz", train_images=pictures, deep_images=pictures.astype(np.uint16))
    gray, meta = read_picture("pneumoniamnist.npz#train_images/2", root=tmp_path)
    np.testing.assert_array_equal(gray, pictures[2])
    assert meta == ImageMeta(width=28, height=28, mode="L", format="NPZ")
    with pytest.raises(ImageReadError, match="holds 4 pictures"):
        read_picture(tmp_path / "pneumoniamnist.npz#train_images/4")
    with pytest.raises(ImageReadError, match="no array named val_images"):
        read_picture(f"{tmp_path}/pneumoniamnist.npz#val_images/0")
    with pytest.raises(ImageReadError, match="uint16"):
        read_picture(f"{tmp_path}/pneumoniamnist.npz#deep_images/0")


def test_pickled_arrays_are_never_loaded(tmp_path):
    np.savez(tmp_path / "bad.npz", train_images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ImageReadError, match="plain arrays"):
        read_picture(tmp_path / "bad.npz#train_images/0")


def test_an_npz_that_was_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "x.npz"
    for value in (10, 200):
        np.savez(path, train_images=np.full((1, 8, 8), value, dtype=np.uint8))
        assert read_picture(f"{path}#train_images/0")[0].max() == value


def test_a_path_is_read_below_a_root(tmp_path):
    (tmp_path / "a#b.png").write_bytes(encode(RAMP, "PNG"))
    gray, _ = read_picture("a#b.png", root=tmp_path)
    np.testing.assert_array_equal(gray, RAMP)


# ---- damage that decoders keep to themselves, and files that ask for too much ----------------------------------------


def radiograph_like() -> UInt8Array:
    """A smooth picture with detail, so that a JPEG of it has many bytes of entropy-coded data."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:240, :200] / 240
    return np.clip(90 + 80 * np.sin(5 * rows + 3 * columns) + rng.normal(0, 12, rows.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("colour", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_data_end_too_early_is_unreadable_though_pillow_reads_it(colour, progressive):
    content = encode(Image.fromarray(radiograph_like()).convert(colour), "JPEG", progressive=progressive)
    closed = content[: len(content) * 3 // 4] + b"\xff\xd9"
    Image.open(io.BytesIO(closed)).load()  # gray where data are missing, and no word
    with pytest.raises(ImageReadError, match="damaged") as caught:
        read_gray(closed)
    assert caught.value.status is Status.UNREADABLE
    read_gray(content)


def test_zeroed_bytes_in_a_jpeg_are_noticed():
    content = bytearray(encode(radiograph_like(), "JPEG"))
    middle = len(content) // 2
    content[middle : middle + 256] = bytes(256)
    with pytest.raises(ImageReadError, match="cannot be decoded as JPEG: it is damaged"):
        read_gray(bytes(content))


@pytest.mark.parametrize("at_least", [None, 30, 60])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [30, 95])
def test_the_strict_decoder_gives_pillows_pixels(at_least, mode, quality):
    colours = np.dstack([radiograph_like(), np.roll(radiograph_like(), 40, 0), radiograph_like()[::-1]])
    image = Image.fromarray(colours).convert(mode)
    content = encode(image, "JPEG", quality=quality)
    expected = Image.open(io.BytesIO(content))
    if at_least is not None:
        expected.draft(expected.mode, (at_least, at_least))
    gray, meta = read_gray(content, at_least=at_least)
    np.testing.assert_array_equal(gray, np.asarray(expected.convert("L")))
    assert (meta.width, meta.height, meta.note) == (200, 240, "")


def test_bytes_between_segments_harm_nothing_and_are_noted():
    content = encode(radiograph_like(), "JPEG")
    place = content.index(b"\xff\xda")
    odd = content[:place] + b"\x00\x00\x00" + content[place:]
    gray, meta = read_gray(odd)
    np.testing.assert_array_equal(gray, read_gray(content)[0])
    assert "image itself is whole" in meta.note


@settings(max_examples=60)
@given(st.floats(0, 1), st.integers(0, 7))
def test_one_changed_bit_of_a_png_never_changes_pixels_in_silence(place, bit):
    content = encode(radiograph_like(), "PNG")
    changed = bytearray(content)
    changed[min(int(place * len(content)), len(content) - 1)] ^= 1 << bit
    try:
        gray, _ = read_gray(bytes(changed))
    except ImageReadError:
        return
    np.testing.assert_array_equal(gray, read_gray(content)[0])


def test_a_jpeg_of_many_scans_is_refused():
    scans = encode(radiograph_like(), "JPEG") + b"\xff\xda" * 200
    with pytest.raises(ImageReadError, match="scans, more than the 100") as caught:
        read_gray(scans)
    assert caught.value.status is Status.UNSUPPORTED


def test_a_picture_that_would_take_too_much_memory_is_refused_by_its_header():
    with pytest.raises(ImageReadError, match=r"would take about [\d,]+ MiB to decode") as caught:
        read_gray(png_of_size(13_000, 13_000, colour_type=6))
    assert caught.value.status is Status.UNSUPPORTED


def test_a_tiff_of_many_directories_is_refused_at_once():
    pages = [Image.fromarray(RAMP)] * 300
    content = encode(RAMP, "TIFF", save_all=True, append_images=pages)
    with pytest.raises(ImageReadError, match="several frames"):
        read_gray(content)
