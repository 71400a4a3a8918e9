from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation_data import build_results, draw_scored

from hilum.bundle import OperatingPointSpec
from hilum.evaluation.calibration import Calibration
from hilum.evaluation.decision_sections import lay_out_decisions, tell_transfer
from hilum.evaluation.decisions import decisions_to_json, measure_decisions
from hilum.evaluation.thresholds import OperatingPoint
from hilum.evaluation.transfer import SIZES, draw_local, measure_transfer
from hilum.inference.decision import is_positive
from hilum.report.render import Table

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def results():
    """Val as trained; in test all logits are higher, as those of another machine may be."""
    val = draw_scored("val", size=400, share=0.7, distance=2.0, seed=1)
    tested = draw_scored("test", size=300, share=0.5, distance=2.0, seed=2)
    shifted = tested.table.assign(logit=tested.table["logit"] + 1.5)
    return build_results(type(tested)(tested.split, shifted, tested.cams), val)


def test_rates_are_those_of_the_threshold(results):
    for point in results.decisions.points:
        assert point.val["sensitivity"].value == pytest.approx(point.spec.sensitivity)
        assert point.val["specificity"].value == pytest.approx(point.spec.specificity)
        for estimates in (point.val, point.tested):
            sensitivity, specificity, ppv, npv = (
                estimates[name] for name in ("sensitivity", "specificity", "ppv", "npv")
            )
            assert ppv.ci_low <= ppv.value <= ppv.ci_high
            share = 0.7 if estimates is point.val else 0.5
            called = sensitivity.value * share + (1 - specificity.value) * (1 - share)
            assert ppv.value == pytest.approx(sensitivity.value * share / called)
            if npv.value is not None:
                assert npv.value == pytest.approx(specificity.value * (1 - share) / (1 - called))


def test_the_default_point_agrees_with_the_metrics(results):
    youden = next(point for point in results.decisions.points if point.name == "youden")
    assert youden.spec.threshold == results.point.threshold
    assert youden.tested["sensitivity"].value == results.tested.estimates["recall"].value
    assert youden.tested["specificity"] == results.tested.estimates["specificity"]


def test_the_zones_hold_all_pictures(results):
    zone = results.decisions.grey_zone
    for estimates in (zone.val, zone.tested):
        assert sum(estimates[name].value for name in ("ruled_out", "undetermined", "ruled_in")) == pytest.approx(1)
    points = {point.name: point for point in results.decisions.points}
    cuts = [points[name].spec.threshold for name in ("sensitivity-99", "specificity-99")]
    assert cuts[0] <= results.point.threshold <= cuts[1]
    npv, ppv = points["sensitivity-99"].tested["npv"].value, points["specificity-99"].tested["ppv"].value
    assert zone.tested["pneumonia_in_ruled_out"].value == pytest.approx(1 - npv)
    assert zone.tested["normal_in_ruled_in"].value == pytest.approx(1 - ppv)


def test_the_report_says_the_rule_of_the_zones(results):
    texts = [block for block in lay_out_decisions(results, []) if isinstance(block, str)]
    text = next(text for text in texts if "rules PNEUMONIA" in text)
    assert "(the smaller of the decision threshold and sensitivity-99)" in text
    assert "(the larger of the decision threshold and specificity-99)" in text
    assert decisions_to_json(results.decisions)["grey_zone"]["rule_in_point"] == "specificity-99"


@pytest.fixture(scope="module")
def parted():
    """Classes that hardly overlap: a specificity of 95 % is reached below Youden's cut."""
    val = draw_scored("val", size=400, share=0.7, distance=3.0, seed=1)
    return val, draw_scored("test", size=300, share=0.5, distance=3.0, seed=2)


def test_where_classes_hardly_overlap_the_decision_threshold_bounds_the_zone(parted):
    val, tested = parted
    results = build_results(tested, val)
    thresholds = {point.name: point.spec.threshold for point in results.decisions.points}
    assert thresholds["specificity-95"] < results.point.threshold
    zone = results.decisions.grey_zone.zone
    assert zone.low <= results.point.threshold <= zone.high
    # A bundle of before, without specificity-99.
    points = {point.name: point.spec for point in results.decisions.points if point.name != "specificity-99"}
    stored = dict(reversed(points.items()))
    earlier = measure_decisions(tested, val, results.point, stored, resamples=100, seed=0)
    assert (earlier.grey_zone.zone.high, earlier.grey_zone.zone.rule_in) == (results.point.threshold, "specificity-95")
    assert [point.name for point in earlier.points] == list(points)


def test_where_there_is_no_grey_zone_the_report_says_so(parted):
    val, tested = parted
    results = build_results(tested, val)
    low, high = (OperatingPointSpec(threshold=cut, rule="", chosen_on="val", n=9, sensitivity=1, specificity=1)
                 for cut in (0.2, 0.8))  # fmt: skip
    points = {"specificity-99": low, "sensitivity-99": high}
    point = replace(results.point, threshold=0.5)
    decisions = measure_decisions(tested, val, point, points, resamples=100, seed=0)
    assert decisions.grey_zone.tested["undetermined"].value == 0
    blocks = lay_out_decisions(replace(results, decisions=decisions), [])
    expected = "There is no grey zone: sensitivity-99 does not lie below the decision threshold (0.500), nor "
    assert any(isinstance(block, str) and block.startswith(expected) for block in blocks)


def test_recalibration_brings_rates_back_and_em_is_fooled(results):
    transfer = results.decisions.transfer
    assert transfer.sizes == SIZES
    assert transfer.estimated > transfer.observed == 0.5  # higher logits pass for more sick
    youden = transfer.points["youden"]
    assert youden.as_is.specificity.value < youden.known.specificity.value - 0.2
    found = [youden.recalibrated[size].specificity for size in SIZES]
    assert youden.as_is.specificity.value < found[0].mean < found[1].mean < found[2].mean
    assert all(spread.low <= spread.mean <= spread.high for spread in found)
    assert transfer.ece_recalibrated[100].mean < transfer.ece_as_is


def test_the_sentence_names_what_is_lost(results):
    sentence = tell_transfer(results.decisions.transfer, "test", results.decisions.source)
    assert sentence.startswith("From val to test sensitivity")
    assert "but specificity (at " in sentence
    assert "100 labelled local pictures" in sentence


def test_points_of_a_recalibrated_bundle_are_not_said_to_be_of_val(results):
    points = {
        point.name: replace(point, spec=point.spec.model_copy(update={"chosen_on": "local pictures, cross-validated"}))
        for point in results.decisions.points
    }
    decisions = replace(results.decisions, points=tuple(points.values()))
    assert decisions.source == "local pictures"
    blocks = lay_out_decisions(replace(results, decisions=decisions), [])
    assert any(isinstance(block, str) and block.startswith("From local pictures to test") for block in blocks)
    assert any(isinstance(block, Table) and "local pictures" in block.headers for block in blocks)


def test_the_section_has_a_table_for_each_part(results):
    blocks = lay_out_decisions(results, [])
    tables = [block for block in blocks if isinstance(block, Table)]
    assert len(tables) == 5
    assert len(tables[0].rows) == 10
    shown = [float(row[1]) for row in tables[0].rows]
    assert shown == sorted(shown)
    assert all(len(row) == len(table.headers) for table in tables for row in table.rows)
    assert any(isinstance(block, str) and "expected calibration error" in block for block in blocks)


def test_json_keeps_the_plain_numbers_beside_the_intervals(results):
    content = decisions_to_json(results.decisions)
    for point in content["operating_points"]:
        assert point["val_sensitivity"] == point["val"]["sensitivity"]["value"]
        assert point["specificity"] == point["tested"]["specificity"]["value"]
    assert {entry["kind"] for entry in content["conformal"]} == {"class-conditional", "marginal"}
    assert set(content["transfer"]["points"]["youden"]["recalibrated"]) == {"20", "50", "100"}


def test_without_named_points_there_is_no_section():
    alone = build_results(draw_scored("test"), point=OperatingPoint(0.3, 1.0, "stored", "bundle"))
    assert lay_out_decisions(alone, []) == []
    assert decisions_to_json(alone.decisions)["transfer"] is None


def test_val_itself_transfers_to_nothing():
    val = draw_scored("val", size=200)
    results = build_results(val, val)
    assert results.decisions.transfer is None
    assert results.decisions.conformal == ()
    assert len([block for block in lay_out_decisions(results, []) if isinstance(block, Table)]) == 2


def test_local_pictures_are_drawn_by_patient_and_class():
    labels = np.arange(200) < 120
    patients = [f"p{place // 3}" for place in range(200)]
    draws = list(draw_local(labels, patients, size=50, draws=20, seed=0))
    assert len(draws) == 20
    for drawn, left in draws:
        assert len(set(drawn.tolist())) == 50
        assert labels[drawn].sum() == 30
        assert not {patients[place] for place in drawn} & {patients[place] for place in np.flatnonzero(left)}
    again = list(draw_local(labels, patients, size=50, draws=20, seed=0))
    assert all((one[0] == other[0]).all() for one, other in zip(draws, again, strict=True))


def test_a_small_split_has_no_large_draws():
    scored = draw_scored("test", size=90)
    point = OperatingPointSpec(threshold=0.5, rule="", chosen_on="val", n=9, sensitivity=1, specificity=1)
    rates = build_results(draw_scored("test", size=120), draw_scored("val")).decisions.transfer.points["youden"].known
    transfer = measure_transfer(
        scored.labels, scored.logits, scored.texts("patient"), calibration=Calibration(1.0), prior=0.5,
        points={"youden": point}, known={"youden": rates}, resamples=100, draws=5, seed=0,
    )  # fmt: skip
    assert transfer.sizes == (20,)
    called = is_positive(Calibration(1.0).apply(scored.logits), threshold=0.5)
    assert transfer.points["youden"].as_is.sensitivity.value == called[scored.labels].mean()
