"""docs/results.md: put together from evaluations, deterministic to the byte, and without a figure typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hilum.errors import EvaluationError
from hilum.evaluation.ledger import Look, read_ledger
from hilum.report.render import render_text
from hilum.summary import tables
from hilum.summary.figures import draw_curves, draw_reliability
from hilum.summary.published import PUBLISHED, PUBLISHED_PATHOGEN
from hilum.summary.sources import Grouped, Source, group_sources, list_recipe, read_source
from hilum.summary.values import to_number, write_number, write_over_runs
from hilum.types import Label

_CALLED = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "recall": "sensitivity",
    "specificity": "specificity",
    "ece": "ECE",
}

_NOTABLE = 0.02  # change of specificity from val to test that is worth a warning


def write_results(paths: Sequence[Path], out: Path, *, ledger: Path | None = None) -> None:
    """Write the page and, in a folder images beside it, its figures.

    Args:
        paths: evaluation folders, or runs with an evaluation inside or beside them. Runs whose configurations differ in
            more than the seed count as another recipe; the first run tells the one in question.
        out: the Markdown file.
        ledger: looks at test; none given: the page says nothing of them.

    Raises:
        EvaluationError: a folder is no evaluation of test, or they do not belong together.
    """
    groups = group_sources([read_source(path) for path in paths])
    sources = groups.runs or groups.bundles[:1]
    looks = _choose_looks(read_ledger(ledger), sources) if ledger is not None else []
    scores = [source.read_scores() for source in sources]
    if not all(labels.any() and not labels.all() for labels, _ in scores):
        raise EvaluationError(f"{sources[0].folder} lacks one of the classes, so that there are no curves to draw.")
    images = {name: out.parent / "images" / f"{out.stem}_{name}.png" for name in ("curves", "calibration")}
    captions = {
        "curves": draw_curves(sources, scores, images["curves"]),
        "calibration": draw_reliability(sources, scores, images["calibration"]),
    }
    first = sources[0]
    # The checks take thousands of passes, so that not every seed may have them.
    checked = [source for source in sources if source.get("shortcuts")] or sources[:1]
    render_text(
        "results.md.j2",
        out,
        sentences=_summarise(groups, sources, looks),
        runs=len(groups.runs),
        n=f"{first.metrics['n']:,}",
        patients=f"{first.metrics['patients']:,}",
        share=write_number(first.get("calibration", "share_pneumonia")),
        recipe=_describe_recipe(first),
        configuration=_write_configuration(first),
        means=tables.tabulate_means(sources),
        main=tables.tabulate_metrics(sources, main=True),
        rest=tables.tabulate_metrics(sources, main=False),
        confusion=tables.tabulate_confusion(sources),
        validation=tables.tabulate_transfer_of_metrics(sources),
        pathogens=tables.tabulate_pathogens(sources),
        images={name: f"images/{path.name}" for name, path in images.items()},
        captions=captions,
        points=tables.tabulate_points(sources),
        grey_zone=tables.tabulate_generic([_pick_zone(source) for source in sources]),
        conformal=tables.tabulate_conformal(sources),
        shift=tables.tabulate_shift(sources),
        prior=tables.tabulate_generic([source.get("transfer", "prior") for source in sources]),
        shift_ece=tables.tabulate_generic([source.get("transfer", "ece") for source in sources]),
        shortcuts=tables.tabulate_generic([source.get("shortcuts") for source in checked]),
        checked=f"Seed {checked[0].seed}" if len(checked) == 1 else f"Seeds {', '.join(s.seed for s in checked)}",
        robust=tables.tabulate_generic([_pick_robust(source) for source in sources]),
        bundles=[_describe_bundle(bundle, groups) for bundle in groups.bundles] if groups.runs else [],
        others=tables.tabulate_others(groups.runs, groups.others) if groups.runs else "",
        pathogen_main=tables.tabulate_metrics(groups.pathogen, main=True),
        pathogen=tables.tabulate_generic([source.get("pathogen") for source in groups.pathogen]),
        pathogen_published=tables.tabulate_published([PUBLISHED_PATHOGEN], []),
        published=tables.tabulate_published(PUBLISHED, [_write_own(sources)]),
        looks=tables.tabulate_looks(looks),
        looked=_count_looks(looks),
        provenance=tables.tabulate_provenance([*groups.runs, *groups.others, *groups.bundles, *groups.pathogen]),
        resamples=f"{first.get('intervals', 'resamples') or 0:,}",
    )


def _summarise(groups: Grouped, sources: Sequence[Source], looks: Sequence[Look]) -> list[str]:
    """Return the sentences that a hurried reader must see."""
    figures = ", ".join(
        f"{name} {write_over_runs([source.get('metrics', metric) for source in sources])}"
        for metric, name in _CALLED.items()
    )
    many = len(sources) > 1
    sentences = [
        f"{len(sources)} runs of one recipe that differ in their seed (mean ± standard deviation): {figures}."
        if many
        else f"A single {'run' if groups.runs else 'bundle'} (95 % intervals in brackets): {figures}."
    ]
    falls = [fall for source in sources if (fall := _measure_fall(source)) is not None]
    if falls and len(falls) == len(sources):
        beyond = [_is_beyond_chance(source) for source in sources]
        sentences.append(_tell_fall(float(np.mean(falls)), averaged=many, beyond=beyond))
    for bundle in groups.bundles if groups.runs else ():
        sentences.append(_describe_bundle(bundle, groups)["sentence"])
    if looks:
        sentences.append(_count_looks(looks))
    return sentences


def _tell_fall(fall: float, *, averaged: bool, beyond: Sequence[bool]) -> str:
    if abs(fall) < _NOTABLE:
        return f"Specificity at the threshold that validation chose carries over to test ({fall:+.3f})."
    verb, mean = "falls" if fall < 0 else "rises", " on average" if averaged else ""
    return (
        f"From validation to test, specificity at the threshold that validation chose {verb} by {abs(fall):.3f}{mean}, "
        + _explain_fall(beyond)
    )


def _explain_fall(beyond: Sequence[bool]) -> str:
    if all(beyond):
        return "more than chance explains: test is unlike validation, or validation, used to choose, flatters."
    return (
        "within the interval of test."
        if len(beyond) == 1
        else f"in {beyond.count(False)} of {len(beyond)} runs within the interval of test."
    )


def _is_beyond_chance(source: Source) -> bool:
    """Return whether the specificity of val lies outside the interval of that of test."""
    val = to_number(source.get("val", "metrics", "specificity"))
    low, high = (to_number(source.get("metrics", "specificity", end)) for end in ("ci_low", "ci_high"))
    return val is not None and low is not None and high is not None and not low <= val <= high


def _measure_fall(source: Source) -> float | None:
    val, test = (to_number(source.get(*part, "metrics", "specificity")) for part in (("val",), ()))
    return None if val is None or test is None else test - val


def _describe_recipe(source: Source) -> list[str]:
    description = dict(source.get("model_description") or {})
    description.pop("Seed", None)
    description.pop("Scored on", None)
    return [f"{name}: {value}" for name, value in description.items()]


def _write_configuration(source: Source) -> str:
    """Return the recipe as YAML: without seed and machine, and with the name of the weights instead of their place."""
    if source.config is None:
        return ""
    content = {**list_recipe(source.config), "evaluate": source.config.evaluate.model_dump(mode="json")}
    return yaml.safe_dump(content, sort_keys=False).rstrip()


def _pick_zone(source: Source) -> Any:
    zone = source.get("grey_zone")
    if not isinstance(zone, dict):
        return None
    edges = {key: value for key, value in zone.items() if key not in ("val", "tested")}
    return {**edges, **(zone.get("tested") or {})}


def _pick_robust(source: Source) -> Any:
    robust = source.robust or {}
    return {"pictures of val": robust.get("n"), **robust["summary"]} if "summary" in robust else source.robust


def _describe_bundle(bundle: Source, groups: Grouped) -> dict[str, Any]:
    candidates = [*groups.runs, *groups.others]
    run = next((run for run in candidates if run.trained_sha256 == bundle.trained_sha256 != ""), None)
    if run is None and len(candidates) == 1 and not bundle.trained_sha256:
        run = candidates[0]
    name = str(bundle.metrics["model"])
    precision = bundle.get("identity", "precision") or bundle.get("model_description", "Precision") or "–"
    own = to_number(bundle.get("metrics", "auroc"))
    trained = None if run is None else to_number(run.get("metrics", "auroc"))
    sentence = f"The bundle {name} ({precision}) has an AUROC of {write_number(own)}"
    if run is not None and own is not None and trained is not None:
        sentence += f", {own - trained:+.4f} against its run of seed {run.seed} in float32"
    sentence += f".{_tell_refusals(bundle)}"
    return {"name": name, "sentence": sentence, "table": tables.tabulate_bundle(bundle, run)}


def _tell_refusals(bundle: Source) -> str:
    counts = [
        f"{refused:,} of {bundle.get('gate', str(label), 'n'):,} {label}"
        for label in Label
        if (refused := bundle.get("gate", str(label), "refused")) is not None
    ]
    if not counts:
        return ""
    return f" Its input gate would give {' and '.join(counts)} pictures no verdict; here they are scored as the others."


def _write_own(sources: Sequence[Source]) -> list[str]:
    size = sources[0].config.preprocess.size if sources[0].config else None
    name = "Hilum, ResNet-50" + (f", {size} px" if size else "")
    what = (
        f"mean ± standard deviation of {len(sources)} seeds" if len(sources) > 1 else "one model, with 95 % intervals"
    )
    return tables.write_own_row(sources, name=name, caveat=f"{what}; threshold chosen on validation")


def _choose_looks(looks: Sequence[Look], sources: Sequence[Source]) -> list[Look]:
    """Return the looks at the test pictures in question, all of them where the evaluation does not say which."""
    test_hash = sources[0].test_hash
    return [look for look in looks if not test_hash or look.test_hash == test_hash]


def _count_looks(looks: Sequence[Look]) -> str:
    models = len({look.model_hash for look in looks})
    times, many = ("time", "model") if len(looks) == 1 else ("times", "models")
    return f"The test set has been scored {len(looks):,} {times}, with {models:,} {many if models > 1 else 'model'}."
