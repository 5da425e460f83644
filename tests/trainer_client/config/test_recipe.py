"""A recipe's keys are the options of `trainer train`; the command line goes before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from schemas.errors import AmatlError, BadDocument, BadOption, NotFound
from trainer_client.cli import main
from trainer_client.config import TrainConfig
from trainer_client.config.methods import LoRA
from trainer_client.config.recipe import read_recipe, read_settings


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_keys_are_options_with_dashes_or_underscores(tmp_path: Path) -> None:
    recipe = written(tmp_path, 'epochs = 3\nsave-epochs = [1, 2]\nlr = 2e-6\nflip = true\nout = "runs/x"\n')
    assert read_recipe(recipe) == {
        "epochs": 3,
        "save_epochs": (1, 2),
        "learning_rate": 2e-6,
        "flip": True,
        "out": Path("runs/x"),
    }


def test_settings_are_typed_like_options() -> None:
    found = read_settings(["lr=2e-6", "save_epochs=1,5", "flip=false", "base=a=b"])
    assert found == {"learning_rate": 2e-6, "save_epochs": (1, 5), "flip": False, "base": "a=b"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epocs = 3", r"recipe.toml: there is no option `epocs`. Did you mean `epochs`\?"),
        ("learning-rat = 1.0", "Did you mean `learning_rate`"),
        ("[train]\nepochs = 3", r"\[train\] is a table"),
        ("epochs = 3\nepochs = 4", "not TOML"),
        ("epochs =", "not TOML .*Write `epochs = 45`"),
        ('epochs = "many"', "recipe.toml: `epochs`: 'many' is not a valid integer"),
        ('method = "magic"', "`method`: 'magic' is not one of"),
        ("lr = 1.0\nlearning_rate = 2.0", "`learning_rate` is given twice"),
        ("save_epochs = [1, 'two']", "`save_epochs`: '1,two' is not a list of whole numbers"),
        ("epochs = 4.5", "recipe.toml: `epochs`: '4.5' is not a valid integer"),
        ("epochs = true", "recipe.toml: `epochs`: 'True' is not a valid integer"),
        ("lr = true", "recipe.toml: `lr`: 'True' is not a valid float"),
        ("flip = 2", "recipe.toml: `flip`: '2' is not a valid boolean"),
        ("base = 5", "recipe.toml: `base`: 5 is not text. Put it in quotes"),
        ("captions = 2026-01-01", "recipe.toml: `captions`: 2026-01-01 is not text"),
        ("captions = {template = 0.7}", "recipe.toml: `captions`: {'template': 0.7} is a table"),
        ("captions = ['a', 'b']", r"recipe.toml: `captions`: \['a', 'b'\] is a list"),
        ("epochs = 0", "recipe.toml: `epochs` 0: Input should be greater than or equal to 1"),
        ("lr = inf", "recipe.toml: `lr` inf: Input should be a finite number"),
        ("nope = 1", "no option `nope`. `trainer train --help` lists them"),
    ],
)
def test_a_bad_recipe_is_named_with_its_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BadDocument, match=problem):
        read_recipe(written(tmp_path, text))


def test_a_missing_recipe_and_settings_without_a_value(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="examples/recipes"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"base = '\xe9'")
    with pytest.raises(BadDocument, match="not UTF-8"):
        read_recipe(tmp_path / "latin.toml")
    with pytest.raises(BadOption, match="--set epochs: write --set key=value"):
        read_settings(["epochs"])
    for twice in (["lr=1", "lr=2"], ["lr=1", "learning-rate=2"]):
        with pytest.raises(BadOption, match=r"--set: `l.*` is given twice"):
            read_settings(twice)
    with pytest.raises(BadOption, match="--set: `epochs` 0: Input should be greater"):
        read_settings(["epochs=0"])


def trainer(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_the_command_line_goes_before_set_and_set_before_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainConfig] = []

    def train(config: TrainConfig, progress: object) -> None:
        seen.append(config)
        raise AmatlError("enough")

    monkeypatch.setattr("trainer_client.train.train", train)
    given = 'snapshot = "s"\nbase = "b"\nout = "o"\nepochs = 1\nbatch_size = 1\nrank = 4\nmethod = "lora"'
    recipe = written(tmp_path, given)
    arguments = ["--recipe", str(recipe), "--set", "batch-size=2", "--set", "epochs=2", "--epochs", "3"]
    assert trainer("train", *arguments).exit_code == 1
    (config,) = seen
    assert (config.schedule.epochs, config.optimiser.batch_size, config.method) == (3, 2, LoRA(rank=4, alpha=4.0))
    assert (config.data.snapshot, config.model.base, config.output.out) == (Path("s"), "b", Path("o"))
    assert trainer("train", "elsewhere", *reversed_pairs(arguments)).exit_code == 1
    assert seen[1].data.snapshot == Path("elsewhere") and seen[1].optimiser.batch_size == 2


def reversed_pairs(arguments: list[str]) -> list[str]:
    """The same options the other way round: their order on the line doesn't matter."""
    pairs = [arguments[place : place + 2] for place in range(0, len(arguments), 2)]
    return [part for pair in reversed(pairs) for part in pair]


def test_errors_of_a_recipe_are_one_line_and_json_when_asked(tmp_path: Path) -> None:
    recipe = written(tmp_path, "epocs = 3")
    result = trainer("train", "--recipe", str(recipe))
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    error = json.loads(trainer("train", "--json", "--recipe", str(recipe)).output)["error"]
    assert error["type"] == "BadDocument" and "epocs" in error["message"]
    missing = trainer("train", "--recipe", str(written(tmp_path, 'snapshot = "s"\nbase = "b"')))
    assert missing.exit_code == 2 and "--out" in missing.output
