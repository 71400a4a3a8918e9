import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from tests.quick_run import write_quick_run

from hilum.bundle import BundleSpec, NetworkFormat, Precision, list_seen, read_bundle, resolve_bundle
from hilum.cli.judging import Part, evaluate_bundle, evaluate_run
from hilum.config import Config, EvaluateConfig
from hilum.data.cache import read_prepared
from hilum.data.manifest import load_data
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import BundleError, ConfigError, DataError, LeakageError
from hilum.evaluation.deployment import explain_difference
from hilum.export import ExportOptions, export_run
from hilum.inference.predictor import Predictor
from hilum.inference.runtime import Mode, Network
from hilum.inference.scoring import BundleScorer
from hilum.model.device import choose_device, describe_device
from hilum.model.scoring import RunScorer
from hilum.preprocess import PreprocessSpec, normalise
from hilum.types import Score, Split

pytestmark = pytest.mark.integration

SIZE = 64
# Not those of ImageNet: the constants must come from the run.
SPEC = PreprocessSpec(size=SIZE, mean=(0.2, 0.4, 0.6), std=(0.5, 0.25, 0.3))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", patients=40, seed=3, size=SIZE)
    return folder, load_data(folder)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quick"
    _, manifest = data
    config = Config(preprocess=SPEC, evaluate=EvaluateConfig(bootstrap=100))
    write_quick_run(folder, manifest, build_splits(manifest, val_fraction=0.3, seed=0), config)
    return folder


@pytest.fixture(scope="module")
def fp32(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "fp32"
    options = ExportOptions(Precision.FP32, name="phantoms", version="7", licence="CC0-1.0")
    return export_run(run, out, options=options)


@pytest.fixture(scope="module")
def int8(run, tmp_path_factory):
    return export_run(
        run, tmp_path_factory.mktemp("bundles") / "int8", options=ExportOptions(weights_licence="CC BY 4.0", force=True)
    )


@pytest.fixture(scope="module")
def onnx(run, tmp_path_factory):
    pytest.importorskip("onnxscript")
    options = ExportOptions(Precision.FP32, NetworkFormat.ONNX)
    return export_run(run, tmp_path_factory.mktemp("bundles") / "onnx", options=options)


@pytest.fixture(scope="module")
def pictures(data):
    phantoms = np.stack([read_prepared(path, SPEC) for path in data[1]["path"][:9]])
    return np.concatenate([phantoms, np.zeros_like(phantoms[:1]), np.full_like(phantoms[:1], 255)])


@pytest.fixture(scope="module")
def answers(run, pictures):
    """What the trained network says of the pictures, with the preprocessing of training."""
    with torch.inference_mode():
        return RunScorer.open(run).network.forward_maps(torch.from_numpy(normalise(pictures, SPEC)))


def assert_equal_outputs(output, expected, *, atol):
    for name in ("logit", "cam", "features"):
        np.testing.assert_allclose(getattr(output, name), getattr(expected, name).numpy(), atol=atol, err_msg=name)


@pytest.mark.parametrize("mode", list(Mode))
def test_torch_and_openvino_agree(fp32, pictures, answers, mode):
    assert_equal_outputs(Network.open(fp32, mode=mode).infer(pictures), answers, atol=1e-3)


def test_torch_and_onnx_agree_in_both_runtimes(onnx, pictures, answers):
    assert sorted(onnx.spec.files) == ["gate.npz", "model_card.md", "network.onnx", "seen.txt"]
    assert_equal_outputs(Network.open(onnx).infer(pictures), answers, atol=1e-3)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(onnx.network, providers=["CPUExecutionProvider"])
    for count in (1, len(pictures)):
        values = session.run(["logit", "cam", "features"], {"pictures": pictures[:count]})
        wanted = (answers.logit, answers.cam, answers.features)
        for value, expected in zip(values, wanted, strict=True):
            np.testing.assert_allclose(value, expected[:count].numpy(), atol=1e-3)


def test_the_map_explains_the_logit(fp32, run, pictures):
    output = Network.open(fp32).infer(pictures)
    bias = RunScorer.open(run).network.fc.bias.item()
    np.testing.assert_allclose(output.cam.mean((1, 2)) + bias, output.logit, atol=1e-3)


def test_threads_do_not_change_the_answer(fp32, pictures):
    expected = Network.open(fp32, threads=1).infer(pictures)
    for threads in (2, 3):
        answer = Network.open(fp32, threads=threads).infer(pictures)
        np.testing.assert_allclose(answer.logit, expected.logit, atol=1e-5)


def test_the_bundle_says_what_it_is(fp32, int8, run):
    read = read_bundle(fp32.folder)
    assert read.spec == fp32.spec
    spec = read.spec
    assert (spec.name, spec.version, spec.licence) == ("phantoms", "7", "CC0-1.0")
    assert spec.preprocess == SPEC
    trained = RunScorer.open(run).run
    assert trained.config.train.balance == "weights"
    share = (trained.splits.loc[trained.splits["split"] == Split.VAL, "label"] == "PNEUMONIA").mean()
    # Classes that count alike teach odds of one half, unless an intercept moved them to the share in val.
    assert spec.training_prior == pytest.approx(share if spec.intercept else 0.5)
    assert [(sets.alpha, sets.by_class) for sets in spec.conformal] == [
        (0.05, True), (0.1, True), (0.05, False), (0.1, False),
    ]  # fmt: skip
    assert spec.provenance.manifest_hash == trained.provenance["manifest_hash"]
    assert spec.provenance.weights.licence.startswith("none")
    assert int8.spec.provenance.weights.licence == "CC BY 4.0"  # as it was told
    assert spec.metrics["auroc"].value == pytest.approx(spec.parity.auroc_exported)
    for point in spec.operating_points.values():
        assert (point.chosen_on, point.n) == ("val", (trained.splits["split"] == Split.VAL).sum())
    assert spec.operating_points["sensitivity-99"].sensitivity >= 0.99
    assert spec.operating_points["specificity-95"].specificity >= 0.95


def test_an_export_of_float32_changes_nothing(fp32):
    parity = fp32.spec.parity
    assert parity.max_logit_difference <= 1e-3
    assert (parity.changed_verdicts, parity.changed_after_refit, parity.forced) == (0, 0, False)


def test_the_card_tells_of_val_alone(fp32):
    card = (fp32.folder / "model_card.md").read_text(encoding="utf-8")
    assert "Measured on val" in card
    assert "flatter" in card
    assert "Measured on test" not in card
    assert repr(fp32.spec.temperature) in card


def test_int8_is_small_and_records_how_far_it_is_off(int8, fp32, pictures, answers):
    sizes = [(bundle.folder / "network.bin").stat().st_size for bundle in (int8, fp32)]
    assert sizes[0] < 0.27 * sizes[1]
    parity = int8.spec.parity
    assert 0 < parity.mean_logit_difference <= parity.max_logit_difference
    assert parity.forced == bool(explain_difference(parity))
    assert int8.spec.provenance.calibration_pictures > 0
    output, phantoms = Network.open(int8).infer(pictures), slice(0, 9)
    for name, least in (("logit", 0.95), ("cam", 0.95), ("features", 0.9)):
        values, expected = getattr(output, name)[phantoms], getattr(answers, name)[phantoms].numpy()
        assert np.corrcoef(values.ravel(), expected.ravel())[0, 1] > least, name


def test_a_network_that_says_something_else_is_refused(run, tmp_path, monkeypatch):
    # No rounding is small enough for this bound, whatever the processor.
    monkeypatch.setattr("hilum.evaluation.deployment.MAX_CHANGED_SHARE", -1.0)
    with pytest.raises(BundleError, match=r"differs too much .* verdicts on val change .* or --force"):
        export_run(run, tmp_path / "bundles" / "out", options=ExportOptions(Precision.BF16))
    assert list((tmp_path / "bundles").iterdir()) == []


def test_bf16_halves_the_file(run, fp32, tmp_path):
    bundle = export_run(run, tmp_path / "bf16", options=ExportOptions(Precision.BF16, force=True))
    sizes = [(folder / "network.bin").stat().st_size for folder in (bundle.folder, fp32.folder)]
    assert sizes[0] < 0.51 * sizes[1]


def test_a_run_that_is_no_bundle_and_a_bundle_that_is_there(run, fp32):
    with pytest.raises(BundleError, match=f"'hilum export {run} --out BUNDLE'"):
        resolve_bundle(run)
    with pytest.raises(BundleError, match="not an empty folder"):
        export_run(run, fp32.folder)


def test_onnx_is_float32_only(run, tmp_path):
    with pytest.raises(ConfigError, match="ONNX bundles are float32"):
        export_run(run, tmp_path / "out", options=ExportOptions(Precision.INT8, NetworkFormat.ONNX))
    assert not (tmp_path / "out").exists()


def test_a_missing_picture_is_one_sentence_and_leaves_nothing(run, data, tmp_path):
    folder, _ = data
    picture = next((folder / "train").rglob("*.jpeg"))
    hidden = picture.rename(picture.with_suffix(".hidden"))
    try:
        with pytest.raises(DataError, match=rf"1 of the [0-9]+ pictures .* first of them .*{picture.name}"):
            export_run(run, tmp_path / "bundles" / "out")
        assert list((tmp_path / "bundles").iterdir()) == []
    finally:
        hidden.rename(picture)


def test_a_bundle_scores_as_its_run_does(fp32, run, data):
    _, manifest = data
    paths = [*manifest["path"][:10], "missing.jpeg", *manifest["path"][10:20]]
    for bundled, trained in zip(BundleScorer(fp32).score(paths), RunScorer.open(run).score(paths), strict=True):
        if isinstance(trained, Score):
            assert bundled.logit == pytest.approx(trained.logit, abs=1e-3)
            np.testing.assert_allclose(bundled.cam, trained.cam, atol=1e-2)
        else:
            assert bundled.status == trained.status


def list_tested(manifest):
    return manifest.loc[manifest["split"] == Split.TEST, "path"].tolist()


def test_a_bundle_is_evaluated_at_its_own_operating_point(fp32, run, data, tmp_path):
    folder, manifest = data
    settings = EvaluateConfig(bootstrap=100)
    shared = {"split": Part.TEST, "settings": settings, "seed": 0, "data": str(folder), "command": "hilum evaluate"}
    bundled = evaluate_bundle(BundleScorer.open(fp32.folder), manifest, tmp_path / "bundle", **shared).metrics
    trained = evaluate_run(RunScorer.open(run), manifest, tmp_path / "run", **shared).metrics
    assert bundled["threshold"] == fp32.spec.operating_point.threshold
    assert bundled["threshold_source"] == "phantoms 7, youden"
    assert bundled["heatmap_full_scale"] == fp32.spec.heatmap_full_scale
    assert bundled["confusion_matrix"] == trained["confusion_matrix"]
    cells, gate = bundled["confusion_matrix"], bundled["gate"]
    assert (gate["NORMAL"]["n"], gate["PNEUMONIA"]["n"]) == (cells["tn"] + cells["fp"], cells["fn"] + cells["tp"])
    refused = [answer.status == "not_chest_xray" for answer in Predictor.open(fp32).predict(list_tested(manifest))]
    assert gate["NORMAL"]["refused"] + gate["PNEUMONIA"]["refused"] == sum(refused)
    report = (tmp_path / "bundle" / "report.html").read_text(encoding="utf-8")
    assert "The input gate takes" in report
    assert "none of their files is among those that the model and its thresholds were made with" in report
    assert trained["gate"] is None
    assert bundled["metrics"]["auroc"]["value"] == pytest.approx(trained["metrics"]["auroc"]["value"])
    assert re.fullmatch(r"cpu \(.+, \d+ cores\), OpenVINO \d{4}\.\d+\.\d+", bundled["device"])
    assert trained["device"] == describe_device(choose_device("auto"))
    assert bundled["precision"] == trained["precision"] == "float32"
    assert f"{bundled['device']}, float32" in report
    with pytest.raises(LeakageError, match="was trained on pictures of"):
        evaluate_bundle(BundleScorer(fp32), manifest, tmp_path / "all", **{**shared, "split": Part.ALL})


def test_a_bundle_knows_the_pictures_that_it_was_made_of(fp32, data, tmp_path):
    _, manifest = data
    made = manifest[manifest["split"] != Split.TEST]
    assert all(list_seen(fp32, made["sha256"]))
    assert not any(list_seen(fp32, manifest.loc[manifest["split"] == Split.TEST, "sha256"]))
    some = pd.concat([manifest[manifest["split"] == Split.TEST], made.iloc[:2]])  # another manifest hash
    shared = {"settings": EvaluateConfig(bootstrap=100), "seed": 0, "data": "some", "command": "hilum evaluate"}
    with pytest.raises(LeakageError, match=rf"was made of 2 of the {len(some)} pictures to score"):
        evaluate_bundle(BundleScorer(fp32), some, tmp_path / "out", split=Part.ALL, **shared)
    assert not (tmp_path / "out").exists()
    test = manifest[manifest["split"] == Split.TEST].assign(split=str(Split.TRAIN))
    evaluate_bundle(BundleScorer(fp32), test, tmp_path / "whole", split=Part.ALL, **shared)
    assert "whatever split they stand in there" in (tmp_path / "whole" / "report.html").read_text(encoding="utf-8")


def test_evaluating_a_bundle_imports_no_torch(fp32, data, tmp_path):
    code = (
        "import sys; from hilum.cli import app; "
        "sys.argv = ['hilum', 'evaluate', *sys.argv[1:]]; app(standalone_mode=False); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    arguments = [str(fp32.folder), str(data[0]), "--out", str(tmp_path / "out"), "--set", "evaluate.bootstrap=100"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith("False")


def test_the_schema_is_closed(fp32):
    assert BundleSpec.model_config["extra"] == "forbid"
    assert BundleSpec.model_validate_json(fp32.spec.model_dump_json()) == fp32.spec
