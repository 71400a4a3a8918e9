import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as sk
from tests.evaluation_data import BrightnessScorer, draw_splits

from hilum.config import EvaluateConfig
from hilum.data.manifest import COLUMNS as MANIFEST_COLUMNS
from hilum.errors import EvaluationError, HilumError, LeakageError
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.metrics import METRICS
from hilum.evaluation.thresholds import OperatingPoint, fit_stable_youden
from hilum.inference.decision import calibrate
from hilum.types import Score, Split

pytestmark = pytest.mark.unit

QUICK = EvaluateConfig(bootstrap=100, worst=4)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return draw_splits(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def evaluated(splits, tmp_path_factory):
    return evaluate(BrightnessScorer(), splits, tmp_path_factory.mktemp("out"), config=QUICK, seed=3)


def read_predictions(folder, name="predictions.csv"):
    return pd.read_csv(folder / name, keep_default_na=False)


def run(splits, out, **options):
    return evaluate(BrightnessScorer(), splits, out, **{"config": QUICK, "seed": 3, **options})


def test_writes_all_files_of_the_contract(evaluated):
    names = {path.relative_to(evaluated.out).as_posix() for path in evaluated.out.rglob("*") if path.is_file()}
    assert names == {
        "metrics.json",
        "predictions.csv",
        "predictions_val.csv",
        "classification_report.txt",
        "report.html",
        "model_card.md",
        *(
            f"figures/{name}.png"
            for name in (
                "confusion_matrix",
                "classification_report",
                "recall_by_pathogen",
                "roc",
                "precision_recall",
                "score_histogram",
                "calibration",
                "threshold_transfer",
                "transfer",
                "worst_mistakes",
                "sure_and_right",
            )
        ),
    }
    assert evaluated.report == evaluated.out / "report.html"
    assert evaluated.failed == 0


def test_metrics_follow_the_contract_and_the_predictions(evaluated):
    metrics = json.loads((evaluated.out / "metrics.json").read_text())
    assert metrics == evaluated.metrics
    assert (metrics["model"], metrics["split"], metrics["n"]) == ("brightness", "test", 54)
    assert metrics["threshold_source"] == "val"
    assert (metrics["device"], metrics["precision"]) == ("abacus", "float64")
    assert set(metrics["metrics"]) == set(METRICS)
    rows = read_predictions(evaluated.out)
    ill, called = rows["label"] == "PNEUMONIA", rows["prediction"] == "PNEUMONIA"
    values = {name: entry["value"] for name, entry in metrics["metrics"].items()}
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(ill, called))
    assert values["recall"] == pytest.approx(sk.recall_score(ill, called))
    assert values["specificity"] == pytest.approx(sk.recall_score(~ill, ~called))
    assert values["mcc"] == pytest.approx(sk.matthews_corrcoef(ill, called))
    assert values["auroc"] == pytest.approx(sk.roc_auc_score(ill, rows["probability"]))
    assert values["brier"] == pytest.approx(sk.brier_score_loss(ill, rows["probability"]))
    for entry in metrics["metrics"].values():
        assert entry["ci_low"] <= entry["value"] <= entry["ci_high"]
    (tn, fp), (fn, tp) = sk.confusion_matrix(ill, called)
    assert metrics["confusion_matrix"] == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    for pathogen in ("bacteria", "virus"):
        own = rows["pathogen"] == pathogen
        assert metrics["by_pathogen"][pathogen]["n"] == own.sum()
        assert metrics["by_pathogen"][pathogen]["recall"]["value"] == pytest.approx(called[own].mean())
    assert metrics["failed"] == {"n": 0, "by_status": {}}
    assert metrics["splits"]["val"] == {"pictures": 60, "patients": 30, "positives": 40, "share_pneumonia": 40 / 60}


def test_predictions_stand_in_input_order_and_can_be_redone(evaluated, splits):
    rows = read_predictions(evaluated.out)
    columns = [
        "path",
        "status",
        "probability",
        "logit",
        "prediction",
        "threshold",
        "message",
        "familiarity",
        "label",
        "patient",
        "split",
    ]
    assert rows.columns.tolist()[:11] == columns
    assert rows["path"].tolist() == splits.loc[splits["split"] == "test", "path"].tolist()
    assert set(rows["status"]) == {"ok"}
    assert (rows["threshold"] == evaluated.metrics["threshold"]).all()
    probabilities = calibrate(rows["logit"].to_numpy(), temperature=evaluated.metrics["temperature"])
    assert np.array_equal(probabilities, rows["probability"])
    assert ((rows["probability"] >= rows["threshold"]) == (rows["prediction"] == "PNEUMONIA")).all()


def test_threshold_and_temperature_come_from_val_alone(evaluated, splits, tmp_path):
    other = splits[(splits["split"] != "test") | (splits.index % 2 == 0)].copy()
    test = other["split"] == "test"
    other.loc[test, "label"] = other.loc[test, "label"].map({"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"})
    other["pathogen"] = ""
    result = run(other, tmp_path / "out")
    assert result.point == evaluated.point
    assert result.metrics["val"]["confusion_matrix"] == evaluated.metrics["val"]["confusion_matrix"]
    assert result.metrics["metrics"]["auroc"]["value"] < 0.2
    val = read_predictions(evaluated.out, "predictions_val.csv")
    ill = val["label"] == "PNEUMONIA"
    false_rate, true_rate, _ = sk.roc_curve(ill, val["probability"])
    chosen = (val["probability"] >= evaluated.point.threshold).groupby(ill).mean()
    largest = (true_rate - false_rate).max()
    assert largest - 0.05 <= chosen[True] - chosen[False] <= largest + 1e-9
    steady = fit_stable_youden(ill.to_numpy(), val["probability"].to_numpy())
    assert evaluated.point.threshold == pytest.approx(steady)


def test_same_seed_gives_the_same_files(evaluated, splits, tmp_path):
    again = run(splits, tmp_path / "out")
    for name in ("metrics.json", "predictions.csv", "model_card.md", "figures/roc.png"):
        assert (again.out / name).read_bytes() == (evaluated.out / name).read_bytes(), name
    other = run(splits, tmp_path / "other", seed=4)
    assert other.metrics["metrics"] != evaluated.metrics["metrics"]


def test_fixed_sensitivity_is_a_choice(splits, tmp_path):
    config = EvaluateConfig(bootstrap=100, worst=0, operating_point="sensitivity", min_sensitivity=1.0)
    result = run(splits, tmp_path / "out", config=config)
    assert result.metrics["threshold_rule"] == "sensitivity"
    assert result.metrics["val"]["metrics"]["recall"]["value"] == 1.0
    assert not (result.out / "figures" / "worst_mistakes.png").exists()


def damage(splits, folder, *, split, count):
    """Copy a splits table so that its first pictures of a split are files cut short."""
    damaged = splits.copy()
    chosen = damaged.index[damaged["split"] == split][:count]
    for place in chosen:
        path = folder / f"cut-{place}.png"
        path.write_bytes(Image.open(damaged.loc[place, "path"]).tobytes()[:40])
        damaged.loc[place, "path"] = str(path)
    return damaged


def test_pictures_that_fail_are_listed_and_counted_and_in_no_figure(splits, tmp_path):
    result = run(damage(splits, tmp_path, split="test", count=2), tmp_path / "out")
    rows = read_predictions(result.out)
    assert rows["status"].tolist()[:3] == ["unreadable", "unreadable", "ok"]
    assert rows.loc[:1, ["probability", "logit", "prediction", "threshold"]].eq("").all(axis=None)
    assert rows.loc[:1, "message"].str.contains("cut-").all()
    assert len(rows) == 54
    assert result.metrics["n"] == 52
    assert result.metrics["failed"] == {"n": 2, "by_status": {"unreadable": 2}}
    assert result.failed == 2
    assert "2 further pictures of test could not be scored (2 unreadable)" in result.report.read_text()


def test_failures_in_val_count_towards_the_exit_code(splits, tmp_path):
    result = run(damage(splits, tmp_path, split="val", count=1), tmp_path / "out")
    assert result.failed == 1
    assert result.metrics["val"]["n"] == 59
    assert result.metrics["failed"]["n"] == 0


def test_unreadable_pictures_of_the_manifest_stand_in_their_places(splits, tmp_path):
    manifest = pd.DataFrame("", index=range(len(splits)), columns=list(MANIFEST_COLUMNS), dtype=object)
    for column in ("path", "sha256", "label", "pathogen", "patient", "split"):
        manifest[column] = splits[column].to_numpy()
    manifest["status"] = "ok"
    second = int(np.flatnonzero(manifest["split"] == "test")[1])
    manifest.loc[second, ["status", "message"]] = ["unsupported", "A GIF."]
    kept = splits.drop(index=splits.index[second])
    result = run(kept, tmp_path / "out", manifest=manifest)
    rows = read_predictions(result.out)
    assert rows["path"].tolist() == splits.loc[splits["split"] == "test", "path"].tolist()
    assert rows.loc[1, ["status", "message", "prediction"]].tolist() == ["unsupported", "A GIF.", ""]
    assert result.metrics["n"] == 53
    assert set(result.metrics["hashes"]) == {"manifest", "splits", "test"}


def test_without_a_test_split_it_explains(splits, tmp_path):
    with pytest.raises(EvaluationError, match=r"no test pictures.*--split val"):
        run(splits[splits["split"] != "test"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_val_can_be_evaluated_and_the_report_says_that_it_flatters(splits, tmp_path):
    result = run(splits[splits["split"] != "test"], tmp_path / "out", split=Split.VAL)
    assert result.metrics["split"] == "val"
    assert result.metrics["n"] == 60
    assert not (result.out / "predictions_val.csv").exists()
    for name in ("report.html", "model_card.md"):
        assert "flatter" in (result.out / name).read_text()


@pytest.mark.parametrize(("lacking", "message"), [("val", "no val pictures"), ("NORMAL", "holds no NORMAL pictures")])
def test_without_a_val_of_both_classes_no_threshold_is_made_up(splits, tmp_path, lacking, message):
    val = splits["split"] == "val"
    gone = val if lacking == "val" else val & (splits["label"] == lacking)
    with pytest.raises(EvaluationError, match=message):
        run(splits[~gone], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_operating_point_of_the_model_needs_no_val(splits, tmp_path):
    point = OperatingPoint(threshold=0.4, temperature=2.0, rule="stored", source="bundle")
    result = run(splits[splits["split"] == "test"], tmp_path / "out", operating_point=point, full_scale=5.0)
    assert result.metrics["threshold"] == 0.4
    assert result.metrics["threshold_source"] == "bundle"
    assert result.metrics["val"] is None
    assert result.full_scale == 5.0
    assert not (result.out / "predictions_val.csv").exists()
    assert "came with the model" in result.report.read_text()


@pytest.mark.parametrize(("only", "missing"), [("PNEUMONIA", "NORMAL"), ("NORMAL", "PNEUMONIA")])
def test_one_class_gives_null_with_a_reason(splits, tmp_path, only, missing):
    result = run(splits[(splits["split"] != "test") | (splits["label"] == only)], tmp_path / "out")
    for name in ("auroc", "auprc", "f1", "mcc", "precision"):
        entry = result.metrics["metrics"][name]
        assert entry["value"] is None
        assert entry["reason"] == f"the split holds no {missing} picture"
    assert result.metrics["metrics"]["accuracy"]["value"] is not None
    assert not (result.out / "figures" / "roc.png").exists()
    assert f"the split holds no {missing} picture" in result.report.read_text()


def test_a_finished_evaluation_is_not_overwritten(evaluated, splits):
    before = (evaluated.out / "metrics.json").read_bytes()
    with pytest.raises(HilumError, match="already holds a result"):
        run(splits, evaluated.out)
    assert (evaluated.out / "metrics.json").read_bytes() == before


def test_a_patient_in_two_splits_is_refused(splits, tmp_path):
    leaking = splits.copy()
    leaking.loc[leaking.index[-1], "patient"] = leaking.loc[leaking.index[0], "patient"]
    with pytest.raises(LeakageError):
        run(leaking, tmp_path / "out")


class ShortScorer(BrightnessScorer):
    def score(self, paths):
        yield from super().score(paths[:-1])


class LongScorer(BrightnessScorer):
    def score(self, paths):
        yield from super().score([*paths, paths[0]])


@pytest.mark.parametrize("scorer", [ShortScorer(), LongScorer()])
def test_a_scorer_must_answer_each_picture_once(splits, tmp_path, scorer):
    with pytest.raises(EvaluationError, match="exactly once"):
        evaluate(scorer, splits, tmp_path / "out", config=QUICK, seed=0)
    assert not (tmp_path / "out" / "metrics.json").exists()


class BrokenScorer(BrightnessScorer):
    """Gives no number for pictures of one number."""

    def score(self, paths):
        for path, answer in zip(paths, super().score(paths), strict=True):
            yield Score(float("nan"), answer.cam) if path.endswith("003.png") else answer


def test_a_logit_that_is_no_number_is_an_error_of_its_picture(splits, tmp_path):
    result = evaluate(BrokenScorer(), splits, tmp_path / "out", config=QUICK, seed=0)
    rows = read_predictions(result.out)
    assert rows["status"].value_counts().to_dict() == {"ok": 53, "error": 1}
    assert "not a finite number" in rows.loc[rows["status"] == "error", "message"].iloc[0]
    assert result.failed == 2  # one each in val and in test


def test_when_nothing_can_be_scored_it_says_so(splits, tmp_path):
    with pytest.raises(EvaluationError, match="None of the 54 test pictures"):
        run(damage(splits, tmp_path, split="test", count=54), tmp_path / "out")
