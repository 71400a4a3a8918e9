import csv
import multiprocessing
import shutil
from dataclasses import replace

import pytest
from tests.evaluation_data import BrightnessScorer, draw_splits

from hilum.config import EvaluateConfig
from hilum.errors import EvaluationError
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.ledger import (
    COLUMNS,
    LEDGER,
    Look,
    ModelIdentity,
    append_look,
    build_look,
    choose_ledger,
    hash_pictures,
    read_ledger,
    read_past_look,
)
from hilum.files import write_json
from hilum.types import Split

pytestmark = pytest.mark.unit

IDENTITY = ModelIdentity("run", "fp32", "a" * 64, "a" * 64, seed=3, git_commit="abc")


def make_look(**changes):
    look = Look(
        "2026-01-02T03:04:05+00:00", "model", "a" * 64, "run", "fp32", "s", "m", "t", 0, 624, 0.98, 0.9375, 0.99, None,
        0.025831980248321253, 0.16356026075385838, "0.1.0", "abc", "a note, with a comma",
    )  # fmt: skip
    return replace(look, **changes)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return draw_splits(tmp_path_factory.mktemp("pictures"))


def look_at(splits, out, ledger, **options):
    config = EvaluateConfig(bootstrap=100, worst=0)
    return evaluate(BrightnessScorer(), splits, out, config=config, seed=0, identity=IDENTITY, ledger=ledger, **options)


@pytest.fixture(scope="module")
def looks(splits, tmp_path_factory):
    """Two evaluations of test and the ledger that both are in."""
    folder = tmp_path_factory.mktemp("looks")
    return *(look_at(splits, folder / name, folder / LEDGER) for name in ("first", "second")), folder / LEDGER


def test_looks_come_back_as_they_were_written(tmp_path):
    looks = [make_look(), make_look(model="other\nname", seed=None, date="2026-01-03")]
    for look in looks:
        append_look(tmp_path / "new" / LEDGER, look)
    assert read_ledger(tmp_path / "new" / LEDGER) == looks
    with (tmp_path / "new" / LEDGER).open(newline="", encoding="utf-8") as stream:
        assert [len(row) for row in csv.reader(stream)] == [len(COLUMNS)] * 3


def test_looks_are_counted_by_pictures_and_by_model(tmp_path):
    path = tmp_path / LEDGER
    append_look(path, make_look())
    append_look(path, make_look(test_hash="other pictures"))
    append_look(path, make_look(model_hash="b"))
    number = append_look(path, make_look(date="2026-02-01"))
    assert (number.total, number.by_model) == (3, 2)
    assert number.describe() == "This is look number 3 at this test set (by this model: 2)."


def test_the_same_look_is_not_entered_twice(tmp_path):
    append_look(tmp_path / LEDGER, make_look())
    with pytest.raises(EvaluationError, match="holds this look of 2026-01-02T03:04:05"):
        append_look(tmp_path / LEDGER, make_look(note="again"))


def _write_many(path, start):
    for number in range(25):
        append_look(path, make_look(model_hash=str(start + number)))


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / LEDGER
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(path, start)) for start in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    hashes = [look.model_hash for look in read_ledger(path)]
    assert sorted(map(int, hashes)) == [start + number for start in (0, 100, 200) for number in range(25)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-1], "cut short"),
        (lambda text: text + "x,y\n", "row 3 has 2 cells"),
        (lambda text: text.replace("date,", "day,"), "does not name the columns"),
        (lambda text: text.replace("2026-01-02T", "yesterday"), "row 2"),
        (lambda text: text.replace("0.98", "high"), "row 2: could not convert"),
    ],
)
def test_a_damaged_ledger_is_refused_and_left_alone(tmp_path, damage, message):
    path = tmp_path / LEDGER
    append_look(path, make_look())
    broken = damage(path.read_text(encoding="utf-8"))
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(EvaluationError, match=message) as caught:
        append_look(path, make_look(date="2026-03-01"))
    assert str(path) in str(caught.value)
    assert path.read_text(encoding="utf-8") == broken


def test_an_evaluation_of_test_is_recorded_with_its_figures(splits, looks):
    first, second, path = looks
    looks = read_ledger(path)
    metrics = first.metrics
    test = splits[splits["split"] == "test"]
    assert looks[0].test_hash == hash_pictures(reversed(test["sha256"].tolist()))
    assert (looks[0].model_hash, looks[0].seed, looks[0].n) == ("a" * 64, 3, len(test))
    assert looks[0].sensitivity == metrics["metrics"]["recall"]["value"]
    assert looks[0].threshold == metrics["threshold"]
    assert second.metrics["look"] == {"date": looks[1].date, "total": 2, "by_model": 2}
    assert "look number 2 at this test set (by this model: 2)" in second.report.read_text(encoding="utf-8")


def test_a_damaged_ledger_stops_an_evaluation_before_it_scores(splits, tmp_path):
    (tmp_path / LEDGER).write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="damaged"):
        look_at(splits, tmp_path / "out", tmp_path / LEDGER)
    assert not (tmp_path / "out").exists()


def test_an_evaluation_of_before_the_ledger_can_be_entered(looks, tmp_path):
    first, _, path = looks
    shutil.copy(first.out / "predictions.csv", tmp_path)
    old = {key: value for key, value in first.metrics.items() if key not in ("identity", "look")}
    write_json(tmp_path / "metrics.json", {**old, "hashes": {"splits": "s"}})
    look = read_past_look(tmp_path, identity=IDENTITY, note="entered later")
    assert look.test_hash == first.metrics["hashes"]["test"]
    assert (look.model_hash, look.git_commit, look.note) == ("a" * 64, "", "entered later")
    assert look.auroc == first.metrics["metrics"]["auroc"]["value"]
    assert read_past_look(first.out, note="again").describes_same(read_ledger(path)[0])
    with pytest.raises(EvaluationError, match="another model"):
        read_past_look(first.out, identity=replace(IDENTITY, sha256="b" * 64))


def test_figures_of_val_are_no_look(splits, tmp_path):
    result = look_at(splits, tmp_path / "out", tmp_path / LEDGER, split=Split.VAL)
    assert not (tmp_path / LEDGER).exists()
    with pytest.raises(EvaluationError, match="looks at test"):
        build_look(result.metrics)


def test_where_a_look_is_recorded(tmp_path, monkeypatch):
    out = tmp_path / "run" / "evaluation"
    monkeypatch.delenv("HILUM_LEDGER", raising=False)
    assert choose_ledger(out) == tmp_path / "run" / LEDGER
    monkeypatch.setenv("HILUM_LEDGER", str(tmp_path / "all.csv"))
    assert choose_ledger(out) == tmp_path / "all.csv"
    assert choose_ledger(out, phantom=True) == tmp_path / "run" / LEDGER
    assert choose_ledger(out, given=tmp_path / "mine.csv", phantom=True) == tmp_path / "mine.csv"
