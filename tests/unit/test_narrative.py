import numpy as np
import pytest
from tests.evaluation_data import build_results, draw_scored

from hilum.bundle import OperatingPointSpec
from hilum.config import EvaluateConfig
from hilum.evaluation.background import Background, Origin, recognise_origin
from hilum.evaluation.findings import list_findings
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.narrative import write_passages, write_verdict
from hilum.evaluation.results import measure
from hilum.evaluation.thresholds import OperatingPoint
from hilum.evaluation.wording import (
    write_count,
    write_estimate,
    write_interval,
    write_list,
    write_percent,
    write_probability,
)
from hilum.report.render import Severity
from hilum.types import Split

pytestmark = pytest.mark.unit

DESCRIPTION = {"Network": "ResNet-50, one logit", "Initial weights": "ImageNet"}


@pytest.fixture(scope="module")
def val():
    return draw_scored(Split.VAL, seed=1, size=200)


def tell(results, *, background=None, origin=Origin.UNKNOWN):
    passages = write_passages(results, background=background or Background(), origin=origin, description=DESCRIPTION)
    text = {passage.heading: plain(" ".join(passage.sentences)) for passage in passages}
    assert not any("None" in passage or "nan" in passage for passage in text.values())
    return text


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_numbers_in_sentences():
    assert plain(write_percent(0.9688)) == "96.9 %"
    assert plain(write_percent(1.0)) == "100 %"
    assert plain(write_percent(0.99999)) == "99.9 %"
    assert plain(write_percent(0.00001)) == "0.1 %"
    assert plain(write_interval(Estimate(0.5, 0.4, 0.6))) == "40.0 to 60.0 %"
    assert write_interval(Estimate(0.5, 0.4, 0.6), percent=False) == "0.400 to 0.600"
    assert write_interval(Estimate(0.5)) == "no interval"
    assert write_estimate(Estimate(None, reason="no picture was scored")) == "not defined (no picture was scored)"
    assert [write_count(n, "picture") for n in (0, 1, 2048)] == ["no pictures", "1 picture", "2,048 pictures"]
    assert write_list(["a", "b", "c"]) == "a, b and c"
    assert [write_probability(p) for p in (0.0, 0.5, 1.0)] == ["p < 0.001", "p = 0.500", "p > 0.999"]


def test_a_good_model_is_told_with_its_numbers(val):
    results = build_results(draw_scored(Split.TEST, seed=5, share=0.5, size=300), val)
    confusion, estimates = results.tested.confusion, results.tested.estimates
    text = tell(results)
    assert "nothing was chosen on them" in text["What was trained on what"]
    assert f"finds {confusion.tp} of {confusion.positives} pneumonias" in text["How good it is"]
    assert f"{estimates['auroc'].value:.3f}" in text["How good it is"]
    assert "always answering" in text["How good it is"]
    assert f"{confusion.fn} missed" in text["Where it fails"]
    assert "by bacteria" in text["Where it fails"]
    assert f"{results.point.temperature:.2f}" in text["How honest the probabilities are"]
    assert plain(write_percent(results.tested.mean_probability)) in text["How honest the probabilities are"]
    assert plain(write_verdict(results)).startswith("On 300 pictures of 150 patients (test) the model finds ")


def test_no_mistake_is_told_with_what_would_fit_as_well(val):
    text = tell(build_results(draw_scored(Split.TEST, distance=20, size=100), val))
    assert "It made no mistake on these 100 pictures." in text["Where it fails"]
    # Wilson's lower bound for 50 of 50 patients is 92.9 %.
    assert "error rate of up to 7.1 %" in text["Where it fails"]


def test_chance_is_called_chance(val):
    results = build_results(draw_scored(Split.TEST, distance=0, seed=3), val)
    assert "do not show that the model is better than chance" in tell(results)["How good it is"]
    warnings = [f.text for f in list_findings(results, background=Background(), origin=Origin.UNKNOWN)]
    assert any("reaches 0.5" in text for text in warnings)
    backwards = build_results(draw_scored(Split.TEST, distance=-1.5, seed=3), val)
    assert "point the wrong way" in tell(backwards)["How good it is"]


def test_a_threshold_that_does_not_carry_over_is_told_apart_from_scores_that_overlap(val):
    shifted = draw_scored(Split.TEST, seed=4, size=300)
    shifted.table["logit"] += 2.0  # same order, other place
    text = tell(build_results(shifted, val))["How far the threshold carries"]
    assert "lies in the threshold" in text
    blurred = build_results(draw_scored(Split.TEST, seed=4, size=300, spread=3.0), val)
    assert "lies in the scores themselves" in tell(blurred)["How far the threshold carries"]
    same = draw_scored(Split.TEST, seed=1, size=200)
    assert "carries over" in tell(build_results(same, val))["How far the threshold carries"]


def test_a_different_share_of_classes_is_mentioned(val):
    results = build_results(draw_scored(Split.TEST, seed=4, share=0.3, size=300), val)
    assert (
        "share of PNEUMONIA differs too, 60.0 % on val and 30.0 % on test"
        in (tell(results)["How far the threshold carries"])
    )
    notes = [f.text for f in list_findings(results, background=Background(), origin=Origin.UNKNOWN)]
    assert any("30.0" in text and "do not compare" in text for text in notes)


@pytest.mark.parametrize(("split", "words"), [(Split.VAL, "flatter"), (Split.TRAIN, "remembers")])
def test_splits_that_chose_or_taught_are_said_to_flatter(val, split, words):
    tested = val if split is Split.VAL else draw_scored(Split.TRAIN, seed=6)
    results = build_results(tested, val)
    assert words in tell(results)["What was trained on what"]
    findings = list_findings(results, background=Background(), origin=Origin.UNKNOWN)
    assert findings[0].severity is Severity.WARNING
    assert "flatter" in findings[0].text


def test_raw_scores_that_were_too_sure_are_called_so(val):
    sure = draw_scored(Split.VAL, seed=1, size=200)
    sure.table["logit"] *= 4
    results = build_results(draw_scored(Split.TEST, seed=2), sure)
    assert "the raw model is too sure of itself" in tell(results)["How honest the probabilities are"]


def test_limits_follow_the_origin_of_the_pictures(val):
    results = build_results(draw_scored(Split.TEST, seed=2), val)
    limits = {origin: tell(results, origin=origin)["What must not be concluded"] for origin in Origin}
    assert "Guangzhou" in limits[Origin.KERMANY]
    assert "drawn by a program" in limits[Origin.PHANTOM]
    assert "Guangzhou" not in limits[Origin.PHANTOM] + limits[Origin.UNKNOWN]
    assert all("not a medical device" in text for text in limits.values())


def test_metadata_that_tell_the_class_are_held_against_the_result(val):
    results = build_results(draw_scored(Split.TEST, seed=2), val)
    telling, silent = (
        tell(results, background=Background(metadata_auroc=value))["What must not be concluded"]
        for value in (0.83, 0.52)
    )
    assert "AUROC of 0.830" in telling
    assert "speaks against" in silent
    findings = list_findings(results, background=Background(metadata_auroc=0.83), origin=Origin.UNKNOWN)
    assert any("shortcut" in finding.text for finding in findings)


def test_precision_at_a_rare_share_is_worked_out(val):
    results = build_results(draw_scored(Split.TEST, seed=2, size=200), val)
    recall, specificity = (results.tested.estimates[key].value for key in ("recall", "specificity"))
    precision = recall * 0.05 / (recall * 0.05 + (1 - specificity) * 0.95)
    assert f"make {precision:.0%}".replace("%", " %") in tell(results)["What must not be concluded"]


def test_a_stored_threshold_and_a_single_pathogen(val):
    tested = draw_scored(Split.TEST, seed=2)
    tested.table["pathogen"] = np.where(tested.labels, "virus", "")
    text = tell(build_results(tested, point=OperatingPoint(0.5, 1.0, "stored", "the bundle")))
    assert "came with the model (from the bundle)" in text["What was trained on what"]
    assert "How far the threshold carries" not in text
    assert "by virus" in text["Where it fails"]


def test_a_bundle_says_what_its_threshold_gave_where_it_was_chosen():
    """Its val is not at hand, but its operating points carry the rates that they had there."""
    tested = draw_scored(Split.TEST, seed=2)
    tested.table["logit"] += np.where(tested.labels, 0, 1.5)
    spec = OperatingPointSpec(threshold=0.5, rule="by hand", chosen_on="val", n=60, sensitivity=0.9, specificity=0.97)
    results = measure(
        "model", tested, None, OperatingPoint(0.5, 0.8, "stored", "the bundle"),
        splits=tested.table, config=EvaluateConfig(bootstrap=100), seed=0, points={"youden": spec},
    )  # fmt: skip
    found = list_findings(results, background=Background(), origin=Origin.UNKNOWN)
    warnings = [plain(f.text) for f in found if f.severity is Severity.WARNING]
    assert any(text.startswith("Specificity falls from 97.0 % on val to") for text in warnings)
    assert not any(text.startswith("Sensitivity") for text in warnings)
    assert "divided by 0.80, as the model asks for" in tell(results)["How honest the probabilities are"]


def test_kermany_is_recognised_by_its_names(val):
    assert recognise_origin(val.table) is Origin.KERMANY
    assert recognise_origin(val.table.assign(pathogen="")) is Origin.UNKNOWN
    assert (
        recognise_origin(val.table.assign(pathogen="", path="pneumoniamnist_224.npz#test_images/1")) is Origin.KERMANY
    )
