import numpy as np
import pandas as pd
import pytest

from hilum.evaluation.refusals import count_refusals
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import OperatingPoint
from hilum.report.render import Severity
from hilum.types import Label, Split, Status

pytestmark = pytest.mark.unit

POINT = OperatingPoint(threshold=0.5, temperature=1.0, rule="stored", source="test")


def score(normal_refused, pneumonia_refused, *, of=10, logits=None):
    labels = [str(Label.NORMAL)] * of + [str(Label.PNEUMONIA)] * of
    refused = np.zeros(2 * of, dtype=bool)
    refused[:normal_refused] = True
    refused[of : of + pneumonia_refused] = True
    table = pd.DataFrame({"label": labels, "status": str(Status.OK), "refused": refused})
    table["logit"] = np.where(table["label"] == str(Label.NORMAL), -1.0, 1.0) if logits is None else logits
    return ScoredSplit(Split.TEST, table, (None,) * len(table))


def test_each_class_is_counted_for_itself_and_the_accepted_are_judged():
    logits = np.array([3.0] * 4 + [-1.0] * 6 + [1.0] * 9 + [-1.0])  # four false alarms, one missed
    counted = count_refusals(score(3, 2, logits=logits), POINT)
    assert counted.to_json() == {
        "NORMAL": {"n": 10, "refused": 3, "right_of_accepted": pytest.approx(6 / 7)},
        "PNEUMONIA": {"n": 10, "refused": 2, "right_of_accepted": pytest.approx(7 / 8)},
    }
    everything = count_refusals(score(10, 0), POINT).to_json()["NORMAL"]
    assert everything == {"n": 10, "refused": 10, "right_of_accepted": None}


def test_a_gate_that_falls_on_one_class_is_a_warning():
    uneven, even, none = (count_refusals(score(*counts), POINT).describe() for counts in ((6, 0), (2, 2), (0, 0)))
    assert [finding.severity for finding in (uneven, even, none)] == [Severity.WARNING, Severity.NOTE, Severity.NOTE]
    assert "6 of 10 NORMAL pictures" in uneven.text
    assert "It refuses NORMAL more often" in uneven.text
    chance = count_refusals(score(2, 0), POINT).describe()  # 20 % against none, of ten each
    assert (chance.severity, "more often" in chance.text) == (Severity.NOTE, False)
    assert "--no-gate" in even.text
    assert "--no-gate" not in none.text


def test_pictures_that_could_not_be_scored_do_not_count_and_models_without_a_gate_have_none():
    scored = score(3, 0)
    scored.table.loc[0, "status"] = str(Status.UNREADABLE)
    assert count_refusals(scored, POINT).to_json()["NORMAL"]["refused"] == 2
    without = ScoredSplit(Split.TEST, scored.table.drop(columns="refused"), scored.cams)
    assert count_refusals(without, POINT) is None
