"""The command line as a whole: help without torch, errors in one sentence, exit codes, one JSON object."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from prunus.cli import options as given
from prunus.cli.app import app

runner = CliRunner()


def test_help_imports_neither_torch_nor_the_extras() -> None:
    code = """
import json, sys
from prunus.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["prunus", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
    print()
    print(arguments, [name for name in ("torch", "numpy", "matplotlib", "jinja2", "onnx", "sklearn") if name in sys.modules])
"""
    lines = [
        ["--help"],
        ["prune", "--help"],
        ["train", "--help"],
        *(["train", "--method", method, "--help-all"] for method in ("soft", "importance")),
        ["demo", "-h"],
        ["--version"],
        ["methods", "--json"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)], capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    for arguments in lines:
        assert f"{arguments} []" in said, done.stdout


def test_every_verb_has_help() -> None:
    shown = runner.invoke(app, ["--help"]).stdout
    for verb in ("demo", "prune", "profile", "compare", "methods", "models"):
        assert verb in shown
        result = runner.invoke(app, [verb, "--help"])
        assert result.exit_code == 0
        assert "--json" in result.stdout
        assert runner.invoke(app, [verb, "--help-all"]).exit_code == 0
    assert "130" in shown


OPTION = re.compile(r"(--[a-z][a-z0-9-]*)")
ALIKE = ("--output", "--epochs", "--lr", "--batch-size", "--seed", "--no-onnx", "--json")
NEEDED = {
    "prune": (*ALIKE, "--rate", "--macs", "--tolerance", "--latency", "--score", "--weights", "--data"),
    "train": (*ALIKE, "--recipe", "--resume", "--method"),
}


@pytest.mark.parametrize("verb", NEEDED)
def test_the_first_help_has_what_most_people_need(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    short, whole = (runner.invoke(app, [verb, flag]).stdout for flag in ("--help", "--help-all"))
    first, all_of_them = set(OPTION.findall(short)), set(OPTION.findall(whole))
    assert set(NEEDED[verb]) <= first <= all_of_them
    assert {"--momentum", "--weight-decay", "--clip", "--warmup-steps"} <= all_of_them - first
    options = app_options(verb)
    left_out = [flags for flags in options if not set(flags) & first]
    assert len(left_out) > 15 and f"--help-all shows {len(left_out)} more." in short
    assert all(set(flags) <= all_of_them for flags in options)
    assert "more." not in whole and runner.invoke(app, [verb, "-h"]).stdout == short


def test_the_settings_of_a_method_are_in_its_first_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = runner.invoke(app, ["train", "--method", "soft", "--help"]).stdout
    assert "--rate" in shown and "--momentum" not in shown


def app_options(verb: str) -> list[list[str]]:
    """The long flags of every option of a verb."""
    command: Any = typer.main.get_command(app)
    return [
        [flag for flag in (*one.opts, *one.secondary_opts) if flag.startswith("--")]
        for one in command.commands[verb].params
        if one.opts[0].startswith("-")
    ]


@pytest.mark.parametrize("verb", [one.callback.__name__ for one in app.registered_commands if one.callback])
def test_help_texts_are_sentences_that_stand_alone(verb: str) -> None:
    command: Any = typer.main.get_command(app)
    for one in command.commands[verb].params:
        text = one.help or ""
        assert text[:1].isupper() or text.split(",")[0].islower(), f"{verb} {one.name}: {text}"
        assert text.endswith("."), f"{verb} {one.name}: {text}"


def test_errors_are_one_sentence_on_stderr() -> None:
    result = runner.invoke(app, ["profile", "resnet57"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("prunus: There is no model 'resnet57'. Did you mean resnet56")
    assert "Traceback" not in result.output and len(result.stderr.strip().splitlines()) == 1


def test_a_name_like_no_other_is_told_what_names_there_are() -> None:
    result = runner.invoke(app, ["prune", "nosuch", "--rate", "0.5", "-o", "out"])
    assert result.stderr == (
        "prunus: There is no model 'nosuch'. Give one that prunus models lists, timm/NAME, torchvision/NAME, or"
        " package.module:factory.\n"
    )


def test_errors_are_one_object_with_json() -> None:
    result = runner.invoke(app, ["profile", "resnet57", "--json"])
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "ModelNameError" and "resnet57" in error["message"]


MISUSED = {
    "no such option": ["prune", "lenet5", "--bogus"],
    "no such option of all verbs": ["--bogus", "models"],
    "no such verb": ["prunes"],
    "no argument": ["profile"],
    "no option": ["unpack", "a.prunus"],
    "no number": ["prune", "lenet5", "--rate", "x", "-o", "out"],
    "no value": ["prune", "lenet5", "-o"],
    "two targets": ["prune", "lenet5", "--rate", "0.5", "--macs", "0.5", "-o", "out"],
    "one model": ["compare", "lenet5"],
    "no network": ["segment", "a.png"],
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", MISUSED)
def test_misuse_is_one_object_with_json(kind: str, first: bool) -> None:
    plain = MISUSED[kind]
    verb = 1 + (plain[0] == "--bogus")
    place = verb if first else len(plain) - (plain[-1] == "-o")
    asked = runner.invoke(app, [*plain[:place], "--json", *plain[place:]])
    assert asked.exit_code == 2
    found = json.loads(asked.stdout)
    assert list(found) == ["error"] and found["error"]["type"] == "UsageError"
    message = found["error"]["message"]
    assert message.endswith((".", "?")) and "\n" not in message
    told = runner.invoke(app, plain)
    assert told.exit_code == 2 and told.stdout == ""
    assert message.split()[0] in asked.stderr and "Error" in told.stderr


@pytest.mark.parametrize("how", ["option", "environment"])
def test_debug_raises(how: str) -> None:
    arguments = ["--debug", "profile", "resnet57"] if how == "option" else ["profile", "resnet57"]
    environment = {"PRUNUS_DEBUG": "1"} if how == "environment" else {}
    result = runner.invoke(app, arguments, env=environment)
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "ModelNameError"


def test_wrong_usage_is_two() -> None:
    assert runner.invoke(app, ["profile"]).exit_code == 2
    assert runner.invoke(app, ["profile", "lenet5", "--nonsense"]).exit_code == 2
    assert runner.invoke(app, ["nonsense"]).exit_code == 2


def test_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    import prunus.models

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prunus.models, "build", interrupted)
    result = runner.invoke(app, ["profile", "lenet5"])
    assert result.exit_code == 130
    assert result.stderr == "prunus: Interrupted.\n"


def test_unknown_errors_point_to_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    import prunus.models

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("somewhere deep")

    monkeypatch.setattr(prunus.models, "build", broken)
    result = runner.invoke(app, ["profile", "lenet5"])
    assert result.exit_code == 1
    assert "ZeroDivisionError: somewhere deep" in result.stderr and "--debug" in result.stderr
    assert "Traceback" not in result.output


def test_errors_of_the_users_own_code_name_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric, a loss or a loader that fails is not for prunus to know."""
    (tmp_path / "failing.py").write_text(
        "import torch, prunus\n"
        "def points(outputs, targets):\n"
        "    return torch.zeros(3) + torch.zeros(4)\n"
        "def task():\n"
        "    batches = [(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))]\n"
        "    return prunus.Task(batches, batches, batches, metric=points)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = "prune lenet5 --input-shape 1,1,8,8 --data failing:task --rate 0.5 --no-onnx --no-report -o"
    result = runner.invoke(app, [*line.split(), str(tmp_path / "out"), "--json"])
    said = json.loads(result.stdout)["error"]["message"]
    assert said.startswith(
        "Code outside prunus fails, at failing.py:3: return torch.zeros(3) + torch.zeros(4)"
    )
    assert "does not know" not in said and not (tmp_path / "out" / "result.json").exists()


def test_a_network_of_several_inputs_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sums.py").write_text(
        "from torch import nn\nclass Sum(nn.Module):\n    def forward(self, x, y):\n        return x + y\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = "latency sums:Sum --input-shape 1,3 --runtime torch --repeats 1"
    result = runner.invoke(app, line.split())
    assert result.exit_code == 1
    assert (
        "takes other arguments than it is given (" in result.stderr and "does not know" not in result.stderr
    )


def test_errors_of_files_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import prunus.models

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", "model.onnx")

    monkeypatch.setattr(prunus.models, "build", full)
    result = runner.invoke(app, ["profile", "lenet5"])
    assert (result.exit_code, result.stderr) == (1, "prunus: No space left on device: model.onnx.\n")


def test_methods() -> None:
    listed = json.loads(runner.invoke(app, ["methods", "--json"]).stdout)
    assert {"one-shot", "soft", "critical"} <= {one["name"] for one in listed["methods"]}
    needs = {one["name"]: (one["needs"], one["needs_data"]) for one in listed["scores"]}
    assert (
        needs["norm-l2"] == ("–", False)
        and needs["reconstruction"] == ("inputs", True)
        and needs["taylor"] == ("labels", True)
    )
    assert len(needs) == 15 and all(
        one["paper"] and one["cost"] for one in listed["scores"] + listed["methods"]
    )
    assert "geometric-median" in runner.invoke(app, ["methods"]).stdout


def test_models() -> None:
    from prunus import models

    listed = json.loads(runner.invoke(app, ["models", "--json"]).stdout)
    found = {one["name"]: one for one in listed["models"]}
    assert tuple(found) == models.names()
    assert found["lenet5"]["input_shape"] == [1, 1, 28, 28]
    # 20·25·24² + 50·20·25·8² + 800·500 + 500·10
    assert found["lenet5"]["macs"] == 288_000 + 1_600_000 + 400_000 + 5_000


def test_a_panel_of_which_exactly_one_is_to_be_given_has_several_options() -> None:
    """`pack` had a panel "Target: exactly one" with its confidence alone."""
    whole: Any = typer.main.get_command(app)
    for verb, command in whole.commands.items():
        panels = Counter(getattr(one, "rich_help_panel", None) for one in command.params)
        assert panels.get(given.TARGET, 2) > 1, verb


def test_the_list_of_verbs_has_no_lines_that_are_broken_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = runner.invoke(app, ["--help"]).stdout
    assert "whose own settings" in shown and "accuracy, MACs and latency." in shown
