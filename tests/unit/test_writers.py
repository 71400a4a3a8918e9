import contextlib
import csv
import io
import json
import math
import os

import pytest

from hilum.errors import ConfigError
from hilum.inference.rows import COLUMNS
from hilum.inference.writers import StreamWriter, TableWriter, is_failure, name_outcome
from hilum.types import Label, Prediction, Status

pytestmark = pytest.mark.unit

SUFFIXES = ("csv", "jsonl", "parquet")
SICK = Prediction(
    'a, "b".png', Status.OK, probability=0.1 + 0.2, logit=math.pi, prediction=Label.PNEUMONIA, threshold=1 / 3
)
WELL = Prediction("größe.png", Status.OK, probability=5e-324, logit=-744.0, prediction=Label.NORMAL, threshold=1 / 3)
LOST = Prediction("c.png", Status.UNREADABLE, message="c.png is empty (0 bytes).")
ALL = (SICK, LOST, WELL)


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return tmp_path / "out" / f"p.{request.param}"


def write(path, predictions, **options):
    with TableWriter(path, **options) as writer:
        for prediction in predictions:
            writer.write(prediction)
        writer.finish()
    return writer


def read(path):
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream)
        return header, [[cell or None for cell in row] for row in rows]
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return list(rows[0]), [list(row.values()) for row in rows]


def test_rows_come_back_exactly(path):
    write(path, ALL)
    header, rows = read(path)
    assert (
        ",".join(header)
        == ",".join(COLUMNS)
        == "path,status,probability,logit,prediction,threshold,message,familiarity"
    )
    for row, prediction in zip(rows, ALL, strict=True):
        assert row[0] == prediction.source
        assert row[1] == prediction.status
        numbers = (prediction.probability, prediction.logit, prediction.threshold)
        assert tuple(None if cell is None else float(cell) for cell in (row[2], row[3], row[5])) == numbers
        assert row[4] == prediction.prediction
        assert (row[6] or "") == prediction.message
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_rows_are_there_as_they_come_and_the_name_at_the_end(path):
    with TableWriter(path) as writer:
        writer.write(SICK)
        assert not path.exists()
        written = writer.partial.read_text(encoding="utf-8")
        assert written.endswith("\n")
        assert "0.30000000000000004" in written
        writer.finish()
    assert path.exists()
    assert not writer.partial.exists()


def interrupt(path, predictions):
    with contextlib.suppress(KeyboardInterrupt), TableWriter(path) as writer:
        for prediction in predictions:
            writer.write(prediction)
        raise KeyboardInterrupt
    return writer.partial


def test_an_interrupted_table_is_kept_and_gone_on_with(path):
    partial = interrupt(path, ALL[:2])
    assert not path.exists()
    with pytest.raises(ConfigError, match="--resume"):
        TableWriter(path)
    with partial.open("ab") as stream:  # a line that a kill cut in its midst, within a letter
        stream.write("größ".encode()[:-1])
    with TableWriter(path, resume=True) as writer:
        assert writer.earlier.paths == {SICK.source: 1, LOST.source: 1}
        assert writer.earlier.outcomes == {"PNEUMONIA": 1, "unreadable": 1}
        assert writer.earlier.thresholds == {1 / 3}
        writer.write(WELL)
        writer.finish()
    resumed = read(path)
    path.unlink()
    write(path, ALL)
    assert resumed == read(path)


def test_a_finished_table_is_gone_on_with(path):
    write(path, ALL[:2])
    assert write(path, ALL[2:], resume=True).earlier.paths.total() == 2
    assert [row[0] for row in read(path)[1]] == [prediction.source for prediction in ALL]
    before = read(path)
    assert write(path, [], resume=True).earlier.paths.total() == 3
    assert read(path) == before


def test_resuming_what_was_never_begun_begins(path):
    write(path, ALL, resume=True)
    assert len(read(path)[1]) == 3


def test_a_kill_within_the_header(tmp_path):
    (tmp_path / "p.csv.partial").write_text("path,sta", encoding="utf-8")
    write(tmp_path / "p.csv", ALL, resume=True)
    assert read(tmp_path / "p.csv")[0] == list(COLUMNS)


def test_a_table_without_rows_leaves_nothing_in_the_way(path):
    partial = interrupt(path, [])
    assert not partial.exists()
    write(path, ALL)


def test_an_older_table_is_replaced_only_at_the_end(path):
    write(path, ALL)
    interrupt(path, [LOST])
    assert len(read(path)[1]) == 3


def test_other_thresholds_are_not_mixed(path):
    interrupt(path, ALL)
    with TableWriter(path, resume=True) as writer:
        writer.check_origin({}, threshold=1 / 3)
        with pytest.raises(ConfigError, match=r"0\.5"):
            writer.check_origin({}, threshold=0.5)


@pytest.mark.parametrize("text", ["my,own,table", "a,b\r1,2\r", "x" * 200_000])
def test_a_file_without_whole_lines_is_not_taken_for_a_table(tmp_path, text):
    for suffix in ("csv", "jsonl"):
        path = tmp_path / f"own.{suffix}"
        path.write_text(text, encoding="utf-8", newline="")
        with pytest.raises(ConfigError, match="holds no predictions of Hilum"):
            TableWriter(path)
    (tmp_path / "empty.csv").touch()
    write(tmp_path / "empty.csv", ALL)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_others_are_not_gone_on_with(tmp_path, suffix):
    if suffix == "parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.table({"x": [1]}), tmp_path / "p.parquet")
    else:
        (tmp_path / f"p.{suffix}").write_text('path,label\n{"path": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=f"p.{suffix}"):
        TableWriter(tmp_path / f"p.{suffix}", resume=True)
    before = (tmp_path / f"p.{suffix}").read_bytes()
    with pytest.raises(ConfigError, match="holds no predictions of Hilum"):
        TableWriter(tmp_path / f"p.{suffix}")
    assert (tmp_path / f"p.{suffix}").read_bytes() == before


def test_a_broken_line_in_the_midst_is_refused(tmp_path):
    write(tmp_path / "p.csv", ALL)
    text = (tmp_path / "p.csv").read_text(encoding="utf-8")
    (tmp_path / "p.csv").write_text(text + "a,b\nc,ok,,,,,\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 5 has 2 cells"):
        TableWriter(tmp_path / "p.csv", resume=True)


def test_names_that_cannot_be_written_to(tmp_path):
    with pytest.raises(ConfigError, match=r"\.csv, \.jsonl, \.parquet"):
        TableWriter(tmp_path / "p.xlsx")
    (tmp_path / "p.csv").mkdir()
    with pytest.raises(ConfigError, match="folder"):
        TableWriter(tmp_path / "p.csv")


def test_standard_output_is_csv_or_readable():
    table, shown = io.StringIO(), io.StringIO()
    for writer in (StreamWriter(table), StreamWriter(shown, readable=True)):
        for prediction in ALL:
            writer.write(prediction)
    assert next(csv.reader([table.getvalue().splitlines()[1]]))[0] == SICK.source
    lines = shown.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["PNEUMONIA", "unreadable", "NORMAL"]
    assert lines[1].split()[1] == "0.3000"
    assert LOST.message in lines[2]
    assert len({line.index(name) for line, name in zip(lines, ["path", 'a, "b"', "c.png", "größe"], strict=True)}) == 1


def test_outcomes():
    assert [name_outcome(prediction) for prediction in ALL] == ["PNEUMONIA", "unreadable", "NORMAL"]
    assert [is_failure(name_outcome(prediction)) for prediction in ALL] == [False, True, False]


def test_two_writers_of_one_file_are_kept_apart(path):
    with TableWriter(path):
        for resume in (False, True):
            with pytest.raises(ConfigError, match="Another process writes"):
                TableWriter(path, resume=resume)
    write(path, ALL)
    assert len(read(path)[1]) == len(ALL)


def test_rows_of_another_model_are_not_mixed(path):
    with TableWriter(path) as writer:
        writer.check_origin({"the model": "first 1 (abc)", "--strict": False}, threshold=0.5)
        for prediction in ALL:
            writer.write(prediction)
        writer.finish()
    with TableWriter(path, resume=True) as writer:
        with pytest.raises(ConfigError, match=r"the model first 1 \(abc\), and now it is second 1"):
            writer.check_origin({"the model": "second 1 (def)", "--strict": False}, threshold=1 / 3)
        with pytest.raises(ConfigError, match="--strict"):
            writer.check_origin({"the model": "first 1 (abc)", "--strict": True}, threshold=1 / 3)


def test_a_pipe_in_the_place_of_the_rows_is_refused_and_not_waited_for(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("the system has no pipes in folders")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path.with_name(f"{path.name}.partial"))
    with pytest.raises(ConfigError, match="no regular file"):
        TableWriter(path)
