"""The folder of a run: nothing of an earlier one is left that could be taken for this one's."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus._foundation import atomic
from prunus._foundation.run_files import FILES, PROGRESS
from prunus.data import Split
from prunus.errors import ConfigError, FileFormatError, PrunusError
from prunus.models import lenet5
from prunus.report.result import read
from prunus.runs import delivery
from prunus.runs.delivery import check, deliver, run_files
from prunus.runs.describe import Provenance
from prunus.runs.settings import Delivery, Quantisation
from prunus.storage import fileset
from prunus.storage.lock import folder_lock
from prunus.tasks import Task


def _old(folder: Path) -> None:
    for name in (*FILES, *PROGRESS):
        (folder / name).write_text("old") if "." in name else (folder / name).mkdir()
    (folder / "notes.txt").write_text("the user's")


def _new(folder: Path) -> None:
    with run_files(folder) as staged:
        for name in ("model.safetensors", "result.json"):
            (staged / name).write_text("new")


def test_every_file_of_an_earlier_run_goes(tmp_path: Path) -> None:
    _old(tmp_path)
    _new(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "model.safetensors": "new",
        "result.json": "new",
        "notes.txt": "the user's",
    }


def test_a_checkpoint_and_what_belongs_to_it_stay(tmp_path: Path) -> None:
    _old(tmp_path)
    (tmp_path / "checkpoint-round-1-pulling.safetensors").write_text("old")
    _new(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "model.safetensors",
        "result.json",
        "notes.txt",
        "checkpoint-round-1-pulling.safetensors",
        *PROGRESS,
    }


def test_a_run_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    _old(tmp_path)
    before = {path: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(ZeroDivisionError), run_files(tmp_path) as staged:
        (staged / "model.safetensors").write_text("new")
        raise ZeroDivisionError
    assert {path: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == before and (
        tmp_path / "kept"
    ).is_dir()


def test_the_page_says_what_the_other_files_are_and_comes_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[str] = []
    put = atomic.put

    def noted(draft: Path, path: Path) -> None:
        placed.append(path.name)
        put(draft, path)

    monkeypatch.setattr(fileset, "put", noted)
    _old(tmp_path)
    with run_files(tmp_path) as staged:
        for name in ("result.json", "training.json", "report.html", "model.safetensors"):
            (staged / name).write_text("new")
    assert placed == ["model.safetensors", "report.html", "training.json", "result.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_the_name_of_a_file_is_told_before_the_work(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(FileFormatError, match=f"{name} is a folder, which is not replaced"):
        check(tmp_path, with_onnx=False, with_report=False)


def test_python_is_refused_as_well_while_another_run_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder_lock(tmp_path):
        monkeypatch.setattr("threading.get_ident", lambda: -1)
        with pytest.raises(ConfigError, match="is being written by another run"), run_files(tmp_path):
            pytest.fail("it began")
        monkeypatch.undo()


def test_a_folder_that_no_run_made_is_not_removed(tmp_path: Path) -> None:
    """Such as a class of pictures that is called as the folder of kept samples is."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "epoch-0001.npy").write_text("of a run")
    check(tmp_path, with_onnx=False, with_report=False)
    (tmp_path / "kept" / "1.png").write_text("the user's")
    with pytest.raises(ConfigError, match="kept is a folder that no run made, and a new run would remove it"):
        check(tmp_path, with_onnx=False, with_report=False)


@dataclass
class Found:
    """What no exporter knows."""

    logits: Tensor


class Unusual(nn.Module):
    """A network that runs and trains, and cannot be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.network = lenet5(image_size=8)

    def forward(self, x: Tensor) -> Found:
        return Found(self.network(x))


def test_no_training_is_lost_where_the_network_cannot_be_exported(tmp_path: Path) -> None:
    """Hours of it were, as nothing was written."""
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    model, inputs = Unusual().eval(), torch.zeros(1, 1, 8, 8)
    out = prunus.shrink(model, None, example_inputs=inputs, rate=0.4)
    about = Provenance({"name": "mine:Unusual"})
    wanted = Delivery(report=False)
    with pytest.raises(PrunusError, match=r"cannot be exported to ONNX: .*; all else that was made is in"):
        deliver(tmp_path / "out", model, out, inputs, about, wanted)
    files = {"model.safetensors", "plan.json", "result.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    result = read(tmp_path / "out" / "result.json")
    assert set(result["files"]) == {"model", "plan"}
    assert [row["runtime"] for row in result["latency"]] == ["PyTorch"]
    small = prunus.load(tmp_path / "out", Unusual)
    torch.testing.assert_close(small(inputs).logits, out.model(inputs).logits)


def test_a_disk_that_is_full_at_the_eight_bits_leaves_a_result_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    real = delivery.finish

    def half(result: dict[str, Any], folder: Path, *more: Any) -> dict[str, Any]:
        if "int8" not in result:
            return real(result, folder, *more)
        (folder / "result.json").write_text("with eight bits")
        cause = OSError(errno.ENOSPC, "No space left on device")
        raise FileFormatError(f"{folder / 'report.html'} cannot be written (no room).") from cause

    monkeypatch.setattr(delivery, "finish", half)
    monkeypatch.setattr(delivery, "quantised", lambda *arguments, **more: {})
    model, inputs = lenet5(image_size=8).eval(), torch.zeros(1, 1, 8, 8)
    labels = torch.arange(20) % 10
    samples = Split(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), labels)
    task = Task(samples, samples, samples, normalise=((0.5,), (0.25,)))
    out = prunus.shrink(model, task, example_inputs=inputs, rate=0.4)
    wanted = Delivery(report=False, int8=Quantisation())
    folder = tmp_path / "out"
    with pytest.raises(PrunusError) as told:
        deliver(folder, model, out, inputs, Provenance({"name": "lenet5"}, task=task), wanted)
    assert str(told.value) == (
        f"{folder / 'report.html'} cannot be written (no room); all else that was made is in the folder of"
        " the run."
    )
    assert "int8" not in read(folder / "result.json") and (folder / "model.onnx").is_file()
