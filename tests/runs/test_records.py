"""The record beside a model is data: it names networks and neighbours, and nothing that it says is imported,
called, fetched or followed blindly.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prunus import models, storage
from prunus.cli.app import app
from prunus.errors import ConfigError, FileFormatError
from prunus.runs.loading import MOST_STEPS, open_model
from prunus.runs.records import record_beside

SMALL: dict[str, Any] = {
    "name": "lenet5",
    "class": "LeNet5",
    "input_shape": [1, 1, 8, 8],
    "options": {"image_size": 8},
    "weights": "",
}
OWN = """
from pathlib import Path

Path(__file__).with_name("IMPORTED").touch()


def net(**options):
    from prunus import models

    Path(__file__).with_name("CALLED").touch()
    return models.lenet5(image_size=8)
"""


def write(folder: Path, file: str = "result.json", **model: Any) -> Path:
    """A folder with LeNet-5 for images of 8 x 8 and a record of it."""
    storage.save(models.lenet5(image_size=8), folder / "model.safetensors")
    rest: dict[str, Any] = {
        key: {} for key in ("command", "created", "environment", "target", "cost", "layers", "verification")
    }
    (folder / file).write_text(json.dumps({"schema": 1, **rest, "model": SMALL | model}))
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user works; a module of theirs lies there."""
    (tmp_path / "own_nets_of_records.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["result.json", "training.json"])
def test_a_record_of_ours_opens(place: Path, file: str) -> None:
    opened = open_model(str(write(place / "out", file)))
    assert opened.input_shape == (1, 1, 8, 8) and type(opened.model).__name__ == "LeNet5"


@pytest.mark.parametrize("file", ["result.json", "training.json"])
@pytest.mark.parametrize(
    "verb", ["profile", "compare", "latency", "export", "segment", "cascade", "prune", "train"]
)
def test_no_verb_calls_what_a_record_names(place: Path, file: str, verb: str) -> None:
    write(place / "out", file, name="own_nets_of_records:net", options={"args": ["touch"]})
    arguments = {
        "profile": ["out"],
        "compare": ["out", "lenet5"],
        "latency": ["out", "--runtime", "torch"],
        "export": ["out", "-o", "a.onnx"],
        "segment": ["a.png", "--model", "out"],
        "cascade": ["out", "out", "--data", "digits", "--budget", "0.5"],
        "prune": ["out", "-o", "new", "--rate", "0.5", "--no-onnx", "--no-report"],
        "train": ["digits", "out", "-o", "new"],
    }[verb]
    result = CliRunner().invoke(app, [verb, *arguments])
    assert result.exit_code == 1
    assert "prunus does not call what a file names: give --build own_nets_of_records:net" in result.stderr
    assert not (place / "IMPORTED").exists() and not (place / "CALLED").exists()


def test_the_user_may_say_what_a_record_may_not(place: Path) -> None:
    write(place / "out", name="own_nets_of_records:net")
    result = CliRunner().invoke(app, ["profile", "out", "--build", "own_nets_of_records:net", "--json"])
    assert result.exit_code == 0 and (place / "CALLED").exists()


def test_compare_of_runs_takes_build_too(place: Path) -> None:
    for name in ("a", "b", "c"):
        write(
            place / name, "training.json", name="own_nets_of_records:net", data={"name": "digits", "test": 10}
        )
        record = json.loads((place / name / "training.json").read_text())
        (place / name / "training.json").write_text(json.dumps(record | {"accuracy": 50.0, "command": ""}))
    assert (
        CliRunner().invoke(app, ["compare", "a", "b", "c"]).exit_code == 1 and not (place / "CALLED").exists()
    )
    done = CliRunner().invoke(app, ["compare", "a", "b", "c", "--build", "own_nets_of_records:net"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet5", {"pretrained": True}),
        ("lenet5", {"image_size": 10**9}),
        ("lenet5", {"image_size": True}),
        ("lenet5", {"image_size": "8"}),
        ("lenet5", {"image_size": [8]}),
        ("lenet5", {"kwargs": {}}),
        ("timm/resnet18", {"pretrained": True}),
        ("timm/resnet18", {"checkpoint_path": "a.pt"}),
        ("timm/resnet18", {"pretrained_cfg": {"url": "http://a"}}),
        ("timm/hf-hub:a/b", {}),
        ("timm/local-dir:a", {}),
        ("timm/../a", {}),
        ("torchvision/resnet18", {"weights": "DEFAULT"}),
        ("hf-hub:timm/resnet18", {}),
        ("builtins:exec", {}),
        ("subprocess:check_output", {"args": ["true"]}),
        ("http://a/b.safetensors", {}),
        ("/dev/zero", {}),
        ("\u0000", {}),
        ("\ud800", {}),
        ("a" * 10_000, {}),
        ("gone", {}),
        ("..", {}),
        ("", {}),
    ],
)
def test_what_a_record_may_not_say(place: Path, name: str, options: dict[str, Any]) -> None:
    write(place / "out", name=name, options=options)
    with pytest.raises(ConfigError, match="give --build"):
        open_model("out")
    assert open_model("out", build_name="own_nets_of_records:net").input_shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("input_shape", value)
            for value in (
                [1, 1, -8, 8],
                [1, 1, 0, 8],
                [1, 1, 8.0, 8],
                ["1", "1"],
                [1, 1, 10**9, 10**9],
                [1] * 99,
                [],
                [[1, 1, 8, 8]],
                8,
                "a",
                True,
            )
        ),
        *[("name", value) for value in list[Any]((3, [], {}, None))],
        *(("options", value) for value in ([1], "a", 3)),
        *(("data", value) for value in (3, "digits", [1])),
        *(
            ("data", {"mean": mean, "std": std})
            for mean, std in (
                ([0.1], None),
                ([0.1], [0.0]),
                ([0.1], [1, 2]),
                (["a"], [1]),
                ([[0.1]], [1]),
                (0.1, 1),
                ([], []),
                ([10**400], [1]),
                ([True], [1]),
            )
        ),
    ],
)
def test_a_twisted_field_is_named(place: Path, field: str, value: Any) -> None:
    write(place / "out", **{field: value})
    with pytest.raises(FileFormatError, match=rf"result\.json.*model\.{field}"):
        record_beside(place / "out" / "model.safetensors")


@pytest.mark.parametrize("model", [[], "lenet5", 3, None])
@pytest.mark.parametrize("file", ["result.json", "training.json"])
def test_a_model_that_is_no_object(place: Path, file: str, model: Any) -> None:
    path = write(place / "out", file) / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": model}))
    with pytest.raises(FileFormatError, match=file):
        open_model("out")


def test_a_model_made_from_a_model_opens_from_everywhere(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "runs" / "first")
    write(place / "runs" / "second", name="../first/model.safetensors")
    write(place / "third", name="../runs/second")
    (place / "elsewhere").mkdir()
    for folder in (place, place / "runs", place / "elsewhere"):
        monkeypatch.chdir(folder)
        assert type(open_model(str(place / "third")).model).__name__ == "LeNet5"
    monkeypatch.chdir(place)
    shutil.move(place / "runs" / "first", place / "moved")
    with pytest.raises(
        ConfigError,
        match=r"second/result\.json says .* from \.\./first/model\.safetensors, which is not there",
    ):
        open_model("third")
    assert type(open_model("third", build_name="moved").model).__name__ == "LeNet5"


def test_prune_writes_where_its_model_lies_as_seen_from_the_result(place: Path) -> None:
    write(place / "first")
    done = CliRunner().invoke(
        app, ["prune", "first", "-o", "runs/second", "--rate", "0", "--no-onnx", "--no-report"]
    )
    assert done.exit_code == 0, done.output
    record = json.loads((place / "runs" / "second" / "result.json").read_text())["model"]
    assert record["name"] == record["weights"] == "../../first/model.safetensors" and record["options"] == {}


@pytest.mark.parametrize(
    "names",
    [["../a"], ["../b", "../a"], ["../b", "../c/model.safetensors", "../a"], ["."], ["model.safetensors"]],
)
def test_circles_end(place: Path, names: list[str]) -> None:
    for folder, name in zip("abc", names):
        write(place / folder, name=name)
    with pytest.raises(ConfigError, match="made from itself"):
        open_model("a")


def test_rows_of_models_end(place: Path) -> None:
    for number in range(MOST_STEPS + 2):
        write(place / f"{number}", name=f"../{number + 1}")
    with pytest.raises(ConfigError, match="in a row"):
        open_model("0")


def test_a_recorded_path_is_relative(place: Path) -> None:
    write(place / "first")
    write(place / "second", name=str(place / "first"))
    with pytest.raises(ConfigError, match="only paths that are relative to the record"):
        open_model("second")
    assert open_model("second", build_name=str(place / "first")).input_shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"[" * 100_000,
        b'{"model": ' * 5000,
        b'{"model": ' + b"[" * 150 + b"]" * 150 + b"}",
        '{"schema": 1}'.encode("utf-16"),
        b'{"schema": 1, "command": "d\xfcrr"}',
        b'{"schema": 1, "schema": 1}',
        b'{"schema": NaN}',
        b'{"schema": -Infinity}',
        b'{"schema": 1e999}',
        b'{"schema": ' + b"9" * 10_000 + b"}",
        b'{"schema": 2}',
        b"\x00" * 100,
    ],
)
@pytest.mark.parametrize("file", ["result.json", "training.json"])
def test_damaged_records_are_named(place: Path, file: str, content: bytes) -> None:
    (write(place / "out", file) / file).write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"out/{file}"):
        open_model("out")


def test_a_run_is_not_written_over_its_own_model(place: Path) -> None:
    write(place / "out")
    before = (place / "out" / "model.safetensors").read_bytes()
    for arguments in (
        ["prune", "out", "-o", "out", "--rate", "0.5"],
        ["train", "digits", "out/model.safetensors", "-o", "out"],
    ):
        done = CliRunner().invoke(app, [*arguments, "--no-onnx", "--no-report"])
        assert done.exit_code == 1 and "choose another folder" in done.stderr
    assert (place / "out" / "model.safetensors").read_bytes() == before


def test_the_recipe_in_a_folder_names_no_code(place: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / "checkpoint.safetensors").write_bytes(b"")
    (place / "out" / "recipe.toml").write_text('data = "digits"\nmodel = "own_nets_of_records:net"\n')
    done = CliRunner().invoke(app, ["train", "-o", "out", "--resume"])
    assert (
        done.exit_code == 1
        and "give it again, as in prunus train digits own_nets_of_records:net --resume" in done.stderr
    )
    assert not (place / "IMPORTED").exists()
