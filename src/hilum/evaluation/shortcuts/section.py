"""The report's section "Is it looking at the lungs?", with or without results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hilum.evaluation.shortcuts import judgements
from hilum.evaluation.shortcuts.figures import draw_shortcut_figures
from hilum.evaluation.shortcuts.probe import ShortcutResults
from hilum.evaluation.wording import write_count, write_percent
from hilum.report.render import Block, Bullets, Code, Figure, Findings, Section

TITLE = "Is it looking at the lungs?"


def report_shortcuts(
    results: ShortcutResults | None, folder: Path, *, command: str, full_scale: float, seed: int
) -> Section:
    """Return the section, with figures in `folder`; without results it says how to get them by `command`."""
    if results is None:
        return explain_omission(command)
    return lay_out_shortcuts(results, draw_shortcut_figures(results, folder, full_scale=full_scale, seed=seed))


def lay_out_shortcuts(results: ShortcutResults, figures: Sequence[Figure]) -> Section:
    """Return the section with its verdicts, figures and method."""
    missing = 1 - results.found_lungs
    sample = results.sample
    found = (
        "Lungs were found in every picture."
        if not missing
        else f"In {write_percent(missing)} of the pictures no lungs were found and a mean outline stands in for them."
    )
    blocks: list[Block] = [
        "A network can be right for the wrong reason: a marker, the width of the picture, the exposure. These checks "
        "ask whether it needs the lungs, and whether it can do without. None of them chose anything.",
        Findings([judgement.finding for judgement in judgements.judge_all(results)]),
        *figures,
        Bullets(
            [
                f"Lungs are found by a classical fit of their outline, not by a trained network. {found} The outline "
                "itself may differ between the ill and the well, and what surrounds the lungs (heart, chest wall, "
                "tubes, age) is not free of medical meaning: an AUROC above 0.5 without lungs is a warning, no proof.",
                f"The AUROCs of the first figure are of {write_count(len(sample), 'picture')}; what is taken away is "
                "black, for a mean gray would carry the opacity of the lungs into the surroundings.",
                "Deletion and insertion (Petsiuk et al. 2018, arXiv:1806.07421) replace cells of the map by a strong "
                "blur of the picture.",
                f"All this took {results.forward_passes:,} forward passes besides the scoring itself.",
            ]
        ),
    ]
    return Section(TITLE, blocks)


def explain_omission(command: str) -> Section:
    """Return the section that says that the checks were not run, and how to run them."""
    sentence = "Whether the model looks at the lungs was not checked here; evaluate with --shortcuts to have it checked"
    if not command.startswith("hilum evaluate"):
        return Section(TITLE, [f"{sentence}."])
    return Section(TITLE, [f"{sentence}:", Code(f"{command} --shortcuts")])
