import json
import shutil

import pytest
from tests.evaluation_data import BrightnessScorer, draw_splits

from hilum.config import EvaluateConfig, load_config
from hilum.errors import EvaluationError, HilumError
from hilum.evaluation.evaluate import METRICS, evaluate
from hilum.evaluation.ledger import LEDGER, ModelIdentity
from hilum.files import read_json, write_json, write_text
from hilum.summary.page import write_results
from hilum.summary.values import list_leaves, tabulate_anything, write_over_runs

pytestmark = pytest.mark.unit


def write_run(folder, splits, *, seed, sha, setting="train.epochs=5", ledger=None):
    """Write what the page reads of a run, and evaluate another threshold of brightness for each seed."""
    run = folder / "run"
    write_text(run / "config.yaml", load_config(overrides=[f"seed={seed}", setting]).to_yaml())
    write_json(run / "provenance.json", {"git_commit": "c" * 40, "timings": {}})
    scorer = BrightnessScorer(f"run {seed}")
    evaluate(
        scorer, splits, folder / "evaluation", config=EvaluateConfig(bootstrap=100, worst=0), seed=0,
        identity=ModelIdentity("run", "fp32", sha, sha, seed=seed), ledger=ledger,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two seeds, another recipe and a bundle of the first seed; the last two copy the evaluation and change figures."""
    folder = tmp_path_factory.mktemp("results")
    splits = draw_splits(folder / "data")
    ledger = folder / LEDGER
    first = write_run(folder / "first", splits, seed=0, sha="a" * 64, ledger=ledger)
    metrics = read_json(first / "evaluation" / METRICS)

    def derive(name, *, auroc, sha, kind="run", seed=1, setting="train.epochs=5"):
        shutil.copytree(first, folder / name)
        write_text(folder / name / "run" / "config.yaml", load_config(overrides=[f"seed={seed}", setting]).to_yaml())
        changed = json.loads(json.dumps(metrics))
        changed["metrics"]["auroc"]["value"] = auroc
        changed["model_description"]["Seed"] = str(seed)
        changed["identity"] |= {"kind": kind, "sha256": sha}
        write_json(folder / name / "evaluation" / METRICS, changed)
        return folder / name

    second = derive("second", auroc=0.9, sha="b" * 64)
    elsewhere = load_config(overrides=["seed=1", "train.epochs=5", "model.weights=/another/place/imagenet"]).to_yaml()
    write_text(second / "run" / "config.yaml", elsewhere)
    other = derive("other", auroc=0.8, sha="c" * 64, setting="train.epochs=9")
    bundle = derive("bundle", auroc=0.7, sha="d" * 64, kind="bundle", seed=0)
    shutil.rmtree(bundle / "run")
    return {"first": first, "second": second, "other": other, "bundle": bundle, "ledger": ledger, "metrics": metrics}


def write_page(made, out, *names):
    write_results([made[name] for name in names], out, ledger=made["ledger"])
    return out.read_text(encoding="utf-8")


def test_the_same_evaluations_give_the_same_bytes(made, tmp_path):
    names = ("first", "second", "other", "bundle")
    texts = [write_page(made, tmp_path / place / "results.md", *names) for place in ("one", "two")]
    assert texts[0] == texts[1]
    for figure in ("results_curves.png", "results_calibration.png"):
        pictures = [(tmp_path / place / "images" / figure).read_bytes() for place in ("one", "two")]
        assert pictures[0] == pictures[1]
        assert f"(images/{figure})" in texts[0]
    assert str(tmp_path) not in texts[0]
    for broken in ("None", "nan", "{{", "\n\n\n"):
        assert broken not in texts[0]


def test_the_page_tells_seeds_recipes_and_bundles_apart(made, tmp_path):
    text = write_page(made, tmp_path / "results.md", "first", "second", "other", "bundle")
    auroc = made["metrics"]["metrics"]["auroc"]["value"]
    mean, spread = (auroc + 0.9) / 2, abs(auroc - 0.9) / 2**0.5
    assert f"AUROC {mean:.3f} ± {spread:.3f}" in text
    assert "train.epochs = 9" in text
    assert "/another/place" not in text
    assert f"AUROC of 0.700, {0.7 - auroc:+.4f} against its run of seed 0" in text
    assert "The test set has been scored 1 time, with 1 model." in text
    assert "Kermany et al. 2018" in text


def test_a_changed_metric_changes_the_page(made, tmp_path):
    before = write_page(made, tmp_path / "before.md", "first")
    changed = shutil.copytree(made["first"], tmp_path / "changed")
    metrics = read_json(changed / "evaluation" / METRICS)
    metrics["metrics"]["mcc"]["value"] = 0.123
    write_json(changed / "evaluation" / METRICS, metrics)
    write_results([changed], tmp_path / "after.md", ledger=made["ledger"])
    after = (tmp_path / "after.md").read_text(encoding="utf-8")
    assert "0.123" in after
    assert "0.123" not in before


def test_what_is_not_there_is_left_out(made, tmp_path):
    metrics = made["metrics"]
    needed = ("model", "split", "n", "patients", "metrics", "threshold", "confusion_matrix")
    bare = tmp_path / "bare"
    write_json(bare / METRICS, {key: metrics[key] for key in needed})
    shutil.copy(made["first"] / "evaluation" / "predictions.csv", bare)
    write_results([bare], tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    for heading in ("Operating points", "Grey zone", "Deployed", "shortcuts", "Looks at", "lungs", "configuration"):
        assert heading not in text
    assert "None" not in text


def test_sections_of_any_form_are_shown(made, tmp_path):
    changed = shutil.copytree(made["first"], tmp_path / "changed")
    metrics = read_json(changed / "evaluation" / METRICS)
    masked = {"auroc_only_lungs": {"value": 0.75, "ci_low": 0.7, "ci_high": 0.8}, "curve": [0.1, 0.2], "found": 1200}
    metrics["shortcuts"] = {"masked": masked, "note": "x"}
    write_json(changed / "evaluation" / METRICS, metrics)
    write_json(changed / "robust" / "robust.json", {"summary": {"objective": 0.875}, "conditions": []})
    write_results([changed], tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| masked: AUROC only lungs | 0.750 (0.700 to 0.800) |\n| masked: found | 1,200 |" in text
    assert "0.200" not in text.partition("look at the lungs")[2].partition("##")[0]
    assert "| objective | 0.875 |" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "evaluation"), "is no evaluation, for it has no metrics.json"),
        (lambda folder: _set(folder, split="val"), "holds no figures of test pictures"),
        (lambda folder: _set(folder, n=5), "other test pictures"),
        (lambda folder: (folder / "evaluation" / "metrics.json").write_text("{"), "is not valid JSON"),
    ],
)
def test_a_wrong_folder_is_one_sentence(made, tmp_path, change, message):
    wrong = shutil.copytree(made["second"], tmp_path / "wrong")
    change(wrong)
    with pytest.raises(HilumError, match=message) as caught:
        write_results([made["first"], wrong], tmp_path / "results.md")
    assert str(wrong) in str(caught.value)
    assert not (tmp_path / "results.md").exists()


def test_a_folder_named_twice_is_refused(made, tmp_path):
    with pytest.raises(EvaluationError, match="named twice"):
        write_results([made["first"], made["first"] / "evaluation"], tmp_path / "results.md")


def _set(folder, **values):
    path = folder / "evaluation" / METRICS
    write_json(path, read_json(path) | values)


def test_numbers_over_runs():
    assert write_over_runs([{"value": 0.5, "ci_low": 0.4, "ci_high": 0.625}]) == "0.500 (0.400 to 0.625)"
    assert write_over_runs([0.5, 0.7]) == "0.600 ± 0.141"
    assert write_over_runs([0.5, None]) == "–"
    content = {"list": [{"name": "a", "x": 1.0}, {"x": 2.0}], "spread": {"mean": 0.5, "low": 0, "high": 1}, "ok": True}
    assert [path for path, _ in list_leaves(content)] == [("list", "a", "x"), ("list", "2", "x"), ("spread",)]
    assert tabulate_anything([{"a": 1, "b": 2}, {"b": 3}]) == [["b", "2.500 ± 0.707"]]
