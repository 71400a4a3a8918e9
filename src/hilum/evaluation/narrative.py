"""The results-and-analysis section, written from the numbers: no sentence stands that they do not bear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hilum.evaluation.background import Background, Origin
from hilum.evaluation.limits import write_limits
from hilum.evaluation.narrative_transfer import NOTEWORTHY, tell_calibration, tell_transfer
from hilum.evaluation.results import SURE, PathogenResult, Results
from hilum.evaluation.wording import (
    write_count,
    write_estimate,
    write_interval,
    write_list,
    write_percent,
    write_value,
)
from hilum.types import Split


@dataclass(frozen=True, slots=True)
class Passage:
    """A heading with sentences under it: a paragraph, or bullets where `listed`."""

    heading: str
    sentences: Sequence[str]
    listed: bool = False


def write_passages(
    results: Results, *, background: Background, origin: Origin, description: Mapping[str, str]
) -> list[Passage]:
    """Return the whole section in reading order. `description` is what the scorer says of itself."""
    passages = [
        Passage("What was trained on what", _tell_training(results, description, unseen=background.unseen)),
        Passage("How good it is", _tell_quality(results)),
        Passage("Where it fails", _tell_failures(results)),
        Passage("How far the threshold carries", tell_transfer(results)),
        Passage("How honest the probabilities are", tell_calibration(results)),
        Passage("What must not be concluded", write_limits(results, background=background, origin=origin), listed=True),
    ]
    return [passage for passage in passages if passage.sentences]


def write_verdict(results: Results) -> str:
    """Return the one sentence that stands on top of the report."""
    tested = results.tested
    estimates = tested.estimates
    opening = f"On {_count_pictures(results)} of {write_count(tested.patients, 'patient')} ({tested.split})"
    if estimates["auroc"].value is None:
        return (
            f"{opening} the model is right in {write_estimate(estimates['accuracy'])}; what needs both classes is not "
            f"defined, because {estimates['auroc'].reason}."
        )
    return (
        f"{opening} the model finds {write_value(estimates['recall'])} of the pneumonias "
        f"({write_interval(estimates['recall'])}) and clears {write_value(estimates['specificity'])} of the normal "
        f"pictures ({write_interval(estimates['specificity'])}), with an AUROC of "
        f"{write_value(estimates['auroc'], percent=False)} ({write_interval(estimates['auroc'], percent=False)}); "
        "in brackets 95 % intervals over patients."
    )


def _count_pictures(results: Results) -> str:
    return write_count(results.tested.n, "picture")


def _tell_training(results: Results, description: Mapping[str, str], *, unseen: bool) -> list[str]:
    tested, counts = results.tested, results.counts
    network = description.get("Network", results.model).partition(",")[0]
    weights = description.get("Initial weights")
    sentences = []
    if str(Split.TRAIN) in counts:
        train = counts[str(Split.TRAIN)]
        start = f", starting from {weights} weights," if weights else ""
        sentences.append(
            f"{network}{start} was trained on {write_count(train.pictures, 'picture')} of "
            f"{write_count(train.patients, 'patient')} ({write_percent(train.share)} PNEUMONIA)."
        )
    if results.val is not None:
        val = results.val
        noun = "further patient" if str(Split.TRAIN) in counts else "patient"
        sentences.append(
            f"{write_count(val.n, 'picture')} of {write_count(val.patients, noun)} (val, "
            f"{write_percent(val.share)} PNEUMONIA) chose the threshold and the calibration of the probabilities."
        )
    else:
        sentences.append(f"Threshold and calibration came with the model (from {results.point.source}).")
    if tested.split is Split.TEST:
        # The splits of a bundle are not at hand, at best the files that it was made of.
        if len(counts) > 1:
            apart = ", and nothing was chosen on them. No patient of test stands in another split."
        elif unseen:
            apart = (
                "; none of their files is among those that the model and its thresholds were made with. (Other "
                "pictures of the same patients, or the same picture saved anew, would not be recognised.)"
            )
        else:
            apart = "; whether the model or its thresholds were made with some of them cannot be told from this bundle."
        sentences.append(
            f"The {_count_pictures(results)} of {write_count(tested.patients, 'patient')} in test "
            f"({write_percent(tested.share)} PNEUMONIA) were scored after that{apart}"
        )
    elif tested.split is Split.VAL:
        sentences.append(
            "The figures below are of val itself, the split that chose epoch, calibration and threshold. They flatter "
            "the model: expect less on pictures that chose nothing."
        )
    else:
        sentences.append(
            "The figures below are of train, the pictures that the network learned from. They say how well it "
            "remembers, not how well it does on new patients."
        )
    failed = sum(results.failures.values())
    if failed:
        kinds = write_list([f"{count:,} {status}" for status, count in results.failures.items()])
        verb = "is" if failed == 1 else "are"
        sentences.append(
            f"{write_count(failed, 'further picture')} of {tested.split} could not be scored ({kinds}): "
            f"{'it' if failed == 1 else 'they'} {verb} listed in predictions.csv and {verb} in no figure."
        )
    return sentences


def _tell_quality(results: Results) -> list[str]:
    tested, point = results.tested, results.point
    estimates, confusion = tested.estimates, tested.confusion
    sentences = []
    auroc = estimates["auroc"]
    if auroc.value is not None:
        sentences.append(
            f"Of a pneumonia and a normal picture drawn at random, the pneumonia gets the higher score in "
            f"{write_percent(auroc.value)} of cases: that is the AUROC, {write_estimate(auroc, percent=False)}."
        )
        if auroc.ci_high is not None and auroc.ci_high < 0.5:
            sentences.append("That is worse than chance: the scores point the wrong way.")
        elif auroc.ci_low is not None and auroc.ci_low <= 0.5:
            sentences.append(
                "Its interval reaches 0.5: these pictures do not show that the model is better than chance."
            )
        if auroc.value == 1:
            sentences.append("No resample can show how often the order fails where it never failed here.")
    rule = f"At {point.threshold:.3f}, {point.describe()}" + (f" on {point.source}," if point.rule != "stored" else ",")
    if confusion.positives:
        sentences.append(
            f"{rule} it finds {confusion.tp:,} of {write_count(confusion.positives, 'pneumonia')} (pictures labelled "
            f"so): sensitivity {write_estimate(estimates['recall'])}."
        )
    if confusion.negatives:
        opening = "It calls" if confusion.positives else f"{rule} it calls"
        sentences.append(
            f"{opening} {confusion.tn:,} of {write_count(confusion.negatives, 'normal picture')} NORMAL: specificity "
            f"{write_estimate(estimates['specificity'])}."
        )
    if confusion.positives and confusion.negatives:
        larger = max(tested.share, 1 - tested.share)
        answer = "PNEUMONIA" if tested.share >= 0.5 else "NORMAL"
        sentences.append(
            f"Accuracy is {write_estimate(estimates['accuracy'])}, where always answering {answer} would reach "
            f"{write_percent(larger)}; F1 is {write_value(estimates['f1'], percent=False)} and Matthews' correlation "
            f"{write_value(estimates['mcc'], percent=False)}."
        )
    else:
        missing = "NORMAL" if confusion.positives else "PNEUMONIA"
        sentences.append(f"The split holds no {missing} picture, so whatever compares the classes is not defined.")
    return sentences


def _tell_failures(results: Results) -> list[str]:
    tested = results.tested
    confusion = tested.confusion
    wrong = confusion.fn + confusion.fp
    if not wrong:
        sentences = [f"It made no mistake on these {_count_pictures(results)}."]
        low = tested.estimates["accuracy"].ci_low
        if low is not None:
            bound = write_percent(1 - low)
            sentences.append(
                f"With {tested.patients:,} patients, an error rate of up to {bound} would fit that as well."
            )
        return sentences
    sentences = [
        f"It is wrong in {write_count(wrong, 'picture')}: {write_count(confusion.fn, 'missed pneumonia')} and "
        f"{write_count(confusion.fp, 'false alarm')}."
    ]
    if confusion.positives and confusion.negatives:
        missed, alarmed = confusion.fn / confusion.positives, confusion.fp / confusion.negatives
        if abs(missed - alarmed) < NOTEWORTHY:
            sentences.append(
                f"Both classes fare about alike: {write_percent(missed)} of the pneumonias are missed and "
                f"{write_percent(alarmed)} of the normal pictures raise a false alarm."
            )
        else:
            worse, better = ("pneumonias", "normal pictures") if missed > alarmed else ("normal pictures", "pneumonias")
            sentences.append(
                f"The weaker side is the {worse}, of which {write_percent(max(missed, alarmed))} are called wrong, "
                f"against {write_percent(min(missed, alarmed))} of the {better}."
            )
    sentences += _compare_pathogens(results.by_pathogen)
    if tested.sure_mistakes:
        verb = "was" if tested.sure_mistakes == 1 else "were"
        sentences.append(
            f"{write_count(tested.sure_mistakes, 'mistake').capitalize()} {verb} made with a probability of at least "
            f"{SURE:g} for the wrong class: a high probability is no assurance."
        )
    else:
        sentences.append(f"No mistake was made with a probability of {SURE:g} or more for the wrong class.")
    return sentences


def _compare_pathogens(groups: Mapping[str, PathogenResult]) -> list[str]:
    known = [(name, group) for name, group in groups.items() if group.recall.value is not None]
    if len(known) < 2:
        return [f"All pneumonias of known cause here are by {name}." for name, _ in known]
    (better, high), (worse, low) = sorted(known, key=lambda item: -(item[1].recall.value or 0))
    figures = (
        f"{write_value(high.recall)} of {high.n:,} pneumonias by {better} ({write_interval(high.recall)}) and "
        f"{write_value(low.recall)} of {low.n:,} by {worse} ({write_interval(low.recall)})"
    )
    ends = (high.recall.ci_low, low.recall.ci_high)
    if high.recall.value == low.recall.value:
        return [f"It finds {figures}."]
    if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
        return [f"It finds {figures}: those by {worse} are missed more often, beyond what chance explains."]
    return [f"It finds {figures}: the intervals overlap, so the difference may be chance."]
