import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from hilum.data.audit.shortcut import FEATURES, check_shortcuts, measure_auroc, tabulate_metadata
from hilum.types import Label, Split

pytestmark = pytest.mark.unit


def make_frame(rng, n=600, **columns):
    """Metadata that say nothing, unless `columns` replace some."""
    label = rng.choice(list(Label), n)
    frame = pd.DataFrame(
        {
            "width": rng.integers(800, 1600, n),
            "height": rng.integers(600, 1200, n),
            "bytes": rng.integers(50_000, 90_000, n),
            "mode": rng.choice(["L", "RGB"], n),
            "mean": rng.normal(120, 15, n),
            "label": label,
            "patient": [f"p{i // 2}" for i in range(n)],
            "split": np.repeat([Split.TRAIN, Split.VAL, Split.TEST], [n // 2, n // 4, n - n // 2 - n // 4]),
        }
    )
    return frame.assign(**{name: make(frame) for name, make in columns.items()})


def test_metadata_that_say_nothing_score_about_a_half(rng):
    check = check_shortcuts(make_frame(rng, 1200), seed=0, resamples=200)
    for row in (*check.together, *check.alone):
        for score in row.scores.values():
            assert 0.38 < score.value < 0.62
            assert score.ci_low < score.value < score.ci_high


def test_a_file_size_that_tells_the_class_is_found_alone_and_together(rng):
    frame = make_frame(
        rng, bytes=lambda f: np.where(f["label"] == Label.NORMAL, 70_000, 60_000) + rng.normal(0, 3000, len(f))
    )
    check = check_shortcuts(frame, seed=0, resamples=200)
    alone = {row.name: row for row in check.alone}
    assert all(row.scores[Split.TEST].value > 0.9 for row in check.together)
    assert alone["file size"].scores[Split.TEST].ci_low > 0.9
    assert alone["mean gray"].scores[Split.TEST].ci_low < 0.5


def test_trees_find_what_no_threshold_tells(rng):
    """A class in the middle of the range: its AUROC as a plain score is a half."""
    frame = make_frame(
        rng,
        mean=lambda f: np.where(f["label"] == Label.NORMAL, rng.normal(120, 4, len(f)), rng.choice([90, 150], len(f))),
    )
    check = check_shortcuts(frame, seed=0, resamples=50)
    assert {row.name: row for row in check.alone}["mean gray"].scores[Split.TEST].value > 0.95


def test_a_colour_mode_of_one_class_is_found(rng):
    frame = make_frame(rng, mode=lambda f: np.where(f["label"] == Label.PNEUMONIA, "RGB", "L"))
    check = check_shortcuts(frame, seed=0, resamples=50)
    assert {row.name: row for row in check.alone}["colour mode"].scores[Split.VAL].value == 1


def test_what_does_not_vary_says_nothing(rng):
    frame = make_frame(rng, width=lambda _: 224, height=lambda _: 224, mode=lambda _: "L")
    check = check_shortcuts(frame, seed=0, resamples=50)
    constant = {row.name for row in check.alone if row.constant}
    assert constant == {"width", "height", "aspect ratio", "colour mode"}
    assert all(row.scores[Split.TEST].value == 0.5 for row in check.alone if row.constant)
    assert not check.together[0].constant


def test_the_seed_decides_all(rng):
    frame = make_frame(rng)
    first, again = (check_shortcuts(frame, seed=1, resamples=50) for _ in range(2))
    assert first == again
    np.testing.assert_array_equal(first.together[0].evidence, again.together[0].evidence)


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (lambda f: f["split"] != Split.TRAIN, "no train split"),
        (lambda f: (f["split"] != Split.TRAIN) | (f["label"] == Label.NORMAL), "one class only"),
        (lambda f: f["split"] == Split.TRAIN, "neither val nor test"),
    ],
)
def test_the_check_says_why_it_cannot_be_done(rng, keep, reason):
    frame = make_frame(rng)
    check = check_shortcuts(frame[keep(frame)].reset_index(drop=True), seed=0)
    assert reason in check.reason
    assert check.together == check.alone == ()


def test_a_split_with_one_class_is_not_scored(rng):
    frame = make_frame(rng)
    frame = frame[(frame["split"] != Split.TEST) | (frame["label"] == Label.NORMAL)].reset_index(drop=True)
    check = check_shortcuts(frame, seed=0, resamples=50)
    assert set(check.together[0].scores) == {Split.VAL}


def test_metadata_are_tabulated_with_modes_by_their_share_in_train(rng):
    frame = make_frame(rng, 8, width=lambda _: 200, height=lambda _: 100, mode=lambda _: list("LLLLAAPP"))
    frame["label"] = [Label.PNEUMONIA, Label.NORMAL, Label.NORMAL, Label.NORMAL, *[Label.NORMAL] * 4]
    table = tabulate_metadata(frame)
    assert list(table.columns) == list(FEATURES)
    assert table["aspect"].to_numpy() == pytest.approx(np.log(2))
    assert table["mode"].tolist() == [0.25] * 4 + [0.5] * 4


def test_the_auroc_is_that_of_scikit_learn_with_ties(rng):
    positive = rng.random(300) < 0.4
    scores = np.round(rng.normal(positive * 0.8, 1), 1)
    result = measure_auroc(positive, scores, np.arange(300), rng=rng, resamples=300)
    assert result.value == pytest.approx(roc_auc_score(positive, scores))
    assert result.ci_low < result.value < result.ci_high
    assert result.n == 300


def test_pictures_of_one_patient_widen_the_interval(rng):
    positive = np.repeat(rng.random(60) < 0.5, 5)
    scores = np.repeat(rng.normal(0, 1, 60), 5) + positive

    def width(patients):
        result = measure_auroc(positive, scores, patients, rng=np.random.default_rng(0), resamples=500)
        return result.ci_high - result.ci_low

    assert width(np.repeat(np.arange(60), 5)) > 1.5 * width(np.arange(300))
