"""`hilum predict` from outside, with a small bundle and everything that can be wrong with its inputs."""

import csv
import io
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from hilum.bundle import OperatingPointSpec
from hilum.cli import app
from hilum.data.phantom import draw_phantom
from hilum.errors import HilumError
from hilum.inference.familiarity import fit_familiarity
from hilum.types import Label
from tests.brightness_bundle import SIZE, THRESHOLD, compute_features, write_brightness_bundle

from .conftest import HILUM
from .test_bad_input import expect_one_sentence

pytestmark = pytest.mark.e2e

POINTS = {"youden": 0.4, "sensitivity-99": 0.1, "specificity-95": 0.2}  # as of the bundle in the package
HEADER = "path,status,probability,logit,prediction,threshold,message,familiarity"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_brightness_bundle(tmp_path_factory.mktemp("bundle") / "brightness").folder


@pytest.fixture
def predict(hilum, bundle):
    def run(*arguments, **options):
        return hilum("predict", *arguments, "--model", bundle, **options)

    return run


@pytest.fixture
def refuse(bundle):
    """Run the command in this process, which is quicker, and return the sentence that it stops with."""

    def run(*arguments):
        with pytest.raises(HilumError) as caught:
            app(["predict", *map(str, arguments), "--model", str(bundle)], standalone_mode=False)
        return str(caught.value)

    return run


@pytest.fixture
def start_predict(bundle):
    """Start `hilum predict` and return the running process."""

    def start(*arguments, **options):
        return subprocess.Popen(
            [HILUM, "predict", *map(str, arguments), "--model", bundle],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start


def draw(path, level, *, size=(80, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level).normal(level, 10, size)
    Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "in"
    draw(root / "dark.png", 40)
    draw(root / "bright.jpeg", 220)
    draw(root / "sub" / "bright.bmp", 200)
    return root


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_on_standard_output(predict, folder):
    done = predict(folder / "dark.png", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == HEADER
    rows = read(done.stdout)
    names = ["dark.png", "bright.jpeg", "dark.png", "sub/bright.bmp"]
    assert [row["path"] for row in rows] == [str(folder / name) for name in names]
    assert [row["prediction"] for row in rows] == ["NORMAL", "PNEUMONIA", "NORMAL", "PNEUMONIA"]
    assert {row["status"] for row in rows} == {"ok"}
    assert {float(row["threshold"]) for row in rows} == {THRESHOLD}
    assert rows[0] == rows[2]
    assert "2 PNEUMONIA" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_one_picture_is_scored_as_in_a_batch_and_without_heavy_packages(predict, folder, bundle):
    alone = read(predict(folder / "bright.jpeg").stdout)
    assert alone == [row for row in read(predict(folder).stdout) if row["path"].endswith("bright.jpeg")]
    code = (
        "import sys; from hilum.cli import app; "
        f"app(['predict', {str(folder / 'bright.jpeg')!r}, '--model', {str(bundle)!r}], standalone_mode=False); "
        "heavy = {'torch', 'torchvision', 'lightning', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'pyarrow', "
        "'openvino_telemetry'} & {name for name, module in sys.modules.items() if module is not None}; "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read(done.stdout) == alone


@pytest.mark.parametrize("name", ["specificity-95", "specificity-99"])
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--threshold", "0.05"],
        ["--threshold", "0.9", "--prevalence", "0.2"],
        ["--operating-point", "sensitivity-99"],
        ["--operating-point", "youden", "--prevalence", "0.1"],
    ],
)
def test_no_prediction_contradicts_its_zone(tmp_path, name, options):
    points = {
        key: OperatingPointSpec(threshold=cut, rule="", chosen_on="val", n=9, sensitivity=1, specificity=1)
        for key, cut in (POINTS if name in POINTS else POINTS | {name: 0.3}).items()
    }
    bundle = write_brightness_bundle(tmp_path / "bundle", points=points).folder
    for level in range(80, 221, 8):
        draw(tmp_path / "in" / f"{level}.png", level)
    table = tmp_path / "table.csv"
    arguments = ["predict", tmp_path / "in", "--model", bundle, "--out", table, "--grey-zone", *options]
    app(list(map(str, arguments)), standalone_mode=False)
    rows = read(table.read_text(encoding="utf-8"))
    found = {(row["prediction"], row["zone"]) for row in rows}
    assert {prediction for prediction, _ in found} == {"NORMAL", "PNEUMONIA"}
    assert not found & {("NORMAL", "ruled_in"), ("PNEUMONIA", "ruled_out")}
    assert found >= {("NORMAL", "ruled_out"), ("PNEUMONIA", "ruled_in")}


def test_globs_zips_and_a_list_on_stdin(predict, folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "dark.png", "x/dark.png")
    done = predict(folder / "**" / "*.bmp", tmp_path / "a.zip", "-", input=f"{folder}/bright.jpeg\n{folder}/sub\n")
    assert done.returncode == 0, done.stderr
    assert [(row["path"], row["prediction"]) for row in read(done.stdout)] == [
        (f"{folder}/sub/bright.bmp", "PNEUMONIA"),
        (f"{tmp_path}/a.zip!/x/dark.png", "NORMAL"),
        (f"{folder}/bright.jpeg", "PNEUMONIA"),
        (f"{folder}/sub/bright.bmp", "PNEUMONIA"),
    ]


def test_the_three_formats_say_the_same(predict, folder, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        done = predict(folder, "--out", tmp_path / f"p.{suffix}")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(tmp_path / f"p.{suffix}")
    table = read((tmp_path / "p.csv").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == pq.read_table(tmp_path / "p.parquet").to_pylist()
    for row, line in zip(table, lines, strict=True):
        assert {key: "" if value is None else str(value) for key, value in line.items()} == row
    written = sorted(path.name for path in tmp_path.iterdir())
    # The hidden files say what made the rows, for --resume.
    hidden = [f".p.{suffix}.origin.json" for suffix in ("csv", "jsonl", "parquet")]
    assert written == [*hidden, "in", "p.csv", "p.jsonl", "p.parquet"]


def write_png_header(path, side):
    """Write a PNG that claims `side` x `side` pixels of one bit, all black, and is a few kilobytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = zlib.compress(b"\0" * (side * (side // 8 + 1)), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def test_everything_that_can_be_wrong_with_a_picture(predict, folder, tmp_path):
    good = (folder / "bright.jpeg").read_bytes()
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "empty.png").write_bytes(b"")
    write_png_header(folder / "bomb.png", 20_000)
    frames = [Image.new("L", (64, 64), value) for value in (0, 255)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "report.jpg").write_bytes(b"%PDF-1.7\n")
    (folder / "x.jpg").mkdir()
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        for name in ("../../slip.jpeg", "/slip.jpeg", "inside.jpeg"):
            archive.writestr(name, good)
        archive.writestr("cut.jpg", good[:100])
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    out, maps = tmp_path / "out" / "p.csv", tmp_path / "out" / "maps"
    done = predict(folder, tmp_path / "nowhere", tmp_path / "slip.zip", "--out", out, "--heatmaps", maps)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    rows = {row["path"].removeprefix(f"{tmp_path}/"): row for row in read(out.read_text(encoding="utf-8"))}
    statuses = {name: row["status"] for name, row in rows.items()}
    assert statuses == {
        "in/bomb.png": "unsupported",
        "in/bright.jpeg": "ok",
        "in/cut.jpg": "unreadable",
        "in/dark.png": "ok",
        "in/empty.png": "unreadable",
        "in/gone.png": "unreadable",
        "in/moving.gif": "unsupported",
        "in/pipe.png": "unreadable",
        "in/report.jpg": "unsupported",
        "in/sub/bright.bmp": "ok",
        "in/sub/circle": "unreadable",
        "in/x.jpg": "unreadable",
        "nowhere": "unreadable",
        "slip.zip!/cut.jpg": "unreadable",
        "slip.zip!/inside.jpeg": "ok",
        "slip.zip!/slip.jpeg": "ok",
        "slip.zip!/slip.jpeg (2)": "ok",
    }
    for row in rows.values():
        assert bool(row["message"]) == (row["status"] != "ok")
        assert bool(row["prediction"]) == bool(row["probability"]) == bool(row["logit"]) == (row["status"] == "ok")
    assert "11 without" not in done.stderr
    written = {path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()}
    new = {path.relative_to(tmp_path) for path in written if str(path) not in before}
    assert {str(path.parent) for path in new} == {"out", "out/maps"}
    assert len(new) == 1 + 1 + 6  # the table, what made it, and heat maps
    assert not (tmp_path.parent / "slip.jpeg").exists()


def test_when_nothing_can_be_started(predict, refuse, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zip").write_bytes(b"")
    for names, words in [
        (["nowhere.png"], "does not exist"),
        (["empty"], "no pictures"),
        (["*.webp"], "Nothing matches"),
        (["a.zip"], "zip"),
        (["nowhere.png", "empty"], "other inputs"),
    ]:
        assert words in refuse(*(tmp_path / name for name in names), "--out", tmp_path / "p.csv")
    expect_one_sentence(predict("-", "--out", tmp_path / "p.csv", input=""), 2, "standard input is empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "empty"]


def test_a_bundle_that_was_altered_or_is_none(hilum, bundle, folder, tmp_path):
    shutil.copytree(bundle, tmp_path / "b")
    with (tmp_path / "b" / "network.bin").open("ab") as stream:
        stream.write(b"\0")
    out = tmp_path / "p.csv"
    expect_one_sentence(hilum("predict", folder, "--model", tmp_path / "b", "--out", out), 2, "network.bin", "SHA-256")
    expect_one_sentence(hilum("predict", folder, "--model", tmp_path / "nowhere", "--out", out), 2, "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "in"]


def test_options_that_do_not_fit(predict, refuse, folder, tmp_path):
    for arguments, words in [
        (["--operating-point", "best"], "balanced, sensitive"),
        (["--threshold", "1.5"], "between 0 and 1"),
        (["--prevalence", "0"], "prevalence"),
        (["--out", tmp_path / "p.xlsx"], ".csv, .jsonl, .parquet"),
        (["--resume"], "--out"),
        (["--heatmaps", folder], "another folder"),
        (["--heatmaps", folder / "dark.png"], "is a file"),
    ]:
        assert words in refuse(folder, *arguments)
    done = predict(folder, "--threshold", "0.3", "--operating-point", "balanced")
    expect_one_sentence(done, 2, "either")


def test_thresholds_and_prevalence(predict, folder):
    plain = read(predict(folder).stdout)
    strict = read(predict(folder, "--threshold", "1").stdout)
    assert {row["prediction"] for row in strict} == {"NORMAL"}
    assert {row["threshold"] for row in strict} == {"1.0"}
    rare = read(predict(folder, "--prevalence", "0.01").stdout)
    assert [row["prediction"] for row in rare] == [row["prediction"] for row in plain]
    assert [row["logit"] for row in rare] == [row["logit"] for row in plain]
    assert all(float(a["probability"]) < float(b["probability"]) for a, b in zip(rare, plain, strict=True))


def test_pictures_that_are_no_radiographs(hilum, tmp_path):
    rng = np.random.default_rng(1)
    phantoms = [draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=SIZE) for _ in range(40)]
    features = compute_features(np.stack(phantoms))
    bundle = write_brightness_bundle(
        tmp_path / "bundle", familiarity=fit_familiarity(features[:30], features[30:]), locator=True
    ).folder
    data = tmp_path / "data"
    data.mkdir()
    for name, pixels in [("chest.png", phantoms[0]), ("inverted.png", 255 - phantoms[0])]:
        Image.fromarray(pixels).save(data / name)
    done = hilum("predict", data, "--model", bundle, "--heatmaps", tmp_path / "maps")
    assert done.returncode == 1, done.stderr
    chest, inverted = read(done.stdout)
    assert chest["status"] == "ok"
    assert inverted["status"] == "not_chest_xray"
    assert "inverted" in inverted["message"]
    assert (inverted["prediction"], inverted["probability"]) == ("", "")
    assert len(list((tmp_path / "maps").iterdir())) == 1
    done = hilum("predict", data, "--model", bundle, "--no-gate")
    assert done.returncode == 0, done.stderr
    assert [row["prediction"] for row in read(done.stdout)][1] == "PNEUMONIA"
    assert [row["status"] for row in read(done.stdout)] == ["ok", "not_chest_xray"]
    done = hilum("predict", data, "--model", bundle, "--fix")
    assert done.returncode == 0, done.stderr
    chest, inverted = read(done.stdout)
    assert float(inverted["logit"]) == pytest.approx(float(chest["logit"]), abs=1e-4)
    assert 0 < float(chest["familiarity"]) <= 1
    assert inverted["message"].startswith("The file is inverted; it was scored")
    done = hilum("predict", data, "--model", bundle, "--strict", "--no-gate")
    assert done.returncode == 2
    assert "--strict" in done.stderr


def test_heat_maps_are_not_scored_in_turn(predict, folder):
    maps = folder / "sub" / "maps"
    for given in (folder, folder, folder / "**" / "*.*"):
        done = predict(given, "--heatmaps", maps)
        assert done.returncode == 0, done.stderr
        assert len(read(done.stdout)) == 3
        assert len(list(maps.iterdir())) == 3


def test_going_on_after_a_kill(predict, start_predict, folder, tmp_path):
    """Killed at any point, the table is completed by --resume to what an undisturbed run gives."""
    many = tmp_path / "list.txt"
    many.write_text(f"{folder}/dark.png\n{folder}/nowhere.png\n{folder}/bright.jpeg\n" * 3000, encoding="utf-8")
    whole, out = tmp_path / "whole.csv", tmp_path / "p.csv"
    with many.open() as stream:
        assert predict("-", "--out", whole, stdin=stream).returncode == 1
    partial = tmp_path / "p.csv.partial"
    with many.open() as stream:
        process = start_predict("-", "--out", out, stdin=stream)
        while not partial.exists() or partial.stat().st_size < 10_000:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert not out.exists()
    done_before = partial.read_bytes()
    with many.open() as stream:
        expect_one_sentence(predict("-", "--out", out, stdin=stream), 2, "--resume")
    assert partial.read_bytes() == done_before
    with many.open() as stream:
        done = predict("-", "--out", out, "--resume", stdin=stream)
    assert done.returncode == 1, done.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert out.read_bytes().startswith(done_before[: done_before.rindex(b"\n")])
    assert not partial.exists()
    with many.open() as stream:
        assert predict("-", "--out", out, "--resume", stdin=stream).returncode == 1
    assert out.read_bytes() == whole.read_bytes()


def test_an_interruption_says_how_to_go_on(start_predict, folder, tmp_path):
    out = tmp_path / "p.jsonl"
    process = start_predict("-", "--out", out, stdin=subprocess.PIPE)
    process.stdin.write(f"{folder}/dark.png\n" * 1000)
    process.stdin.flush()  # and the list goes on for ever
    partial = tmp_path / "p.jsonl.partial"
    while not partial.exists() or partial.stat().st_size == 0:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not out.exists()
    assert json.loads(partial.read_text(encoding="utf-8").splitlines()[0])["prediction"] == "NORMAL"


def test_a_reader_that_has_enough(folder, start_predict):
    process = start_predict(*[folder] * 3000)
    assert process.stdout.readline().strip() == HEADER
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert errors == ""


def test_a_full_disk(predict, folder, tmp_path):
    def restrict():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = predict(*[folder] * 30, "--out", tmp_path / "out" / "p.csv", preexec_fn=restrict)
    expect_one_sentence(done, 2, "full")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".p.csv.origin.json", "p.csv.partial"]
    done = predict(*[folder] * 30, "--out", tmp_path / "out" / "p.csv", "--resume")
    assert done.returncode == 0, done.stderr
    assert len(read((tmp_path / "out" / "p.csv").read_text(encoding="utf-8"))) == 90
