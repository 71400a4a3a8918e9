"""The part of the analysis on what carries over from val: the threshold and the probabilities."""

from __future__ import annotations

from hilum.evaluation.calibration import is_at_bound
from hilum.evaluation.results import Results
from hilum.evaluation.wording import write_decimal, write_estimate, write_list, write_percent, write_value

# Changes below this, of rates or of Youden's J, are called no change.
NOTEWORTHY = 0.02


def tell_transfer(results: Results) -> list[str]:
    """Return how val and the tested split differ at the threshold; nothing where there is no val apart."""
    tested, val = results.tested, results.val
    if val is None or val.split is tested.split or tested.youden is None or val.youden is None:
        return []
    changes = [
        f"{name} from {write_value(val.estimates[key], percent=percent)} to "
        f"{write_value(tested.estimates[key], percent=percent)}"
        for name, key, percent in (
            ("sensitivity goes", "recall", True),
            ("specificity", "specificity", True),
            ("AUROC", "auroc", False),
        )
    ]
    sentences = [f"From val to {tested.split} {write_list(changes)}."]
    loss = val.youden - tested.youden
    missing = (tested.in_hindsight or 0) - tested.youden
    if loss < NOTEWORTHY:
        sentences.append("The threshold carries over: the two splits are told apart about equally well at it.")
    else:
        where = (
            "most of that loss lies in the threshold, which sits in the wrong place for these pictures"
            if missing > loss / 2
            else "most of that loss lies in the scores themselves, whose classes overlap more here"
        )
        sentences.append(
            f"Youden's J falls from {write_decimal(val.youden)} to {write_decimal(tested.youden)}. The best threshold "
            f"in hindsight would give {write_decimal(tested.in_hindsight or 0)}, so {where}. (Hindsight is for "
            "analysis: no figure here uses that threshold.)"
        )
    if abs(val.share - tested.share) >= NOTEWORTHY:
        sentences.append(
            f"The share of PNEUMONIA differs too, {write_percent(val.share)} on val and {write_percent(tested.share)} "
            f"on {tested.split}: accuracy, precision and calibration depend on it, sensitivity and specificity do not."
        )
    return sentences


def tell_calibration(results: Results) -> list[str]:
    """Return what calibration did and how far probabilities are from shares; nothing where that is not defined."""
    tested, point = results.tested, results.point
    ece = tested.estimates["ece"]
    if ece.value is None:
        return []
    if is_at_bound(point.temperature):
        sentences = [
            f"The temperature ended at the bound of its range ({point.temperature:.2f}): the scores of {point.source} "
            "say so little of its labels that no scaling makes them probabilities."
        ]
    elif point.intercept:
        moved = "raised" if point.intercept > 0 else "lowered"
        stand = f", to stand for {write_percent(point.prior)} PNEUMONIA" if point.prior is not None else ""
        sentences = [
            f"The raw logits are divided by {point.temperature:.2f} and then {moved} by {abs(point.intercept):.2f}, as "
            f"fitted on {point.source}{stand}."
            if point.rule != "stored"
            else f"The raw logits are divided by {point.temperature:.2f} and then {moved} by "
            f"{abs(point.intercept):.2f}, as the model asks for{stand}."
        ]
    elif abs(point.temperature - 1) < 0.05:
        where = "where they were calibrated" if point.rule == "stored" else f"on {point.source}"
        sentences = [f"The raw scores were nearly honest {where} (temperature {point.temperature:.2f})."]
    elif point.rule == "stored":
        sentences = [f"The raw logits are divided by {point.temperature:.2f}, as the model asks for."]
    else:
        how = "too sure of itself" if point.temperature > 1 else "less sure than it may be"
        sentences = [f"On {point.source} the raw model is {how}: its logits are divided by {point.temperature:.2f}."]
    helped = tested.ece_uncalibrated - ece.value
    change = "no better or worse than" if abs(helped) < 0.002 else "down from" if helped > 0 else "up from"
    sentences.append(
        f"After that the expected calibration error on {tested.split} is {write_estimate(ece, percent=False)}, "
        f"{change} {write_decimal(tested.ece_uncalibrated)} without."
    )
    gap = tested.mean_probability - tested.share
    if abs(gap) < NOTEWORTHY:
        sentences.append(
            f"The mean probability, {write_percent(tested.mean_probability)}, fits the share of PNEUMONIA, "
            f"{write_percent(tested.share)}."
        )
    else:
        reason = (
            "for it was calibrated to others"
            if point.intercept
            else "and a temperature, which moves all probabilities towards or away from one half, cannot shift that"
        )
        sentences.append(
            f"The mean probability is {write_percent(tested.mean_probability)} where {write_percent(tested.share)} are "
            f"PNEUMONIA: on these pictures the model leans towards {'PNEUMONIA' if gap > 0 else 'NORMAL'}, {reason}."
        )
    return sentences
