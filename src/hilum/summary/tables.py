"""The tables of the results page. Each is headers and rows of texts; a table without rows is left out of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.config import Config
from hilum.evaluation.ledger import Look
from hilum.evaluation.metrics import METRICS
from hilum.evaluation.page import METRIC_NAMES
from hilum.report.render import Cell, write_markdown_table
from hilum.summary.published import Published
from hilum.summary.sources import Source, list_recipe
from hilum.summary.values import tabulate_anything, to_number, write_leaf, write_number, write_over_runs

_MAIN = ("auroc", "accuracy", "recall", "specificity", "ece")
_REST = tuple(metric for metric in METRICS if metric not in _MAIN)
_SHORT = {
    "recall": "Sensitivity", "mcc": "MCC", "auprc": "AUPRC", "brier": "Brier score", "ece": "ECE"
}  # fmt: skip

_STEPS: dict[str, tuple[str, ...]] = {
    "where it was chosen (val)": ("val",),
    "as it is": ("as_is",),
    "prior adapted without labels": ("adapted",),
}


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table; `str` is its Markdown."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __str__(self) -> str:
        return write_markdown_table(self.headers, self.rows)

    def __bool__(self) -> bool:
        return bool(self.rows)


def name_metric(metric: str) -> str:
    """Return the short name of a metric."""
    return _SHORT.get(metric, METRIC_NAMES[metric])


def _get_metrics(sources: Sequence[Source], metric: str, *, part: str = "") -> list[Any]:
    path = (part, "metrics", metric) if part else ("metrics", metric)
    return [source.get(*path) for source in sources]


def tabulate_means(sources: Sequence[Source]) -> TextTable:
    """Return mean, standard deviation and range of each metric over runs; no rows for a single run."""
    rows = []
    for metric in METRICS:
        values = [value for value in map(to_number, _get_metrics(sources, metric)) if value is not None]
        if len(values) == len(sources) > 1:
            spread = write_number(float(np.std(values, ddof=1)))
            mean = write_number(float(np.mean(values)))
            rows.append([METRIC_NAMES[metric], mean, spread, write_number(min(values)), write_number(max(values))])
    return TextTable(("Metric", "Mean", "Standard deviation", "Lowest", "Highest"), rows)


def tabulate_metrics(sources: Sequence[Source], *, main: bool) -> TextTable:
    """Return the main metrics, or the others, of each run with 95 % intervals."""
    metrics = _MAIN if main else _REST
    rows = [[source.seed, *(write_leaf(source.get("metrics", metric)) for metric in metrics)] for source in sources]
    return TextTable(("Seed", *map(name_metric, metrics)), rows)


def tabulate_confusion(sources: Sequence[Source]) -> TextTable:
    """Return threshold and confusion matrix of each run."""
    rows = [
        [
            source.seed,
            write_number(source.get("threshold"), digits=4),
            *(source.get("confusion_matrix", cell) for cell in ("tn", "fp", "fn", "tp")),
            source.get("calibration", "sure_mistakes"),
        ]
        for source in sources
    ]
    headers = ("Seed", "Threshold", "True NORMAL", "False alarms", "Missed", "Found", "Mistakes at p ≥ 0.9")
    return TextTable(headers, rows)


def tabulate_transfer_of_metrics(sources: Sequence[Source]) -> TextTable:
    """Return each metric on val and on test."""
    rows = []
    for metric in METRICS:
        val, test = _get_metrics(sources, metric, part="val"), _get_metrics(sources, metric)
        if all(to_number(leaf) is not None for leaf in [*val, *test]):
            gap = float(np.mean([to_number(leaf) for leaf in test])) - float(np.mean([to_number(leaf) for leaf in val]))
            rows.append([METRIC_NAMES[metric], write_over_runs(val), write_over_runs(test), f"{gap:+.3f}"])
    return TextTable(("Metric", "Validation", "Test", "Difference"), rows)


def tabulate_pathogens(sources: Sequence[Source]) -> TextTable:
    """Return the share of the pneumonias of each cause that were found."""
    rows = []
    for pathogen, first in (sources[0].get("by_pathogen") or {}).items():
        recalls = [source.get("by_pathogen", pathogen, "recall") for source in sources]
        rows.append([pathogen, f"{first['n']:,}", write_over_runs(recalls)])
    return TextTable(("Cause", "Pictures", "Sensitivity"), rows)


def tabulate_points(sources: Sequence[Source]) -> TextTable:
    """Return each operating point on val and test; those that not all runs have are left out."""
    rows = []
    for name, found in _match(sources, "operating_points", key="name"):
        cells = [write_over_runs([point.get("threshold") for point in found])]
        for rate in ("sensitivity", "specificity"):
            cells.append(write_over_runs([point.get(f"val_{rate}") for point in found]))
            cells.append(write_over_runs([_dig(point, "tested", rate) or point.get(rate) for point in found]))
        cells += [write_over_runs([_dig(point, "tested", rate) for point in found]) for rate in ("ppv", "npv")]
        rows.append([name, *cells])
    headers = (
        "Operating point", "Threshold", "Sensitivity, val", "Sensitivity, test", "Specificity, val",
        "Specificity, test", "Precision (PPV), test", "NPV, test",
    )  # fmt: skip
    return TextTable(headers, rows)


def tabulate_shift(sources: Sequence[Source]) -> TextTable:
    """Return what becomes of each operating point on test: as it is, with adapted prior, recalibrated on k pictures."""
    contents = [source.get("transfer", "points") for source in sources]
    if not all(isinstance(content, dict) for content in contents):
        return TextTable((), ())
    rows = []
    for name, first in contents[0].items():
        if not all(name in content for content in contents):
            continue
        found = [content[name] for content in contents]
        steps = dict(_STEPS)
        for size in first.get("recalibrated", {}):
            steps[f"recalibrated on {size} pictures"] = ("recalibrated", size)
        for step, path in steps.items():
            rates = [
                write_over_runs([_dig(point, *path, rate) for point in found])
                for rate in ("sensitivity", "specificity")
            ]
            rows.append([name, step, *rates])
    return TextTable(("Operating point", "Step", "Sensitivity", "Specificity"), rows)


def tabulate_conformal(sources: Sequence[Source]) -> TextTable:
    """Return coverage and size of conformal sets."""
    contents = [source.get("conformal") or [] for source in sources]
    if not contents[0] or any(len(content) != len(contents[0]) for content in contents):
        return TextTable((), ())
    figures = {
        "coverage": "Coverage", "coverage_normal": "of NORMAL", "coverage_pneumonia": "of PNEUMONIA",
        "single": "One label", "both": "Both labels", "empty": "No label",
    }  # fmt: skip
    rows = []
    for found in zip(*contents, strict=True):
        cells = [write_over_runs([rule.get(figure) for rule in found]) for figure in figures]
        rows.append([str(found[0].get("kind", "–")), write_number(1 - float(found[0]["alpha"]), digits=2), *cells])
    return TextTable(("Kind", "Promised", *figures.values()), rows)


def tabulate_generic(contents: Sequence[Any]) -> TextTable:
    """Return every figure that the runs have in common; no rows where one of them has none."""
    if not contents or not all(contents):
        return TextTable((), ())
    return TextTable(("What", "Figure"), tabulate_anything(contents))


def tabulate_bundle(bundle: Source, run: Source | None) -> TextTable:
    """Return the metrics of a bundle beside those of the run that it was exported from."""
    rows = []
    for metric in METRICS:
        row = [METRIC_NAMES[metric], write_leaf(bundle.get("metrics", metric))]
        if run is not None:
            own, other = to_number(bundle.get("metrics", metric)), to_number(run.get("metrics", metric))
            difference = "–" if own is None or other is None else f"{own - other:+.4f}"
            row += [write_leaf(run.get("metrics", metric)), difference]
        rows.append(row)
    headers = ("Metric", "Bundle") if run is None else ("Metric", "Bundle", "Run, float32", "Difference")
    return TextTable(headers, rows)


def tabulate_others(runs: Sequence[Source], others: Sequence[Source]) -> TextTable:
    """Return the main metrics of other recipes, a row each, and what of the recipe differs."""
    recipes: dict[str, list[Source]] = {}
    for source in others:
        recipes.setdefault(source.recipe or str(source.folder), []).append(source)
    rows = [
        [
            ", ".join(source.name for source in same),
            ", ".join(source.seed for source in same),
            *(write_over_runs(_get_metrics(same, metric)) for metric in _MAIN),
            _list_differences(runs[0].config, same[0].config),
        ]
        for same in recipes.values()
    ]
    return TextTable(("Run", "Seed", *map(name_metric, _MAIN), "Differs in"), rows)


def _list_differences(ours: Config | None, other: Config | None) -> str:
    if ours is None or other is None:
        return "not known: no run folder"
    differences = []
    mine = list_recipe(ours)
    for section, values in list_recipe(other).items():
        own = mine[section]
        if not isinstance(values, dict):
            differences += [f"{section} = {values}"] if own != values else []
            continue
        differences += [f"{section}.{key} = {value}" for key, value in values.items() if own[key] != value]
    return ", ".join(differences) or "–"


def tabulate_published(published: Sequence[Published], own: Sequence[Sequence[str]]) -> TextTable:
    """Return our rows and the published ones: model, accuracy, AUROC, sensitivity, specificity, source, caveat."""
    rows = [
        [
            entry.model,
            *(write_number(value) for value in (entry.accuracy, entry.auroc, entry.sensitivity, entry.specificity)),
            entry.source,
            entry.caveat,
        ]
        for entry in published
    ]
    headers = ("Model", "Accuracy", "AUROC", "Sensitivity", "Specificity", "Source", "To know before comparing")
    return TextTable(headers, [*own, *rows])


def write_own_row(sources: Sequence[Source], *, name: str, caveat: str) -> list[str]:
    """Return our row of the table of published figures."""
    metrics = ("accuracy", "auroc", "recall", "specificity")
    return [name, *(write_over_runs(_get_metrics(sources, metric)) for metric in metrics), "this page", caveat]


def tabulate_looks(looks: Sequence[Look]) -> TextTable:
    """Return how often each model was scored on the test pictures, in the order of its first look."""
    rows: list[list[Cell]] = []
    for model_hash in dict.fromkeys(look.model_hash for look in looks):
        own = [look for look in looks if look.model_hash == model_hash]
        first = own[0]
        days = (first.date[:10], own[-1].date[:10])
        seed = "–" if first.seed is None else str(first.seed)
        last = own[-1]
        rows.append(
            [
                first.model,
                " ".join(part for part in (first.kind, first.precision) if part) or "–",
                model_hash[:12] or "–",
                seed,
                len(own),
                days[0] if days[0] == days[1] else " to ".join(days),
                write_number(last.auroc),
                write_number(last.accuracy),
            ]
        )
    return TextTable(("Model", "Kind", "SHA-256", "Seed", "Looks", "When", "AUROC", "Accuracy"), rows)


def tabulate_provenance(sources: Sequence[Source]) -> TextTable:
    """Return which weights, data and source code stand behind each evaluation."""
    rows = [
        [
            source.name,
            source.seed,
            (source.get("identity", "sha256") or source.weights_sha256 or "–")[:12],
            (source.test_hash or "–")[:12],
            str(source.get("hashes", "manifest") or "–")[:12],
            str((source.provenance or {}).get("git_commit") or "–")[:12],
            f"{source.metrics.get('hilum', '–')}",
            _write_minutes(source),
        ]
        for source in sources
    ]
    headers = ("Model", "Seed", "Weights", "Test pictures", "Manifest", "Commit of training", "Hilum", "Epochs took")
    return TextTable(headers, rows)


def _write_minutes(source: Source) -> str:
    return "–" if source.train_seconds is None else f"{source.train_seconds / 60:.0f} min"


def _dig(content: Any, *path: str) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _match(sources: Sequence[Source], entry: str, *, key: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the items of a list of metrics.json that every source has, by their name."""
    named = [
        {str(item.get(key, item.get("rule"))): item for item in source.get(entry) or [] if isinstance(item, dict)}
        for source in sources
    ]
    return [(name, [items[name] for items in named]) for name in named[0] if all(name in items for items in named)]
