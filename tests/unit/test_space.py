import pytest

optuna = pytest.importorskip("optuna")

from hilum.config import Config, load_config  # noqa: E402 - after the check for optuna
from hilum.errors import ConfigError  # noqa: E402
from hilum.tuning.space import DEFAULT_SPACE, apply_values, read_space  # noqa: E402

pytestmark = pytest.mark.unit


def write(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_that_the_package_proposes_fits_the_configuration():
    space = read_space(DEFAULT_SPACE, config=Config())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        trial = study.ask()
        values = {name: dimension.suggest(trial, name) for name, dimension in space.items()}
        config = apply_values(Config(), values)
        assert load_config(overrides=[f"train.lr={values['train.lr']}"]).train.lr == config.train.lr
        assert space["train.epochs"].low <= config.train.epochs <= space["train.epochs"].high
        assert isinstance(values["train.epochs"], int)


def test_bounds_of_whole_numbers_stay_whole_and_steps_are_kept(tmp_path):
    text = "train.epochs: {low: 1, high: 9, step: 4}\naugment.gamma: {low: 0.0, high: 0.5, step: 0.25}\n"
    space = read_space(write(tmp_path, text), config=Config())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [
        {name: dimension.suggest(trial, name) for name, dimension in space.items()}
        for trial in (study.ask() for _ in range(30))
    ]
    assert {values["train.epochs"] for values in drawn} == {1, 5, 9}
    assert {values["augment.gamma"] for values in drawn} == {0.0, 0.25, 0.5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.speed: {low: 1, high: 2}", ["train.speed", "unknown setting"]),
        ("train.lr: {low: 1.0e-3, high: 1.0e-4}", ["train.lr", "low is above high"]),
        ("train.lr: {low: 0.0, high: 1.0, log: true}", ["train.lr", "log needs a low above 0"]),
        ("train.lr: {high: 1.0}", ["train.lr", "low and high"]),
        ("train.lr: {low: -1.0, high: 1.0}", ["train.lr", "greater than 0"]),
        ("train.lr: {low: 0.1, high: 1.0, best: 0.5}", ["train.lr", "best"]),
        ("train.balance: {choices: [none, odd]}", ["train.balance", "weights"]),
        ("seed.low: {low: 1, high: 2}", ["seed is a value"]),
        ("- train.lr", ["must hold settings"]),
        ("", ["must hold settings"]),
        ("train.lr: {low: [", ["not valid YAML"]),
    ],
)
def test_a_bad_space_is_one_sentence(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_space(path, config=Config())
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_missing_space_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        read_space(tmp_path / "nowhere.yaml", config=Config())
