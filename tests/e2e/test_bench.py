"""`hilum bench` at toy size: who takes part, and whether the figures hold together, but not how fast anything is."""

import json

import pytest

from hilum.benchmark.contestants import Entry, Kind
from hilum.benchmark.lineup import build_entries, gather_bundles
from hilum.benchmark.measure import Measurement, measure, tune
from hilum.benchmark.summary import summarise
from hilum.benchmark.worker import start_worker
from hilum.bundle import NETWORK_IR, NETWORK_WEIGHTS, Precision, write_bundle
from hilum.cli import app
from hilum.cli.bench import choose_pictures
from hilum.config import Config
from hilum.data.manifest import load_data
from hilum.data.splits import build_splits
from hilum.errors import BundleError, DataError, HilumError
from hilum.preprocess import PreprocessSpec
from tests.brightness_bundle import write_brightness_bundle
from tests.quick_run import write_quick_run

from .test_bad_input import expect_one_sentence

pytestmark = pytest.mark.e2e

SIZE = 64


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_brightness_bundle(tmp_path_factory.mktemp("bundle") / "brightness")


@pytest.fixture(scope="module")
def run(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quick"
    manifest = load_data(phantoms)
    config = Config(preprocess=PreprocessSpec(size=SIZE))
    write_quick_run(folder, manifest, build_splits(manifest, val_fraction=0.3, seed=0), config)
    return folder


def enter(bundle, kind=Kind.HILUM, **changes):
    facts = {"key": "own", "name": "own", "model": bundle.folder, "threads": 1, "temperature": 1.0, "threshold": 0.5}
    return Entry(kind=kind, preprocess=PreprocessSpec(size=SIZE), **(facts | changes))


def copy_as(bundle, precision, folder):
    """The same network, said to be of another precision: exporting one takes too long for a test of the figures."""
    files = {name: bundle.folder / name for name in (NETWORK_IR, NETWORK_WEIGHTS)}
    return write_bundle(folder, bundle.spec.model_copy(update={"precision": precision}), files)


def test_all_contestants_are_measured_on_the_same_pictures(hilum, run, bundle, phantoms, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    others = [copy_as(bundle, precision, tmp_path / precision) for precision in (Precision.BF16, Precision.INT8)]
    models = [argument for other in others for argument in ("--model", other.folder)]
    finished = hilum(
        *("bench", "--data", phantoms / "train", "--run", run, *models),
        *("--json", "--pictures", "8", "--rounds", "2"),
    )
    assert finished.returncode == 0, finished.stderr
    summary = json.loads(finished.stdout)
    rows = {row["key"]: row for row in summary["contestants"]}
    assert list(rows) == ["torch", "onnxruntime", "hilum-fp32", "hilum-bf16", "hilum-int8", "ceiling"]
    assert summary["pictures"]["n"] == 8
    assert summary["cold_start_seconds"]["median"] > 0
    assert summary["notes"] == []
    for row in rows.values():
        assert len(row["pictures_per_second"]["rounds"]) == summary["rounds"] == 2
        assert row["peak_memory_mb"] > 10
        assert (row["share_of_ceiling"] is None) == (row["key"] != "hilum-int8")
    fp32 = rows["hilum-fp32"]
    assert fp32["times_as_fast_as"].keys() == fp32["latency_share_of"].keys() == {"torch", "onnxruntime"}
    # The same network on the same pixels, whichever runtime computes it.
    assert fp32["same_verdicts_as"] == {"torch": 1.0, "onnxruntime": 1.0}
    latency = fp32["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert rows["ceiling"]["latency_ms"] is None
    assert rows["torch"]["setting"].keys() == {"channels_last", "batch", "workers"}


def test_missing_peers_are_left_out_with_a_sentence(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hilum.benchmark.lineup.find_spec", lambda _: None)
    entries, notes = build_entries(None, [bundle], threads=1, scratch=tmp_path)
    assert [entry.key for entry in entries] == ["hilum-fp32", "ceiling"]
    assert [note.split()[0] for note in notes] == ["PyTorch", "ONNX"]
    app(
        ["bench", "--model", str(bundle.folder), "--pictures", "8", "--rounds", "1", "--phantom-size", "64"],
        standalone_mode=False,
    )
    table = capsys.readouterr().out
    assert all(note in table for note in notes)
    assert "| Hilum fp32" in table
    assert "× PyTorch" not in table


def test_without_a_run_the_peers_get_weights_drawn_by_chance(bundle, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    entries, notes = build_entries(None, [bundle], threads=1, scratch=tmp_path)
    assert [entry.key for entry in entries] == ["torch", "onnxruntime", "hilum-fp32", "ceiling"]
    assert any("drawn by chance" in note for note in notes)


def test_a_worker_says_what_failed(bundle, tmp_path):
    with (
        pytest.raises(HilumError, match="own cannot be measured: BundleError"),
        start_worker(enter(bundle, model=tmp_path / "none")),
    ):
        pass


def test_tuning_tries_the_values_and_keeps_one_of_them(bundle, phantoms):
    paths = choose_pictures(phantoms, 8)
    assert tune(enter(bundle), paths) == {}
    setting = tune(enter(bundle, Kind.CEILING), paths)
    assert setting["batch"] in (1, 4, 8, 16, 32)


def test_every_pass_gives_every_picture_a_logit(bundle, phantoms):
    paths = choose_pictures(phantoms, 9)
    own, alone = measure([enter(bundle), enter(bundle, Kind.CEILING, key="ceiling")], paths, rounds=1, singles=2)
    assert own.logits == alone.logits
    assert len(own.logits) == 9
    assert len(own.latencies_ms) == 2


def test_ratios_are_taken_within_rounds(bundle, phantoms):
    paths = choose_pictures(phantoms, 8)
    # The machine becomes ten times as slow in the last round; the ratio of the medians would be 20 / 10.
    peer = Measurement(enter(bundle, Kind.TORCH, key="torch"), {}, [10, 10, 1], [8.0], 1, [1.0, -1.0])
    own = Measurement(enter(bundle, key="own"), {}, [40, 20, 4], [2.0], 1, [1.0, 1.0])
    ceiling = Measurement(enter(bundle, Kind.CEILING, key="ceiling"), {}, [50, 50, 5], [], 1, [1.0, 1.0])
    summary = summarise([peer, own, ceiling], paths, notes=[], source="", cold_starts=[])
    row = next(row for row in summary["contestants"] if row["key"] == "own")
    assert row["times_as_fast_as"] == {"torch": 4.0}
    assert row["share_of_ceiling"] == 0.8
    assert row["latency_share_of"] == {"torch": 0.25}
    assert row["same_verdicts_as"] == {"torch": 0.5}


def test_few_pictures_are_taken_several_times(phantoms, tmp_path, draw_picture):
    paths = choose_pictures(phantoms, 10)
    assert len(set(paths)) == 10
    assert {path.parent.name for path in paths} == {"NORMAL", "PNEUMONIA"}
    one = draw_picture(tmp_path / "few" / "a.png")
    assert choose_pictures(tmp_path / "few", 3) == [one] * 3
    (tmp_path / "few" / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        choose_pictures(tmp_path / "few", 3)


def test_what_cannot_be_measured_is_refused_in_one_sentence(hilum, bundle, tmp_path):
    expect_one_sentence(hilum("bench", "--model", bundle.folder, "--data", tmp_path / "none"), 2, "none")
    with pytest.raises(BundleError, match="Two bundles are fp32"):
        gather_bundles(None, [bundle.folder, bundle.folder], tmp_path)
