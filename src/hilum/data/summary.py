"""What a manifest holds, in the few numbers that `hilum scan` prints."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hilum.types import Label, Split, Status


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """Counts of a manifest.

    Everything but `pictures` and `failed` counts readable pictures alone. `counts` and `patients` are by split.
    `folded` counts the pictures that the source calls val but that are used in train. Duplicates are files with equal
    bytes: `duplicates_across` are the groups of them in several splits, `duplicates_mixed` those in both classes.
    """

    pictures: int
    failed: int
    counts: dict[Split, dict[Label, int]]
    patients: dict[Split, int]
    folded: int
    patients_shared: int
    patients_unknown: int
    duplicate_groups: int
    duplicate_files: int
    duplicates_across: int
    duplicates_mixed: int


def summarise(manifest: pd.DataFrame) -> ManifestSummary:
    """Count what a manifest holds."""
    readable = manifest[manifest["status"] == Status.OK]
    duplicates = readable[readable.duplicated("sha256", keep=False)]
    groups = duplicates.groupby("sha256")
    return ManifestSummary(
        pictures=len(manifest),
        failed=len(manifest) - len(readable),
        counts={
            split: {label: int(((readable["split"] == split) & (readable["label"] == label)).sum()) for label in Label}
            for split in Split
        },
        patients={split: int(readable.loc[readable["split"] == split, "patient"].nunique()) for split in Split},
        folded=int(((readable["given_split"] == Split.VAL) & (readable["split"] == Split.TRAIN)).sum()),
        patients_shared=int((readable.groupby("patient")["split"].nunique() > 1).sum()),
        patients_unknown=int((~readable["patient_known"]).sum()),
        duplicate_groups=groups.ngroups,
        duplicate_files=len(duplicates),
        duplicates_across=int((groups["split"].nunique() > 1).sum()),
        duplicates_mixed=int((groups["label"].nunique() > 1).sum()),
    )
