from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.brightness_bundle import PRIOR, write_brightness_bundle

from hilum.bundle import OperatingPointSpec, read_bundle, resolve_bundle
from hilum.config import EvaluateConfig
from hilum.errors import BundleError
from hilum.evaluation.points import PointRule, fit_points, list_rules, name_default, sort_points
from hilum.inference.grey_zone import GreyZone
from hilum.inference.rule import DecisionRule, shift_prior
from hilum.types import Label, Zone

pytestmark = pytest.mark.unit


def test_names_read_back():
    for rule in list_rules(EvaluateConfig(min_sensitivity=0.975)):
        assert PointRule.parse(rule.name) == rule
    assert PointRule.parse("sensitivity-97.5") == PointRule("sensitivity", 0.975)
    for name in ("balanced", "sensitivity-", "sensitivity-0", "specificity-101", "youden-1"):
        assert PointRule.parse(name) is None


def test_the_default_is_among_them():
    for config in (EvaluateConfig(), EvaluateConfig(operating_point="sensitivity", min_sensitivity=0.9)):
        assert name_default(config) in [rule.name for rule in list_rules(config)]


def point(threshold):
    return OperatingPointSpec(threshold=threshold, rule="", chosen_on="val", n=9, sensitivity=1, specificity=1)


PACKAGED = {
    "youden": point(0.383),
    "sensitivity-95": point(0.795),
    "sensitivity-99": point(0.079),
    "specificity-95": point(0.217),
}


def test_they_are_in_the_order_of_their_thresholds(rng):
    labels = np.arange(400) % 4 > 0
    logits = rng.normal(0, 1.5, 400) + np.where(labels, 2, -2)
    points = fit_points(labels, 1 / (1 + np.exp(-logits)), config=EvaluateConfig())
    thresholds = [spec.threshold for spec in points.values()]
    assert thresholds == sorted(thresholds)
    assert set(points) == {"youden", "sensitivity-95", "sensitivity-99", "specificity-95", "specificity-99"}
    assert points["specificity-99"].specificity >= 0.99
    assert points["specificity-99"].threshold >= points["specificity-95"].threshold
    assert list(sort_points({"b": point(0.5), "a": point(0.5), "c": point(0.1)})) == ["c", "b", "a"]


def test_between_the_thresholds_nothing_is_determined():
    zone = GreyZone.find({"sensitivity-99": point(0.2), "specificity-99": point(0.6)}, threshold=0.4)
    assert not zone.is_empty
    placed = {probability: zone.place(probability) for probability in (0.19, 0.2, 0.59, 0.6)}
    assert placed == {
        0.19: Zone.RULED_OUT, 0.2: Zone.UNDETERMINED, 0.59: Zone.UNDETERMINED, 0.6: Zone.RULED_IN,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "edges"),
    [(0.1, (0.1, 0.6)), (0.2, (0.2, 0.6)), (0.4, (0.2, 0.6)), (0.6, (0.2, 0.6)), (0.9, (0.2, 0.9))],
)
def test_the_decision_threshold_is_never_outside_of_the_zone(threshold, edges):
    zone = GreyZone.find({"sensitivity-99": point(0.2), "specificity-99": point(0.6)}, threshold=threshold)
    assert (zone.low, zone.high) == edges


def test_where_both_promises_are_kept_at_the_threshold_there_is_no_grey_zone():
    zone = GreyZone.find({"sensitivity-99": point(0.6), "specificity-99": point(0.3)}, threshold=0.5)
    assert zone.is_empty
    assert [zone.place(value) for value in (0.3, 0.49, 0.5, 0.7)] == [Zone.RULED_OUT] * 2 + [Zone.RULED_IN] * 2


def test_bundles_of_before_rule_in_by_specificity_95():
    zone = GreyZone.find(PACKAGED, threshold=0.383)
    assert (zone.low, zone.high, zone.rule_in) == (0.079, 0.383, "specificity-95")
    zone = GreyZone.find({**PACKAGED, "specificity-99": point(0.7)}, threshold=0.383)
    assert (zone.low, zone.high, zone.rule_in) == (0.079, 0.7, "specificity-99")


def test_a_bundle_without_the_two_points_has_none(tmp_path):
    bundle = write_brightness_bundle(tmp_path / "bundle")
    expected = r"sensitivity-99 and specificity-99 \(or specificity-95\), and it has balanced, sensitive\.$"
    with pytest.raises(BundleError, match=expected):
        GreyZone.choose(bundle, DecisionRule.choose(bundle))


def test_a_prevalence_moves_the_zone_with_the_probabilities(tmp_path):
    points = {"youden": point(0.5), "sensitivity-99": point(0.2), "specificity-99": point(0.6)}
    bundle = write_brightness_bundle(tmp_path / "bundle", points=points)
    zone = GreyZone.choose(bundle, DecisionRule.choose(bundle))
    moved = GreyZone.choose(bundle, DecisionRule.choose(bundle, prevalence=0.1))
    for probability in (0.1, 0.3, 0.5, 0.7):
        shifted = shift_prior(probability, trained=PRIOR, deployed=0.1)
        assert moved.place(shifted) == zone.place(probability)


share = st.floats(0, 1)
inside = st.floats(1e-6, 1 - 1e-6)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_brightness_bundle(tmp_path_factory.mktemp("bundle") / "bundle", points=PACKAGED)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.fixed_dictionaries(
        {"youden": share, "sensitivity-95": share, "sensitivity-99": share, "specificity-95": share},
        optional={"specificity-99": share},
    ),
    choice=st.one_of(
        st.none(), share, st.sampled_from(["youden", "sensitivity-95", "sensitivity-99", "specificity-95"])
    ),
    prevalence=st.none() | inside,
    prior=inside,
    temperature=st.floats(0.2, 5),
    intercept=st.floats(-5, 5),
    logits=st.lists(st.floats(-30, 30), min_size=1, max_size=20),
)
def test_prediction_and_zone_never_contradict_each_other(
    bundle, cuts, choice, prevalence, prior, temperature, intercept, logits
):
    """Whatever threshold, operating point, prevalence or recalibration (which moves all that a bundle stores)."""
    points = {name: point(cut) for name, cut in cuts.items()}
    moved = {
        "operating_points": points, "training_prior": prior, "temperature": temperature, "intercept": intercept,
    }  # fmt: skip
    bundle = replace(bundle, spec=bundle.spec.model_copy(update=moved))
    asked = {"operating_point": choice} if isinstance(choice, str) else {"threshold": choice}
    rule = DecisionRule.choose(bundle, **asked, prevalence=prevalence)
    zone = GreyZone.choose(bundle, rule)
    edges = [value for value in (zone.low, zone.high, rule.threshold) if 0 <= value <= 1]
    neighbours = [float(np.nextafter(value, side)) for value in edges for side in (0, 1)]
    for probability in [*rule.calibrate(np.array(logits)), *edges, *neighbours]:
        contradiction = {Label.NORMAL: Zone.RULED_IN, Label.PNEUMONIA: Zone.RULED_OUT}[rule.decide(probability)]
        assert zone.place(probability) is not contradiction


def test_the_packaged_bundle_no_longer_contradicts_itself():
    packaged = read_bundle(resolve_bundle("packaged"))
    zone = GreyZone.choose(packaged, DecisionRule.choose(packaged))
    points = packaged.spec.operating_points
    assert zone.high == points["specificity-99"].threshold > packaged.spec.operating_point.threshold > zone.low
