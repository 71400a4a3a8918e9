from pathlib import Path

import pytest
import yaml

from hilum.config import load_config
from hilum.errors import ConfigError
from hilum.research.recipes import read_study

pytestmark = pytest.mark.unit

STUDY = {
    "data": "../images",
    "seeds": [0, 3],
    "also": {"nih": "nih.csv"},
    "settings": {"train.epochs": 2, "train.lr": "3e-4"},
    "recipes": {"default": None, "mild-2.0": {"augment.graded": False, "augment.display": 0.2}},
}


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        path = tmp_path / "studies" / "study.yaml"
        path.parent.mkdir(exist_ok=True)
        tree = {key: value for key, value in (STUDY | changes).items() if value is not None}
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return path

    return write


def test_a_study_is_read(write, tmp_path):
    plan = read_study(write(), also={"other": Path("other")})
    assert plan.data.resolve() == (tmp_path / "images").resolve()
    assert plan.also["nih"] == tmp_path.resolve() / "studies" / "nih.csv"
    assert plan.also["other"] == Path("other").resolve()
    assert plan.rank_by == "robust.objective"
    assert plan.robust == 240
    assert list(plan.changes) == ["default", "mild-2.0"]
    expected = load_config(overrides=["train.epochs=2", "train.lr=3e-4", "data.split_seed=0"])
    assert plan.recipes["default"] == expected
    assert plan.recipes["mild-2.0"].augment.display == 0.2
    assert plan.recipes["mild-2.0"].train == expected.train


def test_all_recipes_are_trained_with_one_seed_before_the_next(write, tmp_path):
    plan = read_study(write())
    assert plan.list_runs() == [("default", 0), ("mild-2.0", 0), ("default", 3), ("mild-2.0", 3)]
    config = plan.build_config("default", 3, cache=tmp_path)
    assert (config.seed, config.split_seed, config.data.cache_dir) == (3, 0, tmp_path)


def test_without_robust_validation_val_ranks(write):
    assert read_study(write(robust=0)).rank_by == "val.auroc"
    with pytest.raises(ConfigError, match=r"cannot be ranked by robust\.objective; there are val\.auroc"):
        read_study(write(robust=0, rank_by="robust.objective"))
    assert read_study(write(rank_by="nih.ece")).rank_by == "nih.ece"


def test_weights_of_the_command_line_are_for_recipes_that_name_none(write, tmp_path):
    recipes = {"a": {}, "b": {"model.weights": "own.pth"}}
    plan = read_study(write(recipes=recipes), weights="random")
    assert plan.recipes["a"].model.weights == "random"
    assert plan.recipes["b"].model.weights == str(tmp_path.resolve() / "studies" / "own.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "at seed: unknown key; there are data, seeds"),
        ({"data": None}, "at data: it is missing"),
        ({"seeds": [1, 1]}, "at seeds: a seed stands twice"),
        ({"seeds": []}, "at seeds"),
        ({"seeds": [-1]}, r"at seeds\.0"),
        ({"robust": 4}, "at least 8 images"),
        ({"recipes": {}}, "at recipes"),
        ({"recipes": {"a/b": {}}}, "the name 'a/b' may hold letters"),
        ({"recipes": {"a": {"train.lrr": 1}}}, r"at recipe a: train\.lrr: unknown key; did you mean lr\?"),
        ({"recipes": {"a": {"train.epochs": 0}}}, r"at recipe a: train\.epochs: input should be"),
        ({"recipes": {"a": {"train": {"lr": 1}}}}, r"at recipes\.a\.train"),
        ({"recipes": {"a": {"seed": 1}}}, "at a: it cannot set seed; 'seeds' gives it"),
        ({"settings": {"seed": 1}}, "at settings: it cannot set seed"),
        ({"recipes": {"a": {"data.val_fold": 1}}}, "all recipes share train and val"),
        ({"also": {"val": "x.csv"}}, "cannot be named val"),
        ({"rank_by": "nih.loss"}, r"cannot be ranked by nih\.loss"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(write, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_study(write(**changes))
    assert "\n" not in str(caught.value)


def test_a_set_has_one_meaning(write):
    with pytest.raises(ConfigError, match="has a set of this name already"):
        read_study(write(), also={"nih": Path("x.csv")})


def test_a_file_that_is_no_study(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_study(tmp_path / "none.yaml")
    path = tmp_path / "study.yaml"
    path.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="must hold the keys"):
        read_study(path)
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_study(path)
