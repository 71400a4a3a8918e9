import io
import threading
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.brightness_bundle import (
    PRIOR,
    SENSITIVE_THRESHOLD,
    SIZE,
    TEMPERATURE,
    THRESHOLD,
    compute_features,
    compute_logit,
    write_brightness_bundle,
)

from hilum.data.images import read_gray
from hilum.data.phantom import draw_phantom
from hilum.errors import BundleError, ConfigError, ImageReadError
from hilum.inference.decision import calibrate
from hilum.inference.familiarity import fit_familiarity
from hilum.inference.inputs import Inputs, Item
from hilum.inference.predictor import Predictor
from hilum.inference.rule import DecisionRule, shift_prior
from hilum.inference.runtime import Network
from hilum.preprocess import resize
from hilum.types import Label, Status, View

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_brightness_bundle(tmp_path_factory.mktemp("bundle") / "brightness")


@pytest.fixture(scope="module")
def predictor(bundle):
    return Predictor.open(bundle, threads=2)


@pytest.fixture
def pictures(rng):
    """Gray pictures of all sizes and brightnesses."""
    sizes = [(SIZE, SIZE), (90, 70), (300, 500), (64, 65)]
    return [
        np.clip(rng.normal(level, 20, sizes[index % 4]), 0, 255).astype(np.uint8)
        for index, level in enumerate(rng.integers(0, 256, 40))
    ]


def as_png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def numbers(prediction):
    return prediction.status, prediction.logit, prediction.probability, prediction.prediction, prediction.cam.tolist()


def test_a_prediction_is_the_networks_answer_by_the_bundles_rule(bundle, predictor, pictures):
    for picture, prediction in zip(pictures, predictor.predict(pictures), strict=True):
        assert prediction.status is Status.OK
        assert prediction.logit == pytest.approx(compute_logit(resize(picture, bundle.spec.preprocess)), abs=1e-4)
        assert prediction.probability == float(calibrate(np.array([prediction.logit]), temperature=TEMPERATURE)[0])
        assert prediction.threshold == THRESHOLD
        assert prediction.prediction is (Label.PNEUMONIA if prediction.probability >= THRESHOLD else Label.NORMAL)
        assert prediction.cam.mean() == pytest.approx(prediction.logit, abs=1e-4)
        assert prediction.picture is None
        assert prediction.message == ""


def test_paths_bytes_arrays_and_zip_members_are_the_same_to_the_bit(predictor, pictures, tmp_path):
    contents = [as_png(picture) for picture in pictures]
    paths = [tmp_path / f"{index:02}.png" for index in range(len(pictures))]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
            archive.writestr(path.name, content)
    expected = [numbers(prediction) for prediction in predictor.predict(pictures)]
    for given in (paths, [str(path) for path in paths], contents, Inputs([str(tmp_path / "a.zip")])):
        assert [numbers(prediction) for prediction in predictor.predict(given)] == expected


def test_a_large_jpeg_is_the_same_from_every_source(predictor, rng, tmp_path):
    path = tmp_path / "x.jpg"
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8))
    coarse.resize((1500, 1100), Image.Resampling.BICUBIC).save(path, quality=90)
    reduced, _ = read_gray(path, at_least=2 * SIZE)
    assert reduced.shape[0] < 1100
    answers = [numbers(prediction) for prediction in predictor.predict([path, path.read_bytes(), reduced])]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    "options", [{"threads": 1}, {"threads": 3}, {"mode": "latency"}, {"mode": "latency", "threads": 1}]
)
def test_threads_and_modes_change_nothing(bundle, predictor, pictures, options):
    expected = [numbers(prediction) for prediction in predictor.predict(pictures)]
    other = Predictor.open(bundle, **options)
    assert [numbers(prediction) for prediction in other.predict(pictures)] == expected
    assert [numbers(other.predict_one(picture)) for picture in pictures] == expected


def test_failures_keep_their_place_and_stop_nothing(predictor, pictures, tmp_path):
    good = as_png(pictures[0])
    bad = {
        "empty": (b"", Status.UNREADABLE, "0 bytes"),
        "cut": (good[: len(good) // 2], Status.UNREADABLE, "decoded"),
        "pdf": (b"%PDF-1.7", Status.UNSUPPORTED, "PDF"),
        "missing": (tmp_path / "x.png", Status.UNREADABLE, "No such file"),
        "deep": (np.zeros((9, 9), dtype=np.uint16), Status.UNSUPPORTED, "uint16"),
        "said": (ImageReadError("It is so."), Status.UNREADABLE, "It is so."),
        "odd": (7, Status.ERROR, "cannot be prepared"),
    }
    items = []
    for name, (content, _, _) in bad.items():
        items += [Item(name, content), Item("good", good)]
    for opened in (predictor.predict(items), map(predictor.predict_one, items)):
        answers = list(opened)
        assert [answer.source for answer in answers] == [item.name for item in items]
        assert {answer.status for answer in answers[1::2]} == {Status.OK}
        for answer, (_, status, words) in zip(answers[::2], bad.values(), strict=True):
            assert answer.status is status
            assert words in answer.message
            assert (answer.probability, answer.logit, answer.prediction, answer.threshold) == (None,) * 4


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 600])
def test_failures_alone(predictor, count):
    answers = list(predictor.predict(Item(str(index), b"") for index in range(count)))
    assert [answer.source for answer in answers] == [str(index) for index in range(count)]


def test_results_come_while_pictures_are_still_taken(predictor, pictures):
    """An endless input in which 700 failures in a row must not be gathered."""
    taken = 0

    def give():
        nonlocal taken
        while True:
            taken += 1
            yield pictures[taken % 40] if taken < 100 or taken > 800 else b""

    stream = predictor.predict(give())
    ahead = []
    for index in range(1, 1500):
        next(stream)
        ahead.append(taken - index)
    stream.close()
    assert max(ahead) < 700
    assert max(ahead[:50] + ahead[1400:]) < 150


def test_memory_does_not_grow_with_the_number_of_pictures(predictor):
    picture = np.full((SIZE, SIZE), 100, dtype=np.uint8)

    def measure(count):
        tracemalloc.start()
        for _ in predictor.predict(picture for _ in range(count)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    measure(100)
    assert measure(3000) < 1.5 * measure(300)


def test_stopping_early_leaves_no_threads(predictor, pictures):
    before = {thread for thread in threading.enumerate() if thread.name.startswith("decode")}
    stream = predictor.predict(pictures[index % 40] for index in range(10_000))
    next(stream)
    stream.close()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("decode")} == before
    assert len(list(predictor.predict(pictures))) == 40


def test_an_error_of_the_input_itself_is_not_hidden(predictor, pictures):
    def give():
        yield from pictures
        raise OSError("the list cannot be read")

    with pytest.raises(OSError, match="the list"):
        list(predictor.predict(give()))


def test_pictures_are_kept_when_asked_for_and_bounded(bundle, rng):
    predictor = Predictor.open(bundle, threads=1, keep_pictures=True)
    small = rng.integers(0, 256, (300, 200), dtype=np.uint8)
    answers = list(
        predictor.predict([small, np.zeros((3000, 4500), dtype=np.uint8), np.zeros((1, 9000), dtype=np.uint8)])
    )
    assert (answers[0].picture == small).all()
    assert answers[1].picture.shape == (1365, 2048)
    assert answers[2].picture.shape == (256, 2048)


def test_another_operating_point_or_threshold(bundle, pictures):
    sensitive = DecisionRule.choose(bundle, operating_point="sensitive")
    assert sensitive.threshold == SENSITIVE_THRESHOLD
    own = DecisionRule.choose(bundle, threshold=0.9)
    for rule in (sensitive, own):
        for prediction in Predictor.open(bundle, threads=1, rule=rule).predict(pictures):
            assert prediction.threshold == rule.threshold
            assert (prediction.prediction is Label.PNEUMONIA) == (prediction.probability >= rule.threshold)
    with pytest.raises(ConfigError, match="either"):
        DecisionRule.choose(bundle, threshold=0.9, operating_point="sensitive")
    with pytest.raises(BundleError, match="balanced, sensitive"):
        DecisionRule.choose(bundle, operating_point="none")
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            DecisionRule.choose(bundle, threshold=threshold)


def test_prevalence_changes_probabilities_and_no_verdict(bundle, predictor, pictures):
    plain = list(predictor.predict(pictures))
    rare = list(Predictor.open(bundle, threads=1, rule=DecisionRule.choose(bundle, prevalence=0.05)).predict(pictures))
    for before, after in zip(plain, rare, strict=True):
        assert after.logit == before.logit
        assert after.prediction is before.prediction
        assert after.probability == shift_prior(before.probability, trained=PRIOR, deployed=0.05)
        assert after.probability <= before.probability
        assert (after.prediction is Label.PNEUMONIA) == (after.probability >= after.threshold)
    assert len({prediction.prediction for prediction in plain}) == 2


def test_a_threshold_of_ones_own_is_compared_to_what_is_shown(bundle, pictures):
    rule = DecisionRule.choose(bundle, prevalence=0.05, threshold=0.5)
    assert rule.threshold == 0.5
    for prediction in Predictor.open(bundle, threads=1, rule=rule).predict(pictures):
        assert (prediction.prediction is Label.PNEUMONIA) == (prediction.probability >= 0.5)


def test_the_prevalence_trained_with_changes_nothing(bundle, predictor, pictures):
    same = Predictor.open(bundle, threads=1, rule=DecisionRule.choose(bundle, prevalence=PRIOR))
    for before, after in zip(predictor.predict(pictures), same.predict(pictures), strict=True):
        assert after.probability == pytest.approx(before.probability, rel=1e-12)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_prevalence_that_is_none(bundle, prevalence):
    with pytest.raises(ConfigError, match="prevalence"):
        DecisionRule.choose(bundle, prevalence=prevalence)


@pytest.fixture(scope="module")
def phantoms():
    rng = np.random.default_rng(1)
    return [draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=SIZE) for _ in range(40)]


@pytest.fixture(scope="module")
def gated(tmp_path_factory, phantoms):
    features = compute_features(np.stack(phantoms))
    familiarity = fit_familiarity(features[:30], features[30:])
    folder = tmp_path_factory.mktemp("gated") / "bundle"
    return write_brightness_bundle(folder, familiarity=familiarity, locator=True)


def test_what_is_no_chest_radiograph_gets_no_number_to_believe(gated, phantoms):
    page = np.full((200, 200), 255, dtype=np.uint8)
    page[::20] = 0
    strange = [255 - phantoms[0], page, np.full((90, 90), 60, dtype=np.uint8)]
    given = [picture for pair in zip(phantoms, strange, strict=False) for picture in pair]
    answers = list(Predictor.open(gated, threads=1).predict(given))
    assert [answer.status for answer in answers[::2]] == [Status.OK] * 3
    assert all(0 < answer.familiarity <= 1 and answer.view is View.FRONTAL for answer in answers[::2])
    assert all(answer.message == "" for answer in answers[::2])
    for answer, words in zip(answers[1::2], ["inverted", "Not a frontal", "blank"], strict=True):
        assert answer.status is Status.NOT_CHEST_XRAY
        assert words in answer.message
        assert (answer.probability, answer.prediction, answer.threshold) == (None, None, None)
        assert answer.logit is not None
        assert answer.familiarity is not None
    assert [answer.status for answer in map(Predictor.open(gated, mode="latency").predict_one, given)] == [
        answer.status for answer in answers
    ]


def test_a_picture_in_colour_is_told_from_its_file(gated, phantoms):
    colour = np.stack([phantoms[0], phantoms[0] // 2, 255 - phantoms[0]], axis=-1)
    (answer,) = Predictor.open(gated, threads=1).predict([as_png(colour)])
    assert answer.status is Status.NOT_CHEST_XRAY
    assert "colour" in answer.message


def test_verdicts_may_be_asked_for_all_the_same(gated, phantoms):
    inverted = 255 - phantoms[0]
    (answer,) = Predictor.open(gated, threads=1, judge_all=True).predict([inverted])
    assert answer.status is Status.NOT_CHEST_XRAY
    assert "inverted" in answer.message
    assert answer.prediction is Label.PNEUMONIA
    assert answer.probability >= answer.threshold == THRESHOLD


def harden(phantom):
    """A radiograph of twice the contrast: still a chest to the locator, and far from all phantoms in its features."""
    return np.clip((phantom - phantom.mean()) * 2 + phantom.mean(), 0, 255).astype(np.uint8)


def test_an_unfamiliar_radiograph_is_answered_with_a_warning_and_refused_only_when_strict(tmp_path, phantoms):
    # 120 held out: with fewer than 99 no familiarity is below 0.01.
    rng = np.random.default_rng(5)
    more = np.stack([draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=SIZE) for _ in range(150)])
    familiarity = fit_familiarity(compute_features(more[:30]), compute_features(more[30:]))
    bundle = write_brightness_bundle(tmp_path / "bundle", familiarity=familiarity, locator=True)
    given = [phantoms[0], harden(phantoms[0])]
    known, strange = Predictor.open(bundle, threads=1).predict(given)
    assert (known.status, known.message) == (Status.OK, "")
    assert strange.status is Status.OK
    assert strange.prediction is not None
    assert strange.familiarity == pytest.approx(1 / 121)
    assert "do not rely on the probability" in strange.message
    known, strange = Predictor.open(bundle, threads=1, strict=True).predict(given)
    assert known.status is Status.OK
    assert (strange.status, strange.probability, strange.prediction) == (Status.NOT_CHEST_XRAY, None, None)
    assert "do not rely on the probability" in strange.message


@pytest.mark.parametrize("mode", ["throughput", "latency"])
def test_radiographs_shown_wrongly_are_put_right_on_request(gated, phantoms, mode):
    page = np.full((200, 200), 255, dtype=np.uint8)
    page[::20] = 0
    given = [phantoms[0], np.rot90(phantoms[0]), 255 - phantoms[0], np.rot90(phantoms[0], 2), page]
    answers = list(Predictor.open(gated, threads=1, mode=mode, fix=True, keep_pictures=True).predict(given))
    assert [answer.status for answer in answers] == [Status.OK] * 4 + [Status.NOT_CHEST_XRAY]
    upright = answers[0]
    views = [View.FRONTAL, View.TURNED_LEFT, View.INVERTED, View.UPSIDE_DOWN, View.OTHER]
    assert [answer.view for answer in answers] == views
    for answer in answers[1:4]:
        assert answer.logit == pytest.approx(upright.logit, abs=1e-4)
        assert "scored" in answer.message
        assert np.array_equal(answer.picture, upright.picture)


def test_a_bundle_of_version_1_refuses_by_its_limit_and_knows_no_familiarity(tmp_path, phantoms):
    features = compute_features(np.stack(phantoms))
    fitted = fit_familiarity(features[:30], features[30:])
    limit = float(fitted.held_out[-1])
    old = replace(fitted, held_out=np.empty(0, dtype=np.float32), limit=limit)
    bundle = write_brightness_bundle(tmp_path / "bundle", familiarity=fitted)
    predictor = Predictor(bundle, Network.open(bundle, threads=1), old, DecisionRule.choose(bundle))
    near, far = predictor.predict([phantoms[0], harden(phantoms[0])])
    assert (near.status, near.familiarity, near.view) == (Status.OK, None, None)
    assert far.status is Status.NOT_CHEST_XRAY
    assert "limit 1.00" in far.message


def test_opening_by_folder(bundle, pictures):
    assert Predictor.open(bundle.folder, threads=1).predict_one(pictures[0]).status is Status.OK
    with pytest.raises(BundleError, match="no bundle"):
        Predictor.open(bundle.folder / "nowhere")
