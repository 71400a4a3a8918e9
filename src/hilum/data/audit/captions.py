"""One sentence under each figure of an audit, written from the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hilum.data.audit.census import UNKNOWN
from hilum.report.wording import count, listing, percent, sentence, verb
from hilum.types import Label, Pathogen, Split

Numbers = Mapping[str, Any]


def describe_counts(counts: Numbers) -> str:
    """Say how many pictures each split holds and how large the share of PNEUMONIA is."""
    (first, row), *rest = counts.items()
    sizes = [f"{first} holds {count(row['total'], 'picture')}", *(f"{split} {row['total']:,}" for split, row in rest)]
    shares = [percent(row[Label.PNEUMONIA] / row["total"]) for row in counts.values()]
    where = "of them" if len(counts) == 1 else "of them, in this order"
    return sentence(f"{listing(sizes)}; PNEUMONIA makes up {listing(shares)} {where}")


def describe_pathogens(counts: Numbers) -> str:
    """Say which share of the pneumonia pictures is bacterial in each split."""
    shares = []
    unknown = 0
    for split, row in counts.items():
        known = row[Pathogen.BACTERIA] + row[Pathogen.VIRUS]
        unknown += row[UNKNOWN]
        if known:
            shares.append(f"{percent(row[Pathogen.BACTERIA] / known)} in {split}")
    text = f"bacteria stand behind {listing(shares)} of the PNEUMONIA pictures whose file name tells the pathogen"
    if unknown:
        text += f"; {count(unknown, 'picture')} {verb(unknown, 'does', 'do')} not tell it"
    return sentence(text)


def describe_patients(patients: Numbers) -> str:
    """Say how many patients have several pictures, and the most that one has."""
    several, total = patients["with_several_pictures"], patients["total"]
    most = patients["pictures_per_patient"]["max"]
    if several == 0:
        return sentence(f"each of the {count(total, 'patient')} has one picture")
    return sentence(
        f"{several:,} of {count(total, 'patient')} ({percent(several / total)}) {verb(several, 'has', 'have')} several "
        f"pictures, up to {most:,}: splits drawn by picture would put the same patient on both sides"
    )


def describe_sizes(files: Numbers) -> str:
    """Say which class has the larger pictures."""
    areas = {label: row["width"]["median"] * row["height"]["median"] for label, row in files.items()}
    texts = {label: f"{row['width']['median']:,.0f} × {row['height']['median']:,.0f}" for label, row in files.items()}
    return _compare(areas, texts, noun="picture", measure="size", words=("larger", "smaller"), unit=" pixels")


def describe_constant_files(files: Numbers) -> str:
    """Say which of size, aspect ratio, colour mode and format do not vary at all; empty when all vary."""

    def values(pick: Callable[[Numbers], Sequence[Any]]) -> set[Any]:
        return {value for row in files.values() for value in pick(row)}

    widths = values(lambda row: (row["width"]["min"], row["width"]["max"]))
    heights = values(lambda row: (row["height"]["min"], row["height"]["max"]))
    aspects = values(lambda row: (row["aspect"]["min"], row["aspect"]["max"]))
    modes, formats = values(lambda row: list(row["modes"])), values(lambda row: list(row["formats"]))
    constant = []
    if len(widths) == len(heights) == 1:
        constant.append(f"the same size ({widths.pop():,.0f} × {heights.pop():,.0f} pixels)")
    elif len(aspects) == 1:
        constant.append(f"the same aspect ratio ({aspects.pop():.2f})")
    if len(modes) == 1:
        constant.append(f"the same colour mode ({modes.pop()})")
    if len(formats) == 1:
        constant.append(f"the same format ({formats.pop()})")
    if not constant:
        return ""
    return sentence(f"all pictures have {listing(constant)}, which therefore cannot give a class away")


def describe_aspects(files: Numbers) -> str:
    """Say which class has the wider pictures."""
    medians = {label: row["aspect"]["median"] for label, row in files.items()}
    texts = {label: f"{value:.2f}" for label, value in medians.items()}
    return _compare(medians, texts, noun="picture", measure="ratio of width to height", words=("wider", "narrower"))


def describe_modes(files: Numbers) -> str:
    """Say which colour modes belong to one class alone."""
    modes: dict[str, dict[str, int]] = {}
    for label, row in files.items():
        for mode, number in row["modes"].items():
            modes.setdefault(mode, {})[label] = number
    parts = []
    for mode, owners in sorted(modes.items()):
        total = sum(owners.values())
        if len(files) > 1 and len(owners) == 1:
            parts.append(f"{mode} has {count(total, 'picture')}, {verb(total, 'a', 'all')} {next(iter(owners))}")
        elif len(files) > 1:
            parts.append(f"{mode} has {count(total, 'picture')}, {percent(owners[Label.PNEUMONIA] / total)} PNEUMONIA")
        else:
            parts.append(f"{mode} has {count(total, 'picture')}")
    return sentence("; ".join(parts))


def describe_file_sizes(files: Numbers) -> str:
    """Say which class has the larger files."""
    medians = {label: row["bytes"]["median"] for label, row in files.items()}
    texts = {label: format_bytes(value) for label, value in medians.items()}
    return _compare(medians, texts, noun="file", measure="file size", words=("larger", "smaller"))


def describe_mean_gray(files: Numbers) -> str:
    """Say which class is brighter, and which varies more."""
    medians = {label: row["mean"]["median"] for label, row in files.items()}
    texts = {label: f"{value:.0f}" for label, value in medians.items()}
    text = _compare(medians, texts, noun="picture", measure="mean gray", words=("brighter", "darker"))
    spreads = {label: row["mean"]["p95"] - row["mean"]["p5"] for label, row in files.items()}
    ranges = {label: f"{row['mean']['p5']:.0f}–{row['mean']['p95']:.0f}" for label, row in files.items()}
    wide, narrow = max(spreads, key=spreads.__getitem__), min(spreads, key=spreads.__getitem__)
    if spreads[wide] > 1.2 * spreads[narrow]:
        text += f" {wide} varies more: nine in ten lie in {ranges[wide]}, against {ranges[narrow]} for {narrow}."
    return text


def describe_intensities(intensity: Numbers) -> str:
    """Say which class has the higher contrast, and how much of a picture is black."""
    medians = {label: row["contrast"]["median"] for label, row in intensity.items()}
    texts = {label: f"{value:.0f}" for label, value in medians.items()}
    text = _compare(
        medians,
        texts,
        noun="picture",
        measure="standard deviation of the gray levels",
        words=("richer in contrast", "poorer in contrast"),
    )
    black = {label: row["black_share"] for label, row in intensity.items()}
    if max(black.values()) > 0.02:
        shares = listing([f"{percent(share)} of a {label} picture" for label, share in black.items()])
        text += f" On average {shares} is nearly black: borders and background."
    return text


def describe_averages(difference: Numbers | None, labels: Sequence[str]) -> str:
    """Say where the mean pictures of the classes differ most."""
    if difference is None:
        return sentence(f"mean and spread of the {labels[0]} pictures; with one class there is no difference to show")
    parts = []
    for word in ("brighter", "darker"):
        side = difference[word]
        if side["gray_levels"] >= 0.5:
            levels = side["gray_levels"]
            parts.append(
                f"{word} most in the {side['where']} of the picture (by {levels:.0f} gray "
                f"{'level' if round(levels) == 1 else 'levels'})"
            )
    if not parts:
        return "The mean pictures of the classes hardly differ anywhere."
    return sentence(f"on average PNEUMONIA is {listing(parts)}; a difference outside the lungs would be a shortcut")


def describe_samples(chosen: Mapping[str, Sequence[int]], *, split: str, seed: int) -> str:
    """Say what the contact sheet holds."""
    names = {Pathogen.BACTERIA: "bacterial pneumonia", Pathogen.VIRUS: "viral pneumonia"}
    parts = [
        f"{len(rows)} of {names.get(Pathogen(name), name) if name in set(Pathogen) else name}"
        for name, rows in chosen.items()
    ]
    total = sum(len(rows) for rows in chosen.values())
    return sentence(
        f"{count(total, 'picture')} of {verb(total, 'one patient', 'different patients')} drawn at random from {split} "
        f"(seed {seed}), {listing(parts)}, squashed to the square that the network sees; the patient's key stands above"
    )


def describe_groups(groups: Numbers, *, kind: str) -> str:
    """Say how many groups of copies there are, where, and whether they cross splits, classes or patients."""
    if groups["groups"] == 0:
        return sentence(f"there are no {kind} duplicates")
    text = f"{count(groups['groups'], 'group')} of {kind} duplicates ({count(groups['files'], 'file')})"
    where = [f"{row['groups']:,} in {split}" for split, row in groups["within"].items() if row["groups"]]
    if where:
        text += f", {listing(where)}"
    return sentence(f"{text}; {_describe_crossing(groups)}")


def _describe_crossing(groups: Numbers) -> str:
    splits, classes, patients = (groups[f"across_{name}"] for name in ("splits", "classes", "patients"))
    single = groups["groups"] == 1
    if not (splits or classes or patients):
        return f"{'it crosses no' if single else 'none crosses a'} border of splits, classes or patients"
    if single:
        borders = [name for name, crossed in (("splits", splits), ("classes", classes)) if crossed]
        parts = [f"crosses {listing(borders)}"] if borders else []
        parts += ["joins different patient keys"] if patients else []
        parts += [] if splits else ["does not cross splits"]
        return f"it {listing(parts)}"
    parts = [
        f"{number:,} {verb(number, 'crosses', 'cross')} {name}"
        for number, name in ((splits, "splits"), (classes, "classes"))
        if number
    ]
    parts += [f"{patients:,} {verb(patients, 'joins', 'join')} different patient keys"] if patients else []
    return listing(parts) + ("" if splits else ", none crosses splits")


def describe_closest(pairs: Sequence[Numbers], threshold: float) -> str:
    """Say how alike the most alike pictures on the two sides of the test border are."""
    best = pairs[0]["correlation"]
    side = "at or above" if best >= threshold else "below"
    return sentence(
        f"the most alike pictures of test and of the rest correlate at {best:.3f}, {side} the {threshold:.2f} from "
        "which two pictures count as copies"
    )


def describe_shortcuts(shortcut: Numbers) -> str:
    """Say how well metadata alone tell the classes apart on the held-out split."""
    if shortcut["reason"]:
        return sentence(f"the check was not done: {shortcut['reason']}")
    split = judged_split(shortcut)
    whole = shortcut["together"][0][split]
    text = (
        f"on {split} metadata alone tell the classes apart {grade_auroc(whole['auroc'])}: boosted trees on all of "
        f"them reach an AUROC of {format_auroc(whole)}"
    )
    varying = [row for row in shortcut["alone"] if not row["constant"]]
    if not varying:
        return "None of the metadata varies in train, so that they say nothing about the class."
    best = max(varying, key=lambda row: row[split]["auroc"])
    return sentence(f"{text}, the strongest alone, {best['name']}, {format_auroc(best[split])}")


def judged_split(shortcut: Numbers) -> str:
    """Return test where the shortcut check has scored it, else val."""
    return str(Split.TEST if Split.TEST in shortcut["together"][0] else Split.VAL)


def format_auroc(score: Numbers) -> str:
    """Write an AUROC with its interval: 0.83 (0.79–0.86)."""
    return f"{score['auroc']:.2f} ({score['ci_low']:.2f}–{score['ci_high']:.2f})"


def grade_auroc(value: float) -> str:
    """Return an adverb for an AUROC."""
    grades = ((0.9, "very well"), (0.8, "well"), (0.7, "fairly well"), (0.6, "somewhat"))
    return next((word for least, word in grades if value >= least), "hardly")


def format_bytes(number: float) -> str:
    """Write a file size with its unit: 812 bytes, 8.5 kB, 1.2 MB."""
    if number < 1e3:
        return f"{number:.0f} bytes"
    return f"{number / 1e3:,.1f} kB" if number < 1e6 else f"{number / 1e6:,.1f} MB"


def _compare(
    medians: Mapping[str, float],
    texts: Mapping[str, str],
    *,
    noun: str,
    measure: str,
    words: tuple[str, str],
    unit: str = "",
) -> str:
    """Compare NORMAL with PNEUMONIA by their medians, or describe the one class that is there.

    `texts` are the medians as they are to be read; `words` say that NORMAL has more or less of it.
    """
    if len(medians) == 1:
        label, text = next(iter(texts.items()))
        return sentence(f"the median {measure} of {label} {noun}s is {text}{unit}")
    normal, pneumonia = medians[Label.NORMAL], medians[Label.PNEUMONIA]
    if abs(normal - pneumonia) <= 0.02 * max(abs(normal), abs(pneumonia)):
        return sentence(
            f"the classes are alike: the median {measure} is {texts[Label.NORMAL]}{unit} for NORMAL and "
            f"{texts[Label.PNEUMONIA]}{unit} for PNEUMONIA"
        )
    word = words[0] if normal > pneumonia else words[1]
    return sentence(
        f"NORMAL {noun}s are {word} than PNEUMONIA {noun}s: the median {measure} is {texts[Label.NORMAL]} against "
        f"{texts[Label.PNEUMONIA]}{unit}"
    )
