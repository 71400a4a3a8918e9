import numpy as np
import pytest
import torch
from tests.quick_run import write_quick_run

from hilum.config import Config
from hilum.data.cache import read_prepared
from hilum.data.images import read_gray
from hilum.data.manifest import load_data
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits
from hilum.errors import BundleError, DeviceError, ImageReadError
from hilum.model.device import choose_dtype, describe_device
from hilum.model.inputs import normalise_on_device
from hilum.model.network import RadiographNet
from hilum.model.run import Run, is_run, read_run
from hilum.model.scoring import RunScorer
from hilum.model.weights import save_network
from hilum.preprocess import PreprocessSpec, normalise, resize
from hilum.types import Score, Status

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = RadiographNet().eval()
    save_network(network, folder / "model.safetensors")
    config = Config(preprocess=PreprocessSpec(size=32))
    return RunScorer(Run(folder, config, None, {})), network


def test_answers_come_in_order_with_errors_in_their_places(scorer, draw_picture, tmp_path):
    runner, network = scorer
    paths = [str(draw_picture(tmp_path / f"{i}.png")) for i in range(runner.batch + 3)]
    (tmp_path / "5.png").write_bytes(b"")
    answers = list(runner.score(paths))
    assert len(answers) == len(paths)
    assert isinstance(answers[5], ImageReadError)
    assert answers[5].status is Status.UNREADABLE
    for place in (0, 6, runner.batch + 2):
        gray, _ = read_gray(tmp_path / f"{place}.png")
        batch = torch.from_numpy(normalise(resize(gray, runner.spec)[None], runner.spec))
        with torch.no_grad():
            expected = network.forward_maps(batch)
        assert isinstance(answers[place], Score)
        assert answers[place].logit == pytest.approx(expected.logit.item(), abs=1e-4)
        np.testing.assert_allclose(answers[place].cam, expected.cam[0], atol=1e-4)


def test_prepared_pictures_get_the_logits_that_files_get(scorer, draw_picture, tmp_path):
    runner = scorer[0]
    paths = [str(draw_picture(tmp_path / f"{i}.png")) for i in range(runner.batch + 2)]
    pictures = np.stack([read_prepared(path, runner.spec) for path in paths])
    expected = [answer.logit for answer in runner.score(paths)]
    np.testing.assert_allclose(runner.score_prepared(pictures), expected, rtol=1e-6)
    assert runner.score_prepared(pictures[:0]).shape == (0,)


def test_nothing_to_score_gives_nothing(scorer):
    assert list(scorer[0].score([])) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    assert not is_run(tmp_path)
    with pytest.raises(BundleError, match="not a run folder"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match="has not finished an epoch"):
        read_run(tmp_path)


def test_normalising_on_the_device_is_that_of_preprocess_bit_for_bit():
    images = np.arange(2 * 32 * 32, dtype=np.int64).reshape(2, 32, 32).astype(np.uint8)
    spec = PreprocessSpec(size=32)
    np.testing.assert_array_equal(normalise_on_device(torch.from_numpy(images), spec), normalise(images, spec))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A run whose logits are those of a classifier, some units wide, and prepared images."""
    folder = tmp_path_factory.mktemp("classifier")
    data = write_phantoms(folder / "data", patients=24, seed=1, size=64)
    manifest = load_data(data)
    splits = build_splits(manifest, val_fraction=0.2, seed=0)
    config = Config(preprocess=PreprocessSpec(size=64))
    write_quick_run(folder / "run", manifest, splits, config)
    return folder / "run", np.stack([read_prepared(path, config.preprocess) for path in splits["path"]])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.02), (torch.bfloat16, 0.2)])
def test_half_precision_is_close_to_float32(classifier, dtype, tolerance):
    run, images = classifier
    scorer = RunScorer.open(run, device="cpu")
    exact = scorer.score_prepared(images)
    assert exact.std() > 1
    half = scorer._compute_logits(images, dtype)
    assert 0 < np.abs(half - exact).max() < tolerance
    assert np.abs(scorer.score_quickly(images) - exact).max() < 0.2


def test_float32_is_computed_as_such_and_the_flags_come_back(classifier, monkeypatch):
    run, images = classifier
    scorer = RunScorer.open(run, device="cpu")
    seen = []
    whole = scorer.network.forward

    def read_flags():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def forward(inputs):
        seen.append(read_flags())
        return whole(inputs)

    before = read_flags()
    monkeypatch.setattr(scorer.network, "forward", forward)
    scorer.score_prepared(images[:2])
    assert seen == [(False, False)]
    assert read_flags() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to compare with the CPU")
def test_a_gpu_gives_the_logits_of_the_cpu(classifier):
    run, images = classifier
    cpu, gpu = (RunScorer.open(run, device=device) for device in ("cpu", "cuda"))
    exact = cpu.score_prepared(images)
    np.testing.assert_allclose(gpu.score_prepared(images), exact, atol=1e-3)
    np.testing.assert_allclose(gpu.score_quickly(images), exact, atol=0.02)
    for one, other in zip(gpu.score_pictures(images[:8]), cpu.score_pictures(images[:8]), strict=True):
        np.testing.assert_allclose(one.cam, other.cam, atol=1e-3)


def test_batches_that_do_not_fit_are_halved(classifier, monkeypatch):
    run, images = classifier
    scorer = RunScorer.open(run, device="cpu")
    expected = scorer.score_prepared(images)
    whole = scorer.network.forward

    sizes = []

    def forward(inputs):
        sizes.append(len(inputs))
        if len(inputs) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(inputs)

    monkeypatch.setattr(scorer.network, "forward", forward)
    np.testing.assert_allclose(scorer.score_prepared(images), expected, atol=1e-4)
    assert scorer.batch == 4
    assert sizes[:4] == [32, 16, 8, 4]
    monkeypatch.setattr(scorer.network, "forward", lambda _: forward(range(6)))
    with pytest.raises(DeviceError, match=r"cpu has too little free memory; close what else uses it\.$"):
        scorer.score_prepared(images)


def test_what_fails_for_another_reason_is_not_tried_again(classifier, monkeypatch):
    run, images = classifier
    scorer = RunScorer.open(run, device="cpu")
    calls = []

    def forward(inputs):
        calls.append(len(inputs))
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(scorer.network, "forward", forward)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        scorer.score_prepared(images)
    assert len(calls) == 1


def test_the_report_says_what_scored(classifier):
    scorer = RunScorer.open(classifier[0], device="cpu")
    assert scorer.describe()["Scored on"].startswith("cpu (")
    assert scorer.describe()["Scored on"].endswith(", float32")
    assert scorer.describe_runtime() == {"device": describe_device(scorer.device), "precision": "float32"}
    quickly = "bfloat16" if choose_dtype(scorer.device) is torch.bfloat16 else "float32"
    assert scorer.describe_runtime(quickly=True)["precision"] == quickly
