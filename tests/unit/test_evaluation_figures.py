import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.evaluation_data import build_results, draw_scored

from hilum.evaluation import figures, gallery, score_figures
from hilum.evaluation.architecture import draw_architecture, tabulate_stages
from hilum.evaluation.curves import trace_precision_recall, trace_roc, trace_thresholds
from hilum.evaluation.intervals import draw_resamples
from hilum.evaluation.scoring import ScoredSplit, build_predictions
from hilum.evaluation.thresholds import OperatingPoint
from hilum.types import Label, Split, Stage

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def val():
    return draw_scored(Split.VAL, seed=1)


@pytest.fixture(scope="module")
def test():
    return draw_scored(Split.TEST, seed=2, share=0.5)


@pytest.fixture(scope="module")
def results(test, val):
    return build_results(test, val)


def read(figure):
    with Image.open(figure.path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 150
    assert np.unique(pixels.reshape(-1, 3), axis=0).shape[0] > 20  # not a blank page
    return pixels


ALL = {
    "confusion": lambda r, _t, _v, p: figures.draw_confusion_matrix(r.tested, p),
    "pathogen": lambda r, _t, _v, p: figures.draw_recall_by_pathogen(r, p),
    "roc": lambda r, t, _v, p: score_figures.draw_roc(t, r, p),
    "precision_recall": lambda r, t, _v, p: score_figures.draw_precision_recall(t, r, p),
    "histogram": lambda r, t, _v, p: score_figures.draw_score_histogram(t, r, p),
    "transfer": lambda r, t, v, p: score_figures.draw_threshold_transfer(t, v, r, p),
    "calibration": lambda r, t, _v, p: score_figures.draw_calibration(t, r, p),
}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_drawn_alike_each_time_and_tells_what_it_shows(name, results, test, val, tmp_path):
    figure = ALL[name](results, test, val, tmp_path / "a.png")
    read(figure)
    assert ALL[name](results, test, val, tmp_path / "b.png").caption == figure.caption
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert figure.caption.endswith(".")
    assert any(digit in figure.caption for digit in "0123456789")
    assert figure.caption in figure.alt


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("case", ["perfect", "chance", "constant", "two"])
def test_every_figure_bears_extreme_scores(name, case, val, tmp_path):
    extreme = {
        "perfect": draw_scored(Split.TEST, distance=30, spread=0.1),
        "chance": draw_scored(Split.TEST, distance=0),
        "constant": draw_scored(Split.TEST, distance=0, spread=0),
        "two": draw_scored(Split.TEST, size=2, share=0.5),
    }[case]
    read(ALL[name](build_results(extreme, val), extreme, val, tmp_path / "a.png"))


def test_captions_carry_the_numbers(results, test, val, tmp_path):
    confusion = results.tested.confusion
    caption = figures.draw_confusion_matrix(results.tested, tmp_path / "a.png").caption
    assert f"misses {confusion.fn} pneumonias of 60" in caption
    assert f"raises {confusion.fp} false alarm" in caption
    caption = score_figures.draw_threshold_transfer(test, val, results, tmp_path / "b.png").caption
    assert f"threshold {results.point.threshold:.3f} was chosen on the dashed curves" in caption
    alone = build_results(test, point=OperatingPoint(0.3, 1.0, "stored", "bundle"))
    assert "dashed" not in score_figures.draw_threshold_transfer(test, None, alone, tmp_path / "c.png").caption


def test_confusion_matrix_darkens_with_the_share(results, tmp_path):
    pixels = read(figures.draw_confusion_matrix(results.tested, tmp_path / "a.png")).astype(int).sum(-1)
    height, width = pixels.shape
    right = pixels[int(height * 0.12), int(width * 0.3)]  # corner of NORMAL called NORMAL
    wrong = pixels[int(height * 0.12), int(width * 0.95)]
    assert right < wrong


def test_classification_report_is_drawn_with_dashes_for_what_is_not_defined(tmp_path):
    row = {"precision": 0.9, "recall": 0.8, "f1-score": 0.85, "support": 10.0}
    report = {"NORMAL": row, "PNEUMONIA": row, "macro avg": row, "weighted avg": row}
    assert "90.0\N{NO-BREAK SPACE}%" in figures.draw_classification_report(report, tmp_path / "a.png").caption
    nothing = {**row, "precision": float("nan")}
    figure = figures.draw_classification_report({**report, "PNEUMONIA": nothing}, tmp_path / "b.png")
    read(figure)
    assert "dash" in figure.caption


def test_curves_start_and_end_where_they_must(test):
    blocks = list(draw_resamples(test.texts("patient"), resamples=100, seed=0))
    roc = trace_roc(test.labels, 1 / (1 + np.exp(-test.logits)), resamples=blocks)
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert (np.diff(roc.x) >= 0).all()
    assert (np.diff(roc.y) >= 0).all()
    assert (roc.low <= roc.high).all()
    inside = (np.interp(roc.grid, roc.x, roc.y) >= roc.low - 0.05) & (
        np.interp(roc.grid, roc.x, roc.y) <= roc.high + 0.05
    )
    assert inside.mean() > 0.95
    curve = trace_precision_recall(test.labels, 1 / (1 + np.exp(-test.logits)), resamples=blocks)
    assert (curve.x[0], curve.x[-1]) == (0, 1)
    assert curve.y[-1] == pytest.approx(test.labels.mean())
    rates = trace_thresholds(test.labels, 1 / (1 + np.exp(-test.logits)))
    assert (np.diff(rates.sensitivity) <= 0).all()
    assert (np.diff(rates.specificity) >= 0).all()


def build_table(rows):
    frame = pd.DataFrame(rows, columns=["label", "prediction", "logit", "status"])
    return frame.assign(path="x.png", pathogen="", probability=0.5)


def test_mistakes_take_turns_with_the_worst_first():
    table = build_table(
        [
            ("PNEUMONIA", "NORMAL", -1.0, "ok"),
            ("NORMAL", "PNEUMONIA", 3.0, "ok"),
            ("PNEUMONIA", "NORMAL", -4.0, "ok"),
            ("NORMAL", "PNEUMONIA", 9.0, "ok"),
            ("NORMAL", "PNEUMONIA", 5.0, "ok"),
            ("PNEUMONIA", "PNEUMONIA", 9.0, "ok"),
            ("NORMAL", "", np.nan, "unreadable"),
        ]
    )
    cams = [np.full((7, 7), place, np.float32) for place in range(7)]

    def pick(count):
        return [int(case.cam[0, 0]) for case in gallery.pick_mistakes(table, cams, count=count)]

    assert pick(10) == [2, 3, 0, 4, 1]
    assert pick(2) == [2, 3]
    assert pick(0) == []
    assert [int(case.cam[0, 0]) for case in gallery.pick_correct(table, cams, count=9)] == [5]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_gallery_shows_picture_and_map(tmp_path, count):
    cases = []
    for number in range(count):
        path = tmp_path / f"{'long-name-' * 5}{number}.png"
        size = (90, 60) if number % 2 else (50, 70)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, size, dtype=np.uint8)).save(path)
        label = Label.NORMAL if number % 2 else Label.PNEUMONIA
        cases.append(gallery.Case(str(path), label, "", 0.9999, np.full((7, 7), 4.0, np.float32)))
    figure = gallery.draw_mistakes(cases, tmp_path / "out.png", threshold=0.4, full_scale=4.0)
    pixels = read(figure).astype(int)
    coloured = (pixels.max(-1) - pixels.min(-1) > 40).mean()
    assert coloured > 0.05  # the overlays, at full strength
    assert figure.caption.startswith("1 missed pneumonia" if count < 3 else "2 missed pneumonias")
    assert gallery.draw_correct(cases, tmp_path / "right.png", full_scale=4.0).caption.startswith(
        "1 " if count < 3 else "2 "
    )


def build_stages():
    def block(width):
        return f"1×1, {width} → 3×3, {width} → 1×1, {4 * width}"

    return [
        Stage("input", "input", (3, 224, 224), 0),
        Stage("conv1", "convolution", (64, 112, 112), 9_536, detail="7×7, stride 2"),
        Stage("maxpool", "pool", (64, 56, 56), 0, detail="3×3, stride 2"),
        Stage("layer1", "blocks", (256, 56, 56), 215_808, 3, block(64)),
        Stage("layer4", "blocks", (2048, 7, 7), 14_964_736, 3, block(512)),
        Stage("avgpool", "pool", (2048,), 0, detail="global mean"),
        Stage("fc", "linear", (1,), 2_049, detail="one logit"),
    ]


def test_architecture_is_drawn_from_the_stages(tmp_path):
    stages = build_stages()
    figure = draw_architecture(stages, tmp_path / "a.png", name="ResNet-50")
    full = read(figure)
    assert figure.wide
    assert "15,192,129 parameters, 6 residual blocks (3 + 3)" in figure.caption
    assert "7 × 7 maps of layer4" in figure.caption
    shorter = read(draw_architecture([*stages[:4], *stages[5:]], tmp_path / "b.png", name="ResNet-50"))
    assert full.shape != shorter.shape or (full != shorter).any()


def test_stages_as_a_table_add_up():
    table = tabulate_stages(build_stages())
    assert table.rows[-1][-1] == 15_192_129
    assert table.rows[3][:4] == ("layer1", "1×1, 64 → 3×3, 64 → 1×1, 256", 3, "56 × 56 × 256")


def test_predictions_keep_rows_without_a_score(test, results):
    table = test.table.copy()
    table.loc[0, ["status", "message", "logit"]] = ["unreadable", "It is cut.", np.nan]
    predictions = build_predictions(ScoredSplit(Split.TEST, table, test.cams), results.point)
    assert len(predictions) == len(table)
    assert predictions.loc[0, "prediction"] == ""
    assert predictions.loc[0, ["probability", "threshold"]].isna().all()
