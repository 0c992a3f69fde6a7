"""What comes from the Hub."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.brief import brief_latency
from tests.dynamic.nets import network
from tests.hub.server import Hub, Repo
from tests.test_docs import blocks

import prunus
from prunus import runs
from prunus.dynamic import DynamicNetwork, attach, save_gates
from prunus.errors import FileFormatError, HubError, PlanError
from prunus.models import lenet5, resnet20
from prunus.report.result import write_json

__all__ = ["brief_latency"]
X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def there(hub: Hub, run: Any) -> Hub:
    """A Hub with the run in it, as me/net."""
    prunus.push_to_hub(run, "me/net")
    hub.asked.clear()
    return hub


def changed(hub: Hub, **files: bytes | None) -> None:
    """A commit that replaces files, by their stems, or takes them away."""
    full = {name.partition(".")[0]: name for name in hub.repos["me/net"].commits[-1][1]}
    new = {full[stem]: content for stem, content in files.items() if content is not None}
    hub.repos["me/net"].put(new, tuple(full[stem] for stem, content in files.items() if content is None))


def renamed(hub: Hub, **model: Any) -> None:
    """A commit whose record says something else of the network."""
    record = json.loads(hub.repos["me/net"].commits[-1][1]["result.json"])
    record["model"] |= model
    changed(hub, result=json.dumps(record).encode())


def test_a_known_network_comes_back_by_its_name_alone(there: Hub, run: Any) -> None:
    model = prunus.from_pretrained("me/net")
    wanted = prunus.load(run.folder, lambda: lenet5(image_size=8))
    assert torch.equal(model(X), wanted(X)) and not model.training
    assert model.prunus.plan.removed > 0
    assert {one.rpartition("/")[2] for one in there.asked if "/resolve/" in one} == {
        "model.safetensors",
        "result.json",
    }


@pytest.mark.parametrize(
    "build", [lambda: lenet5(image_size=8), lenet5(image_size=8), None], ids=["function", "module", "none"]
)
def test_the_dense_network_may_be_given(there: Hub, build: Any) -> None:
    assert prunus.from_pretrained("me/net", build)(X).shape == (3, 10)


def test_another_dense_network_is_told(there: Hub) -> None:
    for build in (resnet20, "resnet20"):
        with pytest.raises(PlanError):
            prunus.from_pretrained("me/net", build)


def test_a_module_that_stands_alone_needs_no_record(hub: Hub, tmp_path: Path) -> None:
    from tests.paint.nets import Halves

    model = Halves().eval()
    out = prunus.shrink(model, None, rate=0.3, example_inputs=torch.zeros(2, 3, 8, 8))
    assert out.verification.mode == "traced"
    assert "build=" not in prunus.push_to_hub(out, "me/net").card
    changed(hub, result=None)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(prunus.from_pretrained("me/net")(x), out.model(x))


def test_a_commit_is_pinned_by_its_name(there: Hub) -> None:
    first = there.repos["me/net"].commits[-1][0]
    changed(there, model=b"nothing")
    with pytest.raises(FileFormatError):
        prunus.from_pretrained("me/net")
    assert prunus.from_pretrained("me/net", revision=first)(X).shape == (3, 10)


def test_what_was_downloaded_is_there_without_the_hub(there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = prunus.from_pretrained("me/net")(X)
    there.asked.clear()
    assert torch.equal(prunus.from_pretrained("me/net", local_files_only=True)(X), wanted)
    assert not there.asked
    with pytest.raises(HubError, match="was not downloaded before"):
        prunus.from_pretrained("me/other", local_files_only=True)


def test_what_is_not_there_is_told(there: Hub) -> None:
    with pytest.raises(HubError, match="has no model me/nets that you may see"):
        prunus.from_pretrained("me/nets")
    with pytest.raises(HubError, match="has no such revision"):
        prunus.from_pretrained("me/net", revision="v2")
    there.repos["me/net"].private = True
    with pytest.raises(HubError, match="if it is private, log in"):
        prunus.from_pretrained("me/net", token="hf_somebodyElses")


def test_a_hub_that_is_not_there_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"127\.0\.0\.1 cannot be reached"):
        prunus.from_pretrained("me/net")


def test_a_download_that_breaks_off_is_told_and_nothing_is_loaded(there: Hub) -> None:
    there.cut.add("model.safetensors")
    with pytest.raises(HubError, match="A file of me/net did not come down whole"):
        prunus.from_pretrained("me/net")
    there.cut.clear()
    assert prunus.from_pretrained("me/net")(X).shape == (3, 10)


@pytest.mark.parametrize("spoil", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:-9], lambda b: b""])
def test_a_damaged_network_is_told(there: Hub, spoil: Callable[[bytes], bytes]) -> None:
    changed(there, model=spoil(there.repos["me/net"].commits[-1][1]["model.safetensors"]))
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        prunus.from_pretrained("me/net")


def test_a_repository_of_something_else_is_told(hub: Hub) -> None:
    hub.repos["me/net"] = Repo()
    hub.repos["me/net"].put({"pytorch_model.bin": b"pickle", "config.json": b"{}"})
    with pytest.raises(HubError, match=r"holds no model\.safetensors, so it is no network of prunus"):
        prunus.from_pretrained("me/net")
    assert not [one for one in hub.asked if "pytorch_model.bin" in one]


def test_nothing_that_a_file_names_is_imported_or_called(
    there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('run')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    renamed(there, name="stranger:build")
    with pytest.raises(HubError, match="prunus calls nothing that a file names: give build="):
        prunus.from_pretrained("me/net")
    assert "stranger" not in sys.modules
    assert prunus.from_pretrained("me/net", lambda: lenet5(image_size=8))(X).shape == (3, 10)


@pytest.mark.parametrize("name", ["../../run/out/model.safetensors", "/etc/passwd", ".", ""])
def test_no_path_that_a_file_names_is_followed(there: Hub, name: str) -> None:
    renamed(there, name=name)
    with pytest.raises(HubError, match="a network that prunus does not know"):
        prunus.from_pretrained("me/net")


@pytest.mark.parametrize("options", [{"weights": "DEFAULT"}, {"num_classes": -1}, {"pretrained": 1}])
def test_no_option_that_prunus_does_not_record_reaches_a_builder(there: Hub, options: Any) -> None:
    renamed(there, options=options)
    with pytest.raises(HubError, match="does not say in a harmless way what it was cut from"):
        prunus.from_pretrained("me/net")


def test_other_files_of_a_stranger_stay_where_they_are(there: Hub, tmp_path: Path) -> None:
    there.repos["me/net"].put({".prunus-new/journal.json": b"{}", "nets.py": b"", "a/model.safetensors": b""})
    prunus.from_pretrained("me/net", cache_dir=tmp_path / "own")
    names = {path.name for path in (tmp_path / "own").rglob("*") if path.parent.parent.name == "snapshots"}
    assert names == {"model.safetensors", "result.json"}


def test_no_name_in_a_list_leads_out_of_the_cache(there: Hub, tmp_path: Path) -> None:
    names = ("../model.safetensors", "../../../../model.safetensors", f"{tmp_path}/model.safetensors")
    there.repos["me/net"].put(dict.fromkeys(names, b"evil"))
    prunus.from_pretrained("me/net", cache_dir=tmp_path / "own")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"]


_OK = b'HTTP/1.1 200 OK\r\nX-Repo-Commit: %s\r\nETag: "%s"\r\n' % (40 * b"0", 64 * b"1")


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        ("", b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n<html>Log</html>"),
        ("", b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n[1, null, {}]"),
        ("", b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"siblings": [[]]}'),
        ("", b'HTTP/1.1 400 No\r\nContent-Length: 26\r\n\r\n{"error": "a\\u001b[31m\\nb"}'),
        ("", b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\n\r\n"),
        ("model.safetensors", b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n"),
        ("model.safetensors", _OK + b"Location: file:///etc/hostname\r\nContent-Length: 9\r\n\r\n"),
        ("model.safetensors", _OK + b"Content-Length: 16\r\n\r\n<html>Log</html>"),
        ("model.safetensors", _OK + b"Content-Length: 9\r\nContent-Encoding: gzip\r\n\r\nnot gzip!"),
        ("model.safetensors", _OK + b"Content-Length: 900\r\n\r\nshort"),
        ("model.safetensors", b"\x1b[31mnothing\r\n\r\n"),
    ],
)
def test_whatever_a_server_says_is_one_line_that_a_terminal_can_print(
    there: Hub, tmp_path: Path, file: str, answer: bytes
) -> None:
    there.says[file] = answer
    with pytest.raises((HubError, FileFormatError)) as caught:
        prunus.from_pretrained("me/net", cache_dir=tmp_path)
    text = str(caught.value)
    assert text.isprintable() and text.endswith(".") and not text.endswith("..")
    assert len(text.replace(str(tmp_path), "")) < 500


def test_a_folder_of_this_machine_is_not_taken_for_a_name(
    there: Hub, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run.folder, tmp_path / "me" / "net")
    with pytest.raises(HubError, match="me/net is here, on this machine"):
        prunus.from_pretrained("me/net")
    assert not there.asked


def test_gates_come_along(hub: Hub, run: Any, tmp_path: Path) -> None:
    model, x = network("lenet5", 4)
    gated = attach(model.float(), x[:1].float()).eval()
    prunus.save(gated.plain().eval(), tmp_path / "model.safetensors")
    save_gates(gated, tmp_path / "gates.safetensors")
    record = {"name": "lenet5", "options": {}, "input_shape": [1, 1, 28, 28]}
    write_json(run | {"model": run["model"] | record}, tmp_path / "result.json")
    prunus.push_to_hub(tmp_path, "me/net")
    back = prunus.from_pretrained("me/net")
    assert isinstance(back, DynamicNetwork) and torch.equal(back(x.float()), gated(x.float()))


def test_the_python_of_the_page_runs(hub: Hub, tmp_path: Path) -> None:
    """Which brings a half of resnet56 back."""
    quick = runs.Delivery(onnx=False, report=False)
    pruned = runs.prune("resnet56", tmp_path / "out", runs.PruneSettings(rate=0.5), delivery=quick)
    prunus.push_to_hub(pruned, "me/resnet56-half", license="mit")
    (block,) = blocks("docs/hub.md")
    scope: dict[str, Any] = {}
    exec(compile(block, "docs/hub.md", "exec"), scope)
    assert scope["outputs"].shape == (1, 10) and scope["model"].prunus.plan.removed
