"""What goes to the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.hub.server import TOKEN, Hub, Repo
from torch import nn
from typer.testing import CliRunner

import prunus
from prunus._foundation.run_files import FILES
from prunus.cli.app import app
from prunus.errors import FileFormatError, HubError, MissingExtraError
from prunus.hub import client
from prunus.hub.contents import MODELS
from prunus.models import lenet5
from prunus.plans import Plan

RUN = {"README.md", "config.json", "model.safetensors", "plan.json", "result.json"}


def sent(hub: Hub, name: str = "me/net") -> dict[str, bytes]:
    """The files of the newest commit."""
    return hub.repos[name].commits[-1][1]


@pytest.mark.parametrize("kind", [str, Path])
def test_the_folder_of_a_run_goes_up_in_one_commit(hub: Hub, run: Any, kind: type) -> None:
    done = prunus.push_to_hub(kind(run.folder), "me/net")
    files = sent(hub)
    assert set(files) == RUN == set(done.files)
    assert [one for one in hub.asked if "/commit/" in one] == ["POST /api/models/me/net/commit/main"]
    assert done.commit == hub.repos["me/net"].commits[-1][0] and done.url.endswith(done.commit)
    assert done.files == {name: len(content) for name, content in files.items()}
    for name in ("model.safetensors", "plan.json"):
        assert files[name] == (run.folder / name).read_bytes()
    assert files["README.md"].decode() == done.card
    assert Plan.from_json(files["plan.json"].decode()).removed > 0


def test_what_a_job_returned_is_as_good_as_its_folder(hub: Hub, run: Any) -> None:
    prunus.push_to_hub(run, "me/net")
    mine = dict(sent(hub))
    prunus.push_to_hub(run.folder, "me/net")
    assert sent(hub) == mine


def test_a_run_that_ends_meanwhile_does_not_mix_its_files_with_these(
    hub: Hub, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(run.folder, out)
    before, create = (out / "model.safetensors").read_bytes(), client.client

    def later(token: str | None) -> Any:
        (out / "new").write_bytes(b"of another run")
        (out / "new").replace(out / "model.safetensors")
        return create(token)

    monkeypatch.setattr("prunus.hub.push.client", later)
    prunus.push_to_hub(out, "me/net")
    assert sent(hub)["model.safetensors"] == before


@pytest.mark.parametrize("gone", [True, False])
def test_a_run_that_ends_while_its_folder_is_read_is_told(
    gone: bool, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, copy = tmp_path / "out", shutil.copyfile
    shutil.copytree(run.folder, out)

    def meanwhile(source: Path, target: Path) -> Any:
        if source.name == "model.safetensors":
            (out / "result.json").replace(out / "away")
            if not gone:
                copy(out / "away", out / "result.json")
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", meanwhile)
    with pytest.raises(HubError, match="was written to by a run while it was read: push it again"):
        prunus.push_to_hub(out, "me/net", dry_run=True)


def test_every_file_of_a_run_goes_up_but_its_report() -> None:
    assert set(MODELS.values()) | {"result.json"} == set(FILES) - {"report.html", "training.json"}


def test_a_plain_dictionary_has_no_folder(run: Any) -> None:
    with pytest.raises(HubError, match="does not say where the files of its run are"):
        prunus.push_to_hub(dict(run), "me/net", dry_run=True)


def test_widths_are_told_layer_by_layer(hub: Hub, run: Any) -> None:
    prunus.push_to_hub(run, "me/net")
    config = json.loads(sent(hub)["config.json"])
    assert config["network"] == "lenet5" and config["input_shape"] == [1, 1, 8, 8]
    assert config["widths"]["conv1"] == {"before": 20, "after": 10}
    assert config["prunus_version"] == prunus.__version__


def test_no_path_and_no_token_goes_up(hub: Hub, run: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    done = prunus.push_to_hub(run, "me/net", token=TOKEN)
    for name, content in sent(hub).items():
        for secret in (b"/home/", b"secret", str(run.folder.parent).encode(), TOKEN.encode()):
            assert secret not in content, name
    assert TOKEN not in repr(done) and TOKEN not in caplog.text


def test_what_an_earlier_push_left_goes_and_what_others_put_there_stays(hub: Hub, run: Any) -> None:
    repo = hub.repos.setdefault("me/net", Repo())
    repo.put({"model.onnx": b"old", "gates.safetensors": b"old", "picture.png": b"theirs"})
    prunus.push_to_hub(run, "me/net")
    assert set(sent(hub)) == RUN | {"picture.png"}


def test_an_onnx_file_goes_along(hub: Hub, run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(run.folder, folder)
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "report.html").write_text("/home/me")
    (folder / "notes.txt").write_text("mine")
    done = prunus.push_to_hub(folder, "me/net")
    assert set(sent(hub)) == RUN | {"model.onnx"} and "- onnx\n" in done.card
    assert json.loads(sent(hub)["result.json"])["files"]["onnx"] == {"path": "model.onnx", "bytes": 4}


def test_an_outcome_goes_up_as_it_is(hub: Hub) -> None:
    model = lenet5(image_size=8).eval()
    out = prunus.shrink(model, None, rate=0.5, example_inputs=torch.zeros(1, 1, 8, 8))
    done = prunus.push_to_hub(out, "me/net", name="lenet5", options={"image_size": 8})
    assert set(sent(hub)) == RUN and "Accuracy was not measured" in done.card
    back = prunus.from_pretrained("me/net")
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(back(x), out.model(x))


def test_an_outcome_of_another_network_is_told_before_anything_is_sent(hub: Hub) -> None:
    out = prunus.shrink(lenet5(image_size=8), None, rate=0.5, example_inputs=torch.zeros(1, 1, 8, 8))
    for name in ("resnet20", "mynets:build", "../lenet5"):
        with pytest.raises(HubError, match="was not cut from"):
            prunus.push_to_hub(out, "me/net", name=name)
    assert not hub.asked


@pytest.mark.parametrize(
    "given",
    [
        {"out": 5},
        {"out": None},
        {"repo_id": None},
        {"license": 5},
        {"control": "93"},
        {"private": "yes"},
        {"options": ["a"]},
        {"token": 5},
        {"dry_run": 1},
    ],
)
def test_an_argument_of_another_kind_is_named(given: dict[str, Any], run: Any) -> None:
    arguments = {"out": run, "repo_id": "me/net"} | given
    with pytest.raises(HubError, match=f"^{next(iter(given))} must be .*, not .*\\.$"):
        prunus.push_to_hub(**arguments)


def test_a_new_model_may_be_private(hub: Hub, run: Any) -> None:
    prunus.push_to_hub(run, "me/net", private=True)
    assert hub.repos["me/net"].private


def test_a_dry_run_asks_nobody(hub: Hub, run: Any) -> None:
    done = prunus.push_to_hub(run, "me/net", dry_run=True)
    assert not hub.asked and set(done.files) == RUN and done.commit == done.url == ""


def test_who_may_not_write_is_told_how_to(hub: Hub, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"does not let you write to me/net \(401\): log in"):
        prunus.push_to_hub(run, "me/net")
    assert not hub.repos


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), r"is not the folder of a run that pruned: it holds no result\.json\.$"),
        (("training.json",), "its network was trained and not pruned"),
        (("result.json",), "holds no model.safetensors"),
    ],
)
def test_a_folder_that_is_none_of_a_run_is_told(
    files: tuple[str, ...], said: str, run: Any, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).write_bytes((run.folder / "result.json").read_bytes())
    with pytest.raises(FileFormatError, match=said):
        prunus.push_to_hub(tmp_path, "me/net", dry_run=True)
    with pytest.raises(FileFormatError, match="is not there, or is a file"):
        prunus.push_to_hub(tmp_path / "nowhere", "me/net", dry_run=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layers", [{"name": "conv1"}]),
        ("layers", [1]),
        ("target", {}),
        ("verification", {}),
        ("notes", 3),
        ("accuracy", {"steps": 1}),
        ("model", {"name": "lenet5", "options": "x"}),
        ("cost", {"before": {}, "after": {}}),
    ],
)
def test_a_record_that_no_run_writes_is_named(key: str, value: Any, run: Any, tmp_path: Path) -> None:
    """A folder may be anybody's: these were errors of Python."""
    shutil.copytree(run.folder, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    (tmp_path / "run" / "result.json").write_text(json.dumps(record | {key: value}))
    with pytest.raises(FileFormatError, match=r"The record in .*run lacks what a model card needs \(\w+: "):
        prunus.push_to_hub(tmp_path / "run", "me/net", dry_run=True)


def test_a_damaged_network_does_not_go_up(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(run.folder, folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(FileFormatError, match="checksum"):
        prunus.push_to_hub(folder, "me/net", dry_run=True)


def test_the_extra_is_named_before_any_work(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(client, "import_module", gone)
    with pytest.raises(MissingExtraError, match="extra 'hub'"):
        prunus.push_to_hub(run, "me/net")
    assert prunus.push_to_hub(run, "me/net", dry_run=True).card


def test_the_command_prints_what_it_sent(hub: Hub, run: Any) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["push", str(run.folder), "me/net", "--license", "mit", "--json"])
    assert result.exit_code == 0, result.stderr
    done = json.loads(result.stdout)
    assert done["commit"] == hub.repos["me/net"].commits[-1][0] and set(done["files"]) == RUN
    assert b'license: "mit"\n' in sent(hub)["README.md"]
    dry = runner.invoke(app, ["push", str(run.folder), "me/net", "--dry-run"])
    assert dry.exit_code == 0 and dry.stdout.startswith("---\n") and "Nothing was sent." in dry.stdout


def test_a_network_of_a_class_of_the_users_needs_build(hub: Hub) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).relu())

    out = prunus.shrink(Own(), None, rate=0.5, example_inputs=torch.zeros(1, 1, 8, 8))
    done = prunus.push_to_hub(out, "me/net")
    assert 'from_pretrained("me/net", build=build_dense)' in done.card
    with pytest.raises(HubError, match="give build="):
        prunus.from_pretrained("me/net")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(prunus.from_pretrained("me/net", Own)(x), out.model(x))
