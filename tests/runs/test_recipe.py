"""Recipes: what they and flags say is the same, and what is wrong with one is a sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from prunus.cli.app import app
from prunus.errors import ConfigError
from prunus.runs.recipe import KEYS, bundled, read, resolve


def test_a_recipe_and_flags_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        'data = "digits"\nmodel = "lenet5"\nepochs = 9\nlr = 1\nmethod = "soft"\nprotect = ["conv1"]\nrate ='
        " 0.4\n"
    )
    found = resolve(read(file) | {"epochs": 2}, "the recipe")
    assert (found.epochs, found.lr, found.settings, found.batch_size) == (
        2,
        1.0,
        {"protect": ("conv1",), "rate": 0.4},
        128,
    )
    assert resolve(tomllib.loads(found.to_toml()), "the resolved one") == found
    (tmp_path / "recipe.yaml").write_text(
        "data: digits\nmodel: lenet5\nepochs: 9\nlr: 1.0\nmethod: soft\nprotect: [conv1]\nrate: 0.4\n"
    )
    assert resolve(read(tmp_path / "recipe.yaml") | {"epochs": 2}, "the recipe") == found


def test_a_recipe_of_ours_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in bundled():
        values = read(Path(name))
        recipe = resolve({**values, "data": "digits", "model": "lenet5"}, name)
        assert all(getattr(recipe, key) == value for key, value in values.items())
    Path("fast").write_text("a file of the user's goes first")
    with pytest.raises(ConfigError, match=r"A recipe is a .* file, not fast"):
        read(Path("fast"))
    with pytest.raises(ConfigError, match="There is no recipe slow; by name"):
        read(Path("slow"))


def test_every_flag_has_its_key() -> None:
    import typer.main

    command: Any = typer.main.get_command(app)
    names = {parameter.name for parameter in command.commands["train"].params}
    assert names - set(
        "output recipe resume tensorboard find_lr onnx dynamic_batch report as_json help".split()
    ) == set(KEYS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('data = "digits"\nmodel = "lenet5"\nepoch = 3\n', "unknown key 'epoch': did you mean 'epochs'"),
        ('data = "digits"\n', "does not say which model to train"),
        ('model = "lenet5"\n', "does not say which data to train on"),
        ('data = "digits"\nmodel = "lenet5"\nepochs = 1.5\n', "epochs must be a whole number, not 1.5"),
        ('data = "digits"\nmodel = "lenet5"\nselect = "some"\n', "select must be one of all, lower-bound"),
        ('data = "digits"\nmodel = "lenet5"\nmethod = "soft"\nprotect = "conv1"\n', "protect must be a list"),
        (
            'data = "digits"\nmodel = "lenet5"\nmethod = "soft"\ngrowth = "wild"\n',
            "growth must be one of constant, asymptotic",
        ),
        (
            'data = "digits"\nmodel = "lenet5"\nmethod = "soft"\nmu = 1.0\n',
            "mu is a setting of the method adversarial, and the method is soft",
        ),
        (
            'data = "digits"\nmodel = "lenet5"\nmethod = "soft"\nrat = 0.4\n',
            "unknown key 'rat': did you mean 'rate'",
        ),
        ('data = "digits"\nmodel = "lenet5"\nmethod = ["soft"]\n', "method must be one of none, one-shot"),
        ('data = "digits"\nmodel = "lenet5"\n[method]\nname = 1\n', "method must be one of none, one-shot"),
        ('data = "digits"\nmodel = "lenet5"\nmethod = "softly"\n', "method must be one of none, one-shot"),
        ("data = \n", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(read(file), str(file))
    assert says in str(caught.value)


def test_files_that_are_no_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no recipe"):
        read(tmp_path / "none.toml")
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"a \.toml, \.yaml or \.yml file, not recipe\.json"):
        read(tmp_path / "recipe.json")
    (tmp_path / "broken.yaml").write_text("epochs: [1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml cannot be read"):
        read(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="holds no keys"):
        read(tmp_path / "list.yaml")


HUGE, LONGER = 400 * "9", "0x" + 5000 * "f"  # more than a float holds, and than Python writes down


@pytest.mark.parametrize(
    ("line", "says"),
    [
        *((f"lr = {value}", "lr must be a number below 1e308, not ") for value in (HUGE, LONGER)),
        (f"milestones = [{HUGE}]", "milestones must be a number below 1e308, not 99"),
        (f'method = "soft"\nrate = -{HUGE}', "rate must be a number below 1e308, not -99"),
        (f"epochs = {LONGER}", "epochs must be from 0 to 1,000,000, not that"),
        (f"keep = {LONGER}", "not a number of thousands of digits."),
        (f"keep = [{LONGER}]", "not list."),
        (f"method = {LONGER}", "not a number of thousands of digits."),
        (f'method = "soft"\nrate = [{LONGER}]', "rate must be a number, not list."),
        ('weights = "a\\u0000b"', "weights must be a text that may name a file, not 'a\\x00b'."),
        ('data_dir = "\\u0000"', "data_dir must be a text that may name a file"),
    ],
)
def test_no_value_is_too_odd_for_a_sentence(line: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(f'data = "digits"\nmodel = "lenet5"\n{line}\n')
    with pytest.raises(ConfigError) as caught:
        resolve(read(file), file.name)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["!!bool x", "!!timestamp x", "!!int x", "!!binary zz", "2001-99-99", "!!python/name:os.system x", "*b"],
)
def test_yaml_that_its_reader_cannot_make_values_of_is_told(value: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="yaml is not installed")
    file = tmp_path / "recipe.yaml"
    file.write_text(f"data: digits\nmodel: lenet5\nlr: {value}\n")
    with pytest.raises(ConfigError, match=r"recipe\.yaml cannot be read: "):
        read(file)


def test_half_a_character_names_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data_dir must be a text that may name a file"):
        resolve({"data": "digits", "model": "lenet5", "data_dir": "\ud800"}, "the recipe")
