import pytest
from tests.brightness_bundle import PRIOR, write_brightness_bundle

from hilum.bundle import OperatingPointSpec
from hilum.config import EvaluateConfig
from hilum.errors import BundleError
from hilum.evaluation.points import PointRule, list_rules, name_default
from hilum.inference.grey_zone import GreyZone
from hilum.inference.rule import shift_prior
from hilum.types import Zone

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


def test_between_the_thresholds_nothing_is_determined():
    zone = GreyZone.find({"sensitivity-99": point(0.2), "specificity-95": point(0.6)})
    assert not zone.is_empty
    placed = {probability: zone.place(probability) for probability in (0.19, 0.2, 0.59, 0.6)}
    assert placed == {
        0.19: Zone.RULED_OUT, 0.2: Zone.UNDETERMINED, 0.59: Zone.UNDETERMINED, 0.6: Zone.RULED_IN,
    }  # fmt: skip


def test_where_they_cross_there_is_no_grey_zone():
    zone = GreyZone(low=0.6, high=0.3)
    assert zone.is_empty
    assert [zone.place(value) for value in (0.29, 0.3, 0.5, 0.7)] == [Zone.RULED_OUT, *[Zone.RULED_IN] * 3]


def test_a_bundle_without_the_two_points_has_none(tmp_path):
    bundle = write_brightness_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"sensitivity-99 and specificity-95, and it has balanced, sensitive\.$"):
        GreyZone.choose(bundle)


def test_a_prevalence_moves_the_zone_with_the_probabilities(tmp_path):
    points = {"sensitivity-99": point(0.2), "specificity-95": point(0.6)}
    bundle = write_brightness_bundle(tmp_path / "bundle", points=points)
    moved = GreyZone.choose(bundle, prevalence=0.1)
    for probability in (0.1, 0.3, 0.7):
        shifted = shift_prior(probability, trained=PRIOR, deployed=0.1)
        assert moved.place(shifted) == GreyZone.choose(bundle).place(probability)
