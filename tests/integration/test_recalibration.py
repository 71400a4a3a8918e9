"""`hilum recalibrate` with a small real network: a bundle in, pictures of another machine, a bundle out."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.brightness_bundle import PRIOR, SIZE, TEMPERATURE, compute_features, write_brightness_bundle

from hilum.bundle import OperatingPointSpec, list_seen, read_bundle, write_bundle
from hilum.cli import app
from hilum.data.manifest import load_data, write_manifest
from hilum.data.phantom import draw_phantom
from hilum.errors import DataError, HilumError, LeakageError
from hilum.evaluation.conformal import ConformalRule
from hilum.evaluation.recalibration import recalibrate_bundle, tell_gain
from hilum.files import read_json
from hilum.inference.familiarity import fit_familiarity
from hilum.inference.grey_zone import GreyZone
from hilum.inference.predictor import Predictor
from hilum.inference.rule import DecisionRule
from hilum.inference.scoring import BundleScorer
from hilum.types import Label

pytestmark = pytest.mark.integration


def point(threshold):
    return OperatingPointSpec(
        threshold=threshold, rule="largest Youden's J", chosen_on="val", n=100, sensitivity=0.9, specificity=0.9
    )


POINTS = {"youden": point(0.5), "sensitivity-99": point(0.2), "specificity-95": point(0.8), "by hand": point(0.4)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_brightness_bundle(tmp_path_factory.mktemp("base") / "bundle", points=POINTS)


def draw_local(folder, *, normal=30, pneumonia=30, shift=2.0, seed=0):
    """Draw pictures of a machine whose films are brighter: the logits of both classes are higher by `shift`."""
    random = np.random.default_rng(seed)
    for label, count, centre in (("NORMAL", normal, -2.0), ("PNEUMONIA", pneumonia, 2.0)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            gray = 255 * (0.5 + (random.normal(centre, 1.5) + shift) / 40)
            pixels = np.clip(gray + random.normal(0, 3, (SIZE, SIZE)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{label[0]}{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return draw_local(tmp_path_factory.mktemp("local") / "hospital")


def run(bundle, data, out, **options):
    return recalibrate_bundle(
        BundleScorer(bundle), load_data(data), out, data=str(data), resamples=100, **options
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(bundle, local, tmp_path_factory):
    return run(bundle, local, tmp_path_factory.mktemp("out") / "bundle2")


def test_the_new_bundle_is_whole_and_says_what_was_done(done, bundle):
    read = read_bundle(done.bundle.folder)
    spec, recorded = read.spec, read.spec.recalibration
    assert spec == done.bundle.spec
    assert (spec.name, spec.version) == ("brightness", "1-local")
    assert (recorded.base, recorded.n, recorded.normal, recorded.pneumonia) == ("brightness 1", 60, 30, 30)
    assert (recorded.base_temperature, recorded.base_intercept, recorded.base_prior) == (TEMPERATURE, 0.0, PRIOR)
    assert spec.training_prior == 0.5
    assert set(spec.operating_points) == set(POINTS)
    thresholds = [point.threshold for point in spec.operating_points.values()]
    assert thresholds == sorted(thresholds)
    assert spec.default_operating_point == "youden"
    assert "refitted" in spec.operating_point.rule
    assert (read.folder / "network.bin").read_bytes() == (bundle.folder / "network.bin").read_bytes()
    assert spec.provenance == bundle.spec.provenance
    assert "Recalibrated" in spec.describe()


def test_it_mends_what_the_other_machine_broke(done):
    before, after = done.local.before, done.local.after
    assert after["specificity"].value > before["specificity"].value + 0.15
    assert after["brier"].value < before["brier"].value - 0.05
    assert after["auroc"] == before["auroc"]
    assert "is the better one" in tell_gain(done.local)
    turned = done.local.model_copy(update={"before": after, "after": before})
    assert tell_gain(turned).endswith("brightness 1 may as well stay.")
    for metrics in (before, after):
        for metric in metrics.values():
            assert metric.ci_low <= metric.value <= metric.ci_high


def test_fresh_pictures_of_that_machine_are_judged_better(done, bundle, tmp_path):
    fresh = draw_local(tmp_path / "fresh", normal=40, pneumonia=40, seed=9)
    paths = sorted(fresh.rglob("*.png"))
    ill = np.array(["PNEUMONIA" in path.parts for path in paths])
    right = {}
    for chosen in (bundle, done.bundle):
        answers = list(Predictor.open(chosen).predict(map(str, paths)))
        right[chosen.folder] = np.mean(
            [(a.prediction == "PNEUMONIA") == truth for a, truth in zip(answers, ill, strict=True)]
        )
        assert [answer.logit for answer in answers] == pytest.approx(
            [a.logit for a in Predictor.open(bundle).predict(map(str, paths))]
        )
    assert right[done.bundle.folder] > right[bundle.folder] + 0.1
    assert GreyZone.choose(done.bundle, DecisionRule.choose(done.bundle)).rule_in == "specificity-95"


def test_the_card_tells_of_it_above_the_earlier_card(done, bundle, local, tmp_path):
    card = (done.bundle.folder / "model_card.md").read_text(encoding="utf-8")
    assert card.startswith("# Model card: brightness 1-local")
    assert repr(done.bundle.spec.temperature) in card
    assert "as it was before" not in card  # that bundle had no card
    carded = tmp_path / "carded"
    (tmp_path / "model_card.md").write_text("# Model card: brightness\n\n## Data\n\nSome.\n", encoding="utf-8")
    files = {name: bundle.folder / name for name in bundle.spec.files} | {"model_card.md": tmp_path / "model_card.md"}
    again = run(write_bundle(carded, bundle.spec, files), local, tmp_path / "out")
    text = (again.bundle.folder / "model_card.md").read_text(encoding="utf-8")
    assert "## The card of brightness 1, as it was before" in text
    assert "\n### Data\n" in text


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"normal": 0, "pneumonia": 30}, "no readable NORMAL pictures"),
        ({"normal": 9, "pneumonia": 9}, "18 readable pictures with a label, and a recalibration takes at least 20"),
        ({"normal": 4, "pneumonia": 30}, "4 readable NORMAL pictures of 4 patients"),
    ],
)
def test_too_few_pictures_are_refused(bundle, tmp_path, counts, message):
    data = draw_local(tmp_path / "data", **counts)
    with pytest.raises(DataError, match=message):
        run(bundle, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_of_few_patients_is_dealt_so_that_some_are_left(bundle, tmp_path):
    folder = draw_local(tmp_path / "hospital", normal=6, pneumonia=16)
    table = pd.DataFrame({"path": [str(path) for path in sorted(folder.rglob("*.png"))]})
    table["label"] = table["path"].map(lambda path: Path(path).parent.name)
    table["patient"] = ["a", "b"] * 4 + [f"sick/{number}" for number in range(14)]  # both healthy and sick
    table.to_csv(tmp_path / "labels.csv", index=False)
    for seed in range(10):
        done = run(bundle, tmp_path / "labels.csv", tmp_path / f"out-{seed}", seed=seed)
        assert (done.local.normal, done.local.pneumonia) == (6, 16)


def test_what_is_known_already_is_refused(bundle, done, local, tmp_path):
    manifest = load_data(local)
    with pytest.raises(LeakageError, match=r"recalibrated on .* already"):
        run(done.bundle, local, tmp_path / "out")
    provenance = bundle.spec.provenance.model_copy(update={"manifest_hash": done.local.manifest_hash})
    trained = write_bundle(
        tmp_path / "trained",
        bundle.spec.model_copy(update={"provenance": provenance}),
        {name: bundle.folder / name for name in bundle.spec.files},
    )
    write_manifest(manifest, tmp_path / "manifest.csv")
    with pytest.raises(LeakageError, match="was trained on"):
        run(trained, tmp_path / "manifest.csv", tmp_path / "out")


def test_a_part_of_what_is_known_is_refused_too(bundle, done, local, tmp_path):
    fresh = draw_local(tmp_path / "hospital", normal=25, pneumonia=25, seed=5)
    known = sorted((local / "NORMAL").glob("*.png"))[0]
    shutil.copy(known, fresh / "NORMAL" / "same.png")
    with pytest.raises(LeakageError, match=r"brightness 1-local was made of 1 of the 51 pictures .*same\.png"):
        run(done.bundle, fresh, tmp_path / "out")
    (fresh / "NORMAL" / "same.png").unlink()
    twice = run(done.bundle, fresh, tmp_path / "out").bundle
    digests = [*load_data(local)["sha256"], *load_data(fresh)["sha256"]]
    assert all(list_seen(twice, digests))
    assert not any(list_seen(bundle, digests))


def test_an_output_that_holds_something_is_left_alone(bundle, local, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note").write_text("keep", encoding="utf-8")
    with pytest.raises(HilumError, match="not an empty folder"):
        run(bundle, local, tmp_path / "out")
    assert (tmp_path / "out" / "note").read_text(encoding="utf-8") == "keep"


def test_the_command_prints_before_and_after_and_predict_tells_zones(bundle, local, tmp_path, capsys):
    (local / "NORMAL" / "broken.png").write_bytes(b"cut short")
    try:
        code = app(
            ["recalibrate", str(bundle.folder), str(local), "--out", str(tmp_path / "out"), "--model-version", "2"],
            standalone_mode=False,
        )
    finally:
        (local / "NORMAL" / "broken.png").unlink()
    assert code == 1  # one picture could not be read
    printed = capsys.readouterr().out
    for text in ("60 local pictures of 60 patients", "Before", "After", "specificity", "Pictures without a score: 1"):
        assert text in printed
    assert read_bundle(tmp_path / "out").spec.version == "2"

    table = tmp_path / "verdicts.csv"
    arguments = ["predict", str(local / "NORMAL"), "--model", str(tmp_path / "out"), "--out", str(table)]
    app([*arguments, "--grey-zone"], standalone_mode=False)
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    assert header == "path,status,probability,logit,prediction,threshold,message,familiarity,zone"
    refitted = read_bundle(tmp_path / "out")
    zone = GreyZone.choose(refitted, DecisionRule.choose(refitted))
    for row in rows:
        cells = row.split(",")
        assert cells[-1] == zone.place(float(cells[2]))
    app([*arguments[:-1], str(tmp_path / "plain.csv")], standalone_mode=False)
    assert (tmp_path / "plain.csv").read_text(encoding="utf-8").splitlines()[0].endswith(",familiarity")


def test_pictures_that_the_gate_would_refuse_are_counted(local, tmp_path, capsys):
    rng = np.random.default_rng(1)
    phantoms = np.stack([draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=SIZE) for _ in range(40)])
    features = compute_features(phantoms)
    gated = write_brightness_bundle(
        tmp_path / "gated", familiarity=fit_familiarity(features[:30], features[30:]), locator=True, points=POINTS
    )
    done = run(gated, local, tmp_path / "out")
    assert done.refused == done.local.n == 60  # flat gray pictures are no radiographs
    assert all(score.refused for score in BundleScorer(gated).score([str(path) for path in local.rglob("*.png")]))
    app(["recalibrate", str(gated.folder), str(local), "--out", str(tmp_path / "again")], standalone_mode=False)
    assert "takes 60 of these 60 pictures for no frontal chest radiographs" in capsys.readouterr().out


def test_an_evaluation_of_the_bundle_measures_its_own_points(bundle, local, tmp_path):
    stored = ConformalRule(0.1, by_class=True, quantiles=(0.9, 0.8)).to_spec(chosen_on="val", n=100)
    files = {name: bundle.folder / name for name in bundle.spec.files}
    write_bundle(tmp_path / "sets", bundle.spec.model_copy(update={"conformal": (stored,)}), files)
    out = tmp_path / "evaluation"
    arguments = ["evaluate", str(tmp_path / "sets"), str(local), "--out", str(out), "--split", "all"]
    app([*arguments, "--set", "evaluate.bootstrap=100", "--set", "evaluate.worst=0"], standalone_mode=False)
    metrics = read_json(out / "metrics.json")
    entries = {entry["name"]: entry for entry in metrics["operating_points"]}
    assert list(entries) == sorted(POINTS, key=lambda name: POINTS[name].threshold)
    youden = entries["youden"]
    assert (youden["val_sensitivity"], youden["val"]) == (0.9, None)
    assert youden["tested"]["specificity"]["value"] == metrics["metrics"]["specificity"]["value"]
    assert (metrics["grey_zone"]["rule_out_below"], metrics["grey_zone"]["rule_in_from"]) == (0.2, 0.8)
    assert [entry["quantiles"] for entry in metrics["conformal"]] == [{"NORMAL": 0.9, "PNEUMONIA": 0.8}]
    assert metrics["transfer"]["prior"]["assumed"] == PRIOR
    assert set(metrics["transfer"]["ece"]["recalibrated"]) == {"20"}
    assert metrics["calibration"]["method"] == "temperature"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "Operating points and grey zone" in report
    assert (out / "figures" / "transfer.png").is_file()
