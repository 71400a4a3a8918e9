"""What the names of folders and files say: label, split, pathogen, and which patient a picture is of.

The public copies of the Guangzhou radiographs carry patients in their file names, in several number spaces: NORMAL
`IM-9115-0001` and `NORMAL2-IM-9115-0001` are different children, as are `person9012_bacteria_34` and
`person9012_virus_34`. Keys are therefore namespaced; merging the spaces would invent patients that stand in both train
and test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hilum.types import Label, Pathogen, Split

# As the public data sets spell them; a cause of pneumonia is a pneumonia.
_CAUSES: dict[str, Pathogen | None] = {
    "bacteria": Pathogen.BACTERIA,
    "bacterial": Pathogen.BACTERIA,
    "bacterial pneumonia": Pathogen.BACTERIA,
    "virus": Pathogen.VIRUS,
    "viral": Pathogen.VIRUS,
    "viral pneumonia": Pathogen.VIRUS,
    "covid": Pathogen.VIRUS,
    "covid19": Pathogen.VIRUS,
    "covid-19": Pathogen.VIRUS,
}
_LABELS = {
    "normal": Label.NORMAL,
    "healthy": Label.NORMAL,
    "no finding": Label.NORMAL,
    "no findings": Label.NORMAL,
    "no_finding": Label.NORMAL,
    "no_findings": Label.NORMAL,
    "pneumonia": Label.PNEUMONIA,
    **dict.fromkeys(_CAUSES, Label.PNEUMONIA),
}
_SPLITS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VAL,
    "valid": Split.VAL,
    "validation": Split.VAL,
    "test": Split.TEST,
    "testing": Split.TEST,
}

# Only the beginning has to fit, so that copies such as "IM-9115-0001 (1).jpeg" stay with their patient.
_KAGGLE_NORMAL = re.compile(r"(NORMAL2-IM|IM)-(\d+)-\d+", re.IGNORECASE)
_KAGGLE_PNEUMONIA = re.compile(r"person(\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
_MENDELEY = re.compile(r"(NORMAL|BACTERIA|VIRUS)-(\d+)-\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What a file name says. `patient` is a key such as `IM/9115` or `virus/9003`, None where the name gives none."""

    patient: str | None
    pathogen: Pathogen | None


def parse_label(text: str) -> Label | None:
    """Return the label that a folder name or table cell spells in any case, None for any other text."""
    return _LABELS.get(text.strip().lower())


def parse_cause(text: str) -> Pathogen | None:
    """Return the pathogen that a folder name or table cell spells as a label, None where it names none."""
    return _CAUSES.get(text.strip().lower())


def parse_split(text: str) -> Split | None:
    """Return the split that a folder name or table cell spells in any case, None for any other text."""
    return _SPLITS.get(text.strip().lower())


def find_label(folders: Sequence[str]) -> Label | None:
    """Return the label of the innermost folder that names one. `folders` go from the outermost to the innermost."""
    return next((label for name in reversed(folders) if (label := parse_label(name)) is not None), None)


def find_split(folders: Sequence[str]) -> Split | None:
    """Return the split of the innermost folder that names one. `folders` go from the outermost to the innermost."""
    return next((split for name in reversed(folders) if (split := parse_split(name)) is not None), None)


def parse_file_name(name: str) -> NameFacts:
    """Read patient and pathogen from a file name of the Kaggle copy or of version 3 at Mendeley Data."""
    if match := _KAGGLE_NORMAL.match(name):
        return NameFacts(patient=f"{match[1].upper()}/{int(match[2])}", pathogen=None)
    if match := _KAGGLE_PNEUMONIA.match(name):
        pathogen = Pathogen(match[2].lower())
        return NameFacts(patient=f"{pathogen}/{int(match[1])}", pathogen=pathogen)
    if match := _MENDELEY.match(name):
        kind = match[1].lower()
        # Version 3 numbers patients anew, so its spaces are not those of the Kaggle copy.
        return NameFacts(
            patient=f"mendeley-{kind}/{int(match[2])}", pathogen=None if kind == "normal" else Pathogen(kind)
        )
    return NameFacts(patient=None, pathogen=None)
