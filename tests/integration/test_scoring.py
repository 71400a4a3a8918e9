import numpy as np
import pytest
import torch

from hilum.config import Config
from hilum.data.cache import read_prepared
from hilum.data.images import read_gray
from hilum.errors import BundleError, ImageReadError
from hilum.model.network import RadiographNet
from hilum.model.run import Run, is_run, read_run
from hilum.model.scoring import BATCH, RunScorer
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
    paths = [str(draw_picture(tmp_path / f"{i}.png")) for i in range(BATCH + 3)]
    (tmp_path / "5.png").write_bytes(b"")
    answers = list(runner.score(paths))
    assert len(answers) == len(paths)
    assert isinstance(answers[5], ImageReadError)
    assert answers[5].status is Status.UNREADABLE
    for place in (0, 6, BATCH + 2):
        gray, _ = read_gray(tmp_path / f"{place}.png")
        batch = torch.from_numpy(normalise(resize(gray, runner.spec)[None], runner.spec))
        with torch.no_grad():
            expected = network.forward_maps(batch)
        assert isinstance(answers[place], Score)
        assert answers[place].logit == pytest.approx(expected.logit.item(), abs=1e-4)
        np.testing.assert_allclose(answers[place].cam, expected.cam[0], atol=1e-4)


def test_prepared_pictures_get_the_logits_that_files_get(scorer, draw_picture, tmp_path):
    runner = scorer[0]
    paths = [str(draw_picture(tmp_path / f"{i}.png")) for i in range(BATCH + 2)]
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
