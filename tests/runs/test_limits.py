"""What numbers may be: one table for flags and recipes, looked at before anything is built."""

from __future__ import annotations

import inspect
import math
import typing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prunus.cli.app import app
from prunus.cli.compress import compress
from prunus.errors import ConfigError
from prunus.runs.limits import LIMITS, check_settings
from prunus.runs.recipe import Recipe, resolve

NAMES = {"rate": "--rate"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rate", 30.0, "--rate must be from 0 to 1, not 30 (did you mean 0.3?)."),
        ("rate", -0.1, "--rate must be from 0 to 1, not -0.1."),
        ("rate", 1000.0, "--rate must be from 0 to 1, not 1000."),
        ("rate", math.nan, "--rate must be from 0 to 1, not nan."),
        ("macs", 50.0, "(did you mean 0.5?)"),
        ("macs", 0.0, "a share above 0 and up to 1, or a count from 100, not 0"),
        ("confidence", 95.0, "from 0.5 to below 1, not 95 (did you mean 0.95?)"),
        ("confidence", 2.0, "not 2."),
        ("held_out", 1.5, "between 0 and 1, not 1.5."),
        ("lr", math.inf, "above 0, to 1,000,000,000, not inf"),
        ("seed", 2**70, "from 0 to 4,294,967,295, not 1,180,591,620,717,411,303,424"),
        ("milestones", (0.5, 1.5), "between 0 and 1, not 1.5"),
        ("round_to", "0", "from 1 to"),
        ("std", "0.5,0", "--std takes finite numbers above 0"),
        ("mean", "nan", "--mean takes finite numbers"),
        ("input_shape", "1,3,100000,100000", "at most 268,435,456 elements"),
    ],
)
def test_what_is_out_of_range(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings({key: value}, NAMES)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("rate", (0.0, 1.0, 1, None)),
        ("macs", (1e-9, 1.0, 100.0, 1e12)),
        ("seed", (0, 2**32 - 1)),
        ("round_to", ("auto", "near", "8")),
        ("validation", (0.0, 0.99)),
        ("norm", (2.0, math.inf)),
        ("std", ("", "0.5", None)),
        ("batch", ([1, 32], None)),
        ("unknown", (-1,)),
    ],
)
def test_what_is_in_range_or_is_for_others_to_say(key: str, values: tuple[Any, ...]) -> None:
    for value in values:
        check_settings({key: value}, NAMES)


def test_every_number_of_every_verb_and_recipe_has_a_limit() -> None:
    numbers = {
        key for key, kind in typing.get_type_hints(Recipe).items() if kind in (int, float, tuple[float, ...])
    }
    for name, parameter in inspect.signature(compress, eval_str=True).parameters.items():
        kind = next(iter(typing.get_args(parameter.annotation)), None)
        numbers |= {name} if {int, float} & {kind, *typing.get_args(kind)} else set()
    assert len(numbers) > 40 and numbers <= LIMITS.keys()


def test_the_defaults_are_in_range() -> None:
    resolve({"data": "digits", "model": "lenet5"}, "here")


def test_keys_of_recipes_are_named_with_their_file_and_flags_as_flags() -> None:
    values = {"data": "digits", "model": "lenet5", "tune_lr": -1.0}
    with pytest.raises(ConfigError, match=r"^a\.toml: tune_lr must be above 0"):
        resolve(values, "a.toml")
    with pytest.raises(ConfigError, match=r"^--tune-lr must be above 0"):
        resolve(values, "a.toml", ["tune_lr"])


@pytest.mark.parametrize("arguments", [["--rate", "30"], ["--rate", "30%"], ["--rate=30%"]])
def test_a_percentage_is_told_before_anything_is_built(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_of_limits.py").write_text("from pathlib import Path\nPath('IMPORTED').touch()\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["prune", "nets_of_limits:build", *arguments, "-o", "out"])
    assert result.exit_code == 1 and "did you mean 0.3?" in result.stderr and "--rate" in result.stderr
    assert not (tmp_path / "IMPORTED").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tolerance", "0.5%"], "--tolerance takes a plain number, not 0.5% (did you mean 0.5?)"),  # points
        (["--rate", ".5%"], "not .5% (did you mean 0.005?)"),
        (["--rate", "x%"], "--rate takes a plain number, not x%."),
        (["--rate", "0,5"], "not 0,5 (did you mean 0.5?)"),
        (["--macs", "200k"], "--macs takes a plain number, not 200k (did you mean 200000?)"),
        (["--macs=1.5 GMACs"], "not 1.5 GMACs (did you mean 1500000000?)"),
        (["--bytes", "64KiB"], "--bytes takes a plain number, not 64KiB (did you mean 65536?)"),
        (["--bytes", "5B"], "--bytes takes a plain number, not 5B."),
        (["--latency", "50%"], "--latency takes a plain number, not 50% (did you mean 0.5?)"),
        (["--latency", "1.5s"], "a number of them above 1, not '1.5s'."),
    ],
)
def test_numbers_spelled_in_other_ways_are_told_how(arguments: list[str], said: str, tmp_path: Path) -> None:
    """Half a percent of a tolerance was taken for 0.005 points, and what latency was given for no number."""
    command = ["prune", "lenet5", "--input-shape", "1,1,8,8", *arguments, "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and said in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
