from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from prunus.coding.container import MAGIC
from prunus.errors import FileFormatError
from prunus.models import load_weights, resnet20


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {
        name: torch.rand_like(value.float()).to(value.dtype) for name, value in small().state_dict().items()
    }


def same(model: nn.Module, state: dict[str, Tensor]) -> bool:
    found = model.state_dict()
    return all(torch.equal(found[name], value) for name, value in state.items())


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrapping", ["plain", "state_dict", "model", "module.", "_orig_mod.", "module._orig_mod."]
)
@pytest.mark.parametrize("legacy", [False, True])
def test_every_usual_wrapping_loads(
    wrapping: str, legacy: bool, state: dict[str, Tensor], tmp_path: Path
) -> None:
    content: Any = state
    if wrapping.endswith("."):
        content = {"best_prec1": 91.7, "state_dict": prefixed(state, wrapping)}
    elif wrapping != "plain":
        content = {wrapping: state, "epoch": 3}
    torch.save(content, tmp_path / "net.th", _use_new_zipfile_serialization=not legacy)
    model = small()
    load_weights(model, tmp_path / "net.th")
    assert same(model, state)


def test_safetensors_load(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "net.safetensors")
    model = small()
    load_weights(model, str(tmp_path / "net.safetensors"))
    assert same(model, state)


def test_a_model_with_a_child_called_module_keeps_its_names(tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module("module", nn.Linear(2, 2))
    torch.save(model.state_dict(), tmp_path / "net.pt")
    load_weights(model, tmp_path / "net.pt")


def test_files_without_batch_counts_load(state: dict[str, Tensor], tmp_path: Path) -> None:
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "net.pt")
    model = small()
    load_weights(model, tmp_path / "net.pt")
    assert same(model, old)


def test_every_difference_is_listed_and_nothing_changes(state: dict[str, Tensor], tmp_path: Path) -> None:
    state["3.weight"] = torch.zeros(5, 4)
    state["head.bias"] = state.pop("1.bias")
    torch.save(state, tmp_path / "net.pt")
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FileFormatError) as caught:
        load_weights(model, tmp_path / "net.pt")
    text = str(caught.value)
    assert "missing: 1.bias" in text
    assert "unexpected: head.bias" in text
    assert "3.weight (5, 4) instead of (2, 4)" in text
    assert same(model, before)


def test_long_lists_are_cut(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(
        FileFormatError, match=r"missing: conv1\.weight, .* and 92 more; unexpected: .* and 3 more"
    ):
        load_weights(resnet20(), tmp_path / "net.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files_are_named(suffix: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    for length in (0, 1, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=f"net{suffix} is damaged"):
            load_weights(small(), path)


@pytest.mark.parametrize("content", [b"garbage", bytes(range(256)), b"\x80\x02}q\x00."])
def test_garbage_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"net\.pt"):
        load_weights(small(), tmp_path / "net.pt")


class Attack:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_no_code_in_a_file_ever_runs(plain_pickle: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "net.pt", tmp_path / "attacked"
    if plain_pickle:
        path.write_bytes(pickle.dumps(Attack(mark)))
    else:
        torch.save({"state_dict": Attack(mark)}, path)
    with pytest.raises(FileFormatError):
        load_weights(small(), path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": 3}, {"state_dict": {}}, {1: torch.zeros(1)}])
def test_other_content_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(FileFormatError, match="state_dict"):
        load_weights(small(), tmp_path / "net.pt")


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"no weight file .*absent\.pt"):
        load_weights(small(), tmp_path / "absent.pt")


FOREIGN: dict[str, tuple[str, str]] = {
    "an object": (
        "a.pth",
        (
            r"a\.pth holds a pickled object \(torch\.nn\.modules\.linear\.Linear\), and such a file can run"
            r" any code"
        ),
    ),
    "an object in a checkpoint": ("a.pth", "holds a pickled object"),
    "an old object": ("a.pth", "holds a pickled object"),
    "an ONNX file": ("a.onnx", "is an ONNX file"),
    "a folder": ("a", "is a folder"),
    "an empty file": ("a.pth", "is empty"),
    "another archive": ("a.pth", "is damaged, or no state_dict"),
    "text": ("a.pth", "is damaged, or no state_dict"),
    "half a file": ("a.pth", "is damaged, or no state_dict"),
    "TorchScript": ("a.pt", "is a TorchScript program"),
    "a coded file": ("a.prunus", r"is a coded file, .* open it with prunus\.load"),
}


def write_foreign(what: str, path: Path) -> None:
    match what:
        case "an object":
            torch.save(nn.Linear(2, 2), path)
        case "an object in a checkpoint":
            torch.save({"model": nn.Linear(2, 2).state_dict(), "net": nn.Linear(2, 2)}, path)
        case "an old object":
            torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=False)
        case "a folder":
            path.mkdir()
        case "another archive":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.txt", "nothing")
        case "half a file":
            torch.save(nn.Linear(200, 200).state_dict(), path)
            path.write_bytes(path.read_bytes()[:5000])
        case "TorchScript":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
        case _:
            path.write_bytes(
                {"an ONNX file": b"\x08\x07", "an empty file": b"", "text": b"hello", "a coded file": MAGIC}[
                    what
                ]
            )


@pytest.mark.parametrize("what", FOREIGN)
def test_files_of_other_kinds_are_named_in_one_sentence(what: str, tmp_path: Path) -> None:
    """Never in torch's words, which advise to read pickled objects all the same."""
    name, said = FOREIGN[what]
    write_foreign(what, tmp_path / name)
    with warnings.catch_warnings(), pytest.raises(FileFormatError, match=said) as caught:
        warnings.simplefilter("error")
        load_weights(nn.Linear(2, 2), tmp_path / name)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and "\x1b" not in text
    assert not any(words in text for words in ("weights_only", "two options", "can still be loaded", "["))


def test_packed_archives_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    """Torch's reader unpacks what torch never packs: 100 MB of zeros in a file of 100 kB."""
    torch.save({"weight": torch.zeros(25_000_000)}, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    with pytest.raises(FileFormatError, match=r"bomb\.pth unpacks to 100,\d+,\d+ bytes"):
        load_weights(nn.Linear(2, 2), tmp_path / "bomb.pth")


@pytest.mark.parametrize("what", ["sparse", "no data", "quantised", "nested"])
def test_tensors_that_are_not_dense_are_named(
    what: str, state: dict[str, Tensor], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    weight = state["0.weight"]
    makers: dict[str, Callable[[], Tensor]] = {
        "sparse": lambda: weight.to_sparse(),
        "no data": lambda: weight.to("meta"),
        "quantised": lambda: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
        "nested": lambda: torch.nested.nested_tensor(list(weight)),
    }
    state["0.weight"] = makers[what]()
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(FileFormatError, match=r"holds 0\.weight as .* dense tensors"):
        load_weights(small(), tmp_path / "net.pt")


def test_numbers_that_the_model_does_not_take_are_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    """They were cut off in silence, or with torch's warning."""
    path, counts = tmp_path / "net.pt", "1.num_batches_tracked"
    for name, value, said in (
        ("0.weight", state["0.weight"] + 1j, r"holds complex numbers in 0\.weight"),
        (counts, torch.tensor(1.5), f"holds {counts} as float32, with numbers that int64"),
    ):
        torch.save(state | {name: value}, path)
        with pytest.raises(FileFormatError, match=said):
            load_weights(small(), path)
    torch.save(state | {counts: torch.tensor(3.0), "0.weight": state["0.weight"].double()}, path)
    load_weights(model := small(), path)
    assert same(model, state | {counts: torch.tensor(3)})
    torch.save(state | {"0.weight": state["0.weight"].double() + 1e300}, path)
    with pytest.warns(UserWarning, match=r"NaN or infinite, in 0\.weight"):
        load_weights(small(), path)
