import math

import numpy as np
import pandas as pd
import pytest

from hilum.research.names import is_lower_better, list_rankable, write_name
from hilum.research.tables import RunRow, pool_deviations, rank_rows, summarise, write_tables

pytestmark = pytest.mark.unit


def row(recipe, seed, auroc, loss=0.3):
    return RunRow(recipe, seed, "done", {"nih.auroc": auroc, "val.loss": loss})


ROWS = [
    row("a", 0, 0.60, 0.2),
    row("a", 1, 0.64, 0.4),
    row("b", 0, 0.70, 0.5),
    row("b", 1, None, 0.6),
    RunRow("c", 0, "failed", message="out of memory"),
    RunRow("c", 1, "pending"),
]


def test_recipes_are_ranked_by_their_mean_in_the_right_direction():
    by_auroc = summarise(ROWS, rank_by="nih.auroc")
    assert [summary.recipe for summary in by_auroc] == ["b", "a", "c"]
    assert [summary.n for summary in by_auroc] == [2, 2, 0]
    assert by_auroc[1].means["nih.auroc"] == pytest.approx(0.62)
    assert by_auroc[1].deviations["nih.auroc"] == pytest.approx(np.std([0.6, 0.64], ddof=1))
    assert math.isnan(by_auroc[0].deviations["nih.auroc"])  # of a single seed there is none
    assert [summary.recipe for summary in summarise(ROWS, rank_by="val.loss")] == ["a", "b", "c"]


def test_runs_are_ranked_and_those_without_the_figure_come_last():
    assert [(r.recipe, r.seed) for r in rank_rows(ROWS, rank_by="nih.auroc")] == [
        ("b", 0), ("a", 1), ("a", 0), ("b", 1),
    ]  # fmt: skip


def test_deviations_are_pooled_by_degrees_of_freedom():
    rows = [row("a", n, value) for n, value in enumerate([1.0, 2.0, 3.0])] + [row("b", n, n * 4.0) for n in range(2)]
    summaries = summarise(rows, rank_by="nih.auroc")
    assert pool_deviations(summaries, "nih.auroc") == pytest.approx(math.sqrt((2 * 1.0 + 1 * 8.0) / 3))
    assert math.isnan(pool_deviations(summarise(ROWS[2:3], rank_by="nih.auroc"), "nih.auroc"))


def test_tables_hold_every_run_and_every_recipe(tmp_path):
    write_tables(ROWS, tmp_path, rank_by="nih.auroc")
    runs, recipes = pd.read_csv(tmp_path / "study.csv"), pd.read_csv(tmp_path / "recipes.csv")
    assert runs["status"].tolist() == ["done"] * 4 + ["failed", "pending"]
    assert runs["message"].fillna("").tolist() == ["", "", "", "", "out of memory", ""]
    assert recipes[["rank", "recipe", "n"]].values.tolist() == [[1, "b", 2], [2, "a", 2], [3, "c", 0]]
    assert recipes.loc[1, "val.loss_mean"] == pytest.approx(0.3)


def test_names_say_which_way_is_better():
    names = list_rankable(["nih"], robust=True)
    assert [name for name in names if is_lower_better(name)] == [
        "val.loss", "robust.brier_mean", "robust.brier_worst", "nih.ece",
    ]  # fmt: skip
    assert not any(name.startswith("robust") for name in list_rankable([], robust=False))
    assert write_name("robust.auroc_worst") == "robust worst AUROC"
    assert write_name("nih.balanced_accuracy") == "nih balanced accuracy"
    assert write_name("images_per_second") == "images/s"
