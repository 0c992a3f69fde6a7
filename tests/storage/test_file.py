"""Model files: what is saved comes back."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.paint.nets import Halves, difference, random_plan
from tests.storage.nets import BUILDS, IMAGE, Rich, compacted
from torch import nn
from torch.optim.swa_utils import AveragedModel

import prunus
from prunus.errors import FileFormatError, PrunusError
from prunus.models import lenet5
from prunus.surgery.traced.module import TracedModule


def assert_equal(first: nn.Module, second: nn.Module) -> None:
    one, two = first.state_dict(), second.state_dict()
    assert sorted(one) == sorted(two)
    assert all(torch.equal(one[k], two[k]) and one[k].dtype == two[k].dtype for k in one)
    for get in ("named_parameters", "named_buffers"):
        mine, other = dict(getattr(first, get)()), dict(getattr(second, get)())
        assert sorted(mine) == sorted(other)
        assert all(mine[k].requires_grad == other[k].requires_grad for k in mine)


@pytest.mark.parametrize("name", BUILDS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    small = compacted(BUILDS[name])
    prunus.save(small, tmp_path / "m.safetensors")
    build = None if isinstance(small, TracedModule) else lambda: BUILDS[name]().double()
    again = prunus.load(tmp_path / "m.safetensors", build)
    assert type(again) is type(small)
    assert_equal(small, again)
    assert difference(small, again, IMAGE) == 0
    assert again.prunus.mode == small.prunus.mode == ("traced" if name.startswith("traced") else "eager")
    assert again.prunus.plan == small.prunus.plan
    assert again.training is small.training
    prunus.save(again, tmp_path / "again.safetensors")
    assert_equal(small, prunus.load(tmp_path / "again.safetensors", build))


@pytest.mark.parametrize("name", ["eager", "traced"])
def test_parameters_keep_their_order(name: str, tmp_path: Path) -> None:
    """An optimiser's state is saved by position: parameters must come back in the order
    in which they were.
    """
    small = compacted(BUILDS[name])
    prunus.save(small, tmp_path / "m")
    again = prunus.load(tmp_path / "m", lambda: BUILDS[name]().double())
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in small.named_parameters()]


def test_ties_are_tied_again(tmp_path: Path) -> None:
    prunus.save(compacted(Rich), tmp_path / "m")
    again = prunus.load(tmp_path / "m", lambda: Rich().double())
    assert again.a.weight is again.b.weight
    assert again.next.bias is not None  # made by folding


@pytest.mark.parametrize("name", ["eager", "traced"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    small = compacted(BUILDS[name], dtype)
    prunus.save(small, tmp_path / "m")
    again = prunus.load(tmp_path / "m", BUILDS[name])
    assert_equal(small, again)
    assert {p.dtype for p in again.parameters()} == {dtype}


def test_a_dense_model_and_its_mode(tmp_path: Path) -> None:
    model = lenet5().train()
    prunus.save(model, tmp_path / "deep" / "m")
    again = prunus.load(tmp_path / "deep" / "m", lenet5)
    assert_equal(model, again)
    assert again.training
    assert not hasattr(again, "prunus")


@pytest.mark.parametrize("name", ["resnet", "traced"])
def test_modules_keep_a_mode_of_their_own(name: str, tmp_path: Path) -> None:
    small = compacted(BUILDS[name]).train()
    small.get_submodule("bn" if name == "traced" else "layer1").eval()
    prunus.save(small, tmp_path / "m")
    again = prunus.load(tmp_path / "m", BUILDS[name])
    assert [(n, m.training) for n, m in again.named_modules()] == [
        (n, m.training) for n, m in small.named_modules()
    ]


@pytest.mark.parametrize(
    "wrapped",
    [lambda m: torch.compile(m, backend="eager"), nn.DataParallel, AveragedModel],
    ids=["compiled", "parallel", "averaged"],
)
@pytest.mark.parametrize("name", ["resnet", "traced"])
def test_a_wrapper_is_not_part_of_the_file(
    wrapped: Callable[[nn.Module], nn.Module], name: str, tmp_path: Path
) -> None:
    small = compacted(BUILDS[name])
    prunus.save(wrapped(small), tmp_path / "m")
    assert_equal(small, prunus.load(tmp_path / "m", BUILDS[name]))


def test_a_compact_part_of_a_model_is_told_of(tmp_path: Path) -> None:
    small = compacted(BUILDS["resnet"])
    prunus.save(small, tmp_path / "part")
    with pytest.warns(UserWarning, match="0 of Sequential is a compact model, which its file does not say"):
        prunus.save(nn.Sequential(small, nn.Linear(10, 2).double()), tmp_path / "whole")

    def build() -> nn.Module:
        return nn.Sequential(prunus.load(tmp_path / "part", BUILDS["resnet"]), nn.Linear(10, 2))

    assert difference(small, prunus.load(tmp_path / "whole", build).get_submodule("0"), IMAGE) == 0


def test_a_loaded_model_can_be_trained_and_pruned_again(tmp_path: Path) -> None:
    prunus.save(compacted(Halves), tmp_path / "m")
    again = prunus.load(tmp_path / "m")
    again.train()(IMAGE).sum().backward()
    assert again.conv.weight.grad is not None
    plan = random_plan(prunus.trace(again.eval(), IMAGE), 0.4)
    assert plan.removed > 0
    assert difference(prunus.mask(again, plan), prunus.compact(again, plan), IMAGE) < 1e-12


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fdopen", "replace"])
def test_a_failure_leaves_the_old_file_and_no_rubbish(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    prunus.save(lenet5(), path)
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    if step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(os, "fdopen", fail)
    with pytest.raises(FileFormatError, match=r"cannot be written \(disk full\)"):
        prunus.save(lenet5(num_classes=3), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_saving_changes_nothing(tmp_path: Path) -> None:
    small = compacted(Halves)
    before = copy.deepcopy(small.state_dict())
    prunus.save(small, tmp_path / "m")
    assert all(torch.equal(before[k], v) for k, v in small.state_dict().items())
    assert hashlib.sha256((tmp_path / "m").read_bytes()).digest() != b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((5,), "path must be a text or a pathlib.Path, not 5"),
        (("{file}", "mynets:build"), "build_model must be a function or None"),
        (("{file}", nn.Linear(2, 2)), "give what makes it"),
        (("{file}", lambda: nn.Linear), "build_model must return the dense model, .* not the class Linear"),
        (("{file}", None, "gpu"), "device must be one that torch has here, such as cpu, not 'gpu'"),
    ],
)
def test_wrong_arguments_are_told(arguments: tuple[Any, ...], said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    prunus.save(nn.Linear(2, 2), file)
    given: list[Any] = [str(file) if one == "{file}" else one for one in arguments]
    with pytest.raises(PrunusError, match=said):
        prunus.load(*given)
    with pytest.raises(FileFormatError, match="model must be a torch"):
        prunus.save(file, nn.Linear(2, 2))  # type: ignore[arg-type]


def test_what_is_loaded_in_inference_mode_can_be_trained(tmp_path: Path) -> None:
    prunus.save(nn.Linear(2, 2), tmp_path / "a.safetensors")
    with torch.inference_mode():
        model = prunus.load(tmp_path / "a.safetensors", lambda: nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    assert not any(parameter.is_inference() for parameter in model.parameters())
