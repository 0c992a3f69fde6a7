"""A traced module takes what the model takes: any batch, however the forward says it, any size, type and
device.
"""

from __future__ import annotations

import builtins
import copy
import math
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import Net, difference, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import ArgumentError, TraceError
from prunus.surgery.traced import setting as export_setting
from prunus.surgery.traced.export import _export, _Way, export_module

# what the last layer reads; a literal in the forward, so that only the traced module can shrink
WIDTH = 16 * 4


def image(batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch)).to(dtype)


def pixels(x: Tensor) -> Tensor:
    """(batch, pixels, channels)."""
    return x.flatten(2).transpose(1, 2)


BATCHES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "len": lambda s, x: s.c(x.view(len(x), WIDTH)),
    "size": lambda s, x: s.c(x.view(x.size(0), WIDTH)),
    "whole number": lambda s, x: s.c(x.view(int(x.shape[0]), WIDTH)),
    "whole quotient": lambda s, x: s.c(x.view(int(x.shape[0] * 4 / 4), WIDTH)),
    "all numbers": lambda s, x: s.c(x.view(x.shape.numel() // WIDTH, WIDTH)),
    "product of sizes": lambda s, x: s.c(x.view(math.prod(x.shape) // WIDTH, WIDTH)),
    "other sizes from the batch": lambda s, x: s.c(x.view(len(x), -1)) + 0 * x.view(-1, WIDTH).sum(),
    "zeros": lambda s, x: s.c(x.view(len(x), WIDTH) + torch.zeros(len(x), 1, dtype=x.dtype)),
    "like another": lambda s, x: s.c(x.view(-1, WIDTH) + x.new_ones(len(x), 1)),
    "expand": lambda s, x: s.c((pixels(x) + s.q.weight.expand(len(x), -1, -1)).reshape(-1, WIDTH)),
    "repeat": lambda s, x: s.c((pixels(x) + s.q.weight.repeat(len(x), 1, 1)).reshape(-1, WIDTH)),
    "range": lambda s, x: s.c(x.view(-1, WIDTH))[torch.arange(len(x))],
    "twice": lambda s, x: s.c(torch.cat([x, x]).view(2 * len(x), WIDTH)).narrow(0, len(x), len(x)),
    "twice, of a whole number": lambda s, x: s.c(torch.cat([x, x]).view(2 * int(x.size(0)), WIDTH))[
        int(x.size(0)) :
    ],
    "divisor": lambda s, x: s.c(x.view(-1, WIDTH)) / int(x.shape[0]),
}


def counted(forward: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    layers = {
        "a": nn.Conv2d(3, 16, 3, 2, 1),
        "b": nn.Conv2d(16, 16, 3, 2, 1),
        "c": nn.Linear(WIDTH, 10),
        "q": nn.Linear(16, 4, bias=False),
    }
    return randomised(Net(lambda s, x: forward(s, s.b(s.a(x).relu()).relu()), **layers))


def traced(model: nn.Module, x: Tensor) -> tuple[prunus.Plan, nn.Module]:
    plan = random_plan(prunus.trace(model, x))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "traced" and small.prunus.plan == plan
    return plan, small


@pytest.mark.parametrize(("how", "batch"), [*((how, 1) for how in BATCHES), ("len", 2), ("whole number", 3)])
def test_a_batch_is_free_however_the_forward_says_it(how: str, batch: int) -> None:
    model = counted(BATCHES[how])
    plan, small = traced(model, image(batch))
    assert all(difference(prunus.mask(model, plan), small, image(other)) < 1e-12 for other in (1, 2, 5))


def test_the_batch_of_several_inputs_is_free() -> None:
    def forward(s: Any, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        h = (s.a(x).relu() + s.a(y).relu()).mean((2, 3))
        return s.c(h.view(int(y.shape[0]), 8)) * scale.view(len(scale), 1)

    model = randomised(Net(forward, a=nn.Conv2d(3, 8, 1), c=nn.Linear(8, 4)))
    plan = random_plan(prunus.trace(model, (image(2), image(2), torch.ones(2, dtype=torch.float64))))
    small = prunus.compact(model, plan)
    inputs = (image(3), image(4)[:3], torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert small.prunus.mode == "traced" and difference(prunus.mask(model, plan), small, inputs) < 1e-12


NUMBERS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "float of the batch": lambda s, x: s.c(x.view(-1, WIDTH)) / torch.tensor(float(len(x)), dtype=x.dtype),
    "new tensor": lambda s, x: s.c(x.view(-1, WIDTH)) / x.new_tensor(int(x.shape[0])),
    "root": lambda s, x: (
        s.c(x.mean((2, 3)).repeat(1, 4).view(-1, WIDTH)) / math.sqrt(x.shape[2] * x.shape[3])
    ),
    "powers": lambda s, x: (
        s.c(x.mean((2, 3)).repeat(1, 4).view(-1, WIDTH)) * math.exp(-x.shape[2]) * round(x.shape[3] ** 0.5)
    ),
    "grid": lambda s, x: s.c(
        (x * torch.linspace(-1, 1, x.shape[3], dtype=x.dtype)).mean((2, 3)).repeat(1, 4).view(-1, WIDTH)
    ),
    "added": lambda s, x: s.c(x.mean((2, 3)).repeat(1, 4).view(-1, WIDTH) + x.shape[0] / x.shape[2]),
}


@pytest.mark.parametrize("how", NUMBERS)
def test_numbers_made_of_sizes_in_python_are_followed(how: str, tmp_path: Path) -> None:
    model = counted(NUMBERS[how])
    plan, small = traced(model, image(2))
    prunus.save(small, tmp_path / "m")
    again, wide = prunus.load(tmp_path / "m"), torch.randn(3, 3, 12, 20, dtype=torch.float64)
    for other in (image(1), image(5), *([wide] if "batch" not in how and "new" not in how else [])):
        assert difference(prunus.mask(model, plan), small, other) < 1e-12
        assert difference(again, small, other) < 1e-12


TIES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "loop over the batch": lambda s, x: s.c(torch.stack([x[i] for i in range(len(x))]).view(-1, WIDTH)),
    "condition on the batch": lambda s, x: s.c(x.view(-1, WIDTH)) * (2.0 if len(x) > 2 else 1.0),
    "of NumPy": lambda s, x: s.c(x.view(-1, WIDTH)) * float(np.log(x.shape[0] + 1)),
    "sum over pixels": lambda s, x: (
        s.c(x.mean((2, 3)).repeat(1, 4).view(-1, WIDTH)) * sum([1 / (i + 1) for i in range(x.shape[2])])
    ),
}


@pytest.mark.parametrize("how", TIES)
def test_where_numbers_cannot_be_followed_the_own_class_is_kept_with_less(how: str) -> None:
    model = counted(TIES[how])
    with pytest.warns(UserWarning, match=r"8 of 16 channels stay.* takes inputs of shape \(.*\) only"):
        small = prunus.compact(model, random_plan(prunus.trace(model, image(2))))
    masked = prunus.mask(model, small.prunus.plan)
    assert small.prunus.mode == "eager" and small.prunus.plan.removed == 8
    wide = [torch.randn(3, 3, 12, 20, dtype=torch.float64)] if "pixels" in how else []
    assert all(difference(masked, small, other) < 1e-12 for other in (image(1), image(5), *wide))


def test_a_graph_that_is_tied_to_a_size_refuses_others_where_nothing_else_can_go(tmp_path: Path) -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        return s.c(s.a(x).relu().mean((2, 3)).view(-1, 16)) * (2.0 if x.shape[2] > 8 else 1.0)

    model = randomised(Net(forward, a=nn.Conv2d(3, 16, 3), c=nn.Linear(16, 4)))
    with pytest.warns(UserWarning, match=r"takes inputs of shape \(any, any, 8, 8\) only.*refused"):
        plan, small = traced(model, image(2))
    prunus.save(small, tmp_path / "m")
    for one in (small, prunus.load(tmp_path / "m"), copy.deepcopy(small)):
        assert difference(prunus.mask(model, plan), one, image(3)) < 1e-12
        with pytest.raises(ArgumentError, match=r"made for inputs of shape \(any, any, 8, 8\)"):
            one(torch.randn(2, 3, 12, 12, dtype=torch.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = prunus.compact(small, random_plan(prunus.trace(small, image(2))))
    with pytest.raises(ArgumentError, match="made for inputs of shape"):
        again(torch.randn(2, 3, 12, 12, dtype=torch.float64))


def test_a_model_that_is_tied_to_a_batch_of_one_is_traced_with_it() -> None:
    model = counted(lambda s, x: s.c(x.view(1, WIDTH)))
    plan, small = traced(model, image(1))
    assert difference(prunus.mask(model, plan), small, image(1)) < 1e-12


def test_the_own_length_of_python_is_back_after_an_export() -> None:
    own = builtins.len
    export_module(counted(BATCHES["len"]), ((image(2),), {}))
    with pytest.raises(TraceError, match="cannot trace"):
        export_module(Net(lambda s, x: x.sum().item() if x.sum() > 0 else x), ((image(2),), {}))
    assert builtins.len is own


TYPES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "of a weight": lambda s, x: s.c(x.to(torch.float16).to(s.c.weight.dtype).view(-1, WIDTH)),
    "of the input": lambda s, x: s.c((x.view(-1, WIDTH) + torch.ones(1, dtype=x.dtype)).type(x.dtype)),
    "in between": lambda s, x: s.c(x.view(-1, WIDTH).float().exp().to(x.dtype)),
    "for a softmax": lambda s, x: s.c(x.view(-1, WIDTH).softmax(0, dtype=torch.float32).to(x.dtype)),
}


@cache
def of_type(how: str) -> tuple[nn.Module, prunus.Plan, nn.Module]:
    """A model in single precision, a plan and what that leaves; nobody changes them."""
    model = counted(TYPES[how]).float()
    return model, *traced(model, image(2, torch.float32))


@pytest.mark.parametrize("how", TYPES)
def test_a_type_is_free_where_it_is_that_of_the_model(how: str) -> None:
    model, plan, small = of_type(how)
    masked = prunus.mask(model, plan).double()
    # constants of removed channels were folded in single precision
    small = copy.deepcopy(small).double()
    assert difference(masked, small, image(3)) < 1e-6
    assert small(image(3)).dtype == masked(image(3)).dtype


def test_types_that_the_forward_names_stay() -> None:
    model = counted(lambda s, x: s.c(x.view(-1, WIDTH)).float()).float()
    _, small = traced(model, image(2, torch.float32))
    assert small.double()(image(2)).dtype == torch.float32


def test_the_device_is_free() -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        table = torch.arange(len(x), device=x.device)[:, None] + torch.zeros(
            len(x), 1, dtype=x.dtype, device=s.c.weight.device
        )
        return s.c(x.view(-1, WIDTH).to(x.device) + table)

    _, small = traced(counted(forward), image(2))
    assert small.to("meta")(image(5).to("meta")).device.type == "meta"


@pytest.mark.parametrize("how", TYPES)
def test_what_follows_types_and_devices_is_saved_and_pruned_again(how: str, tmp_path: Path) -> None:
    model, _, small = of_type(how)
    prunus.save(small, tmp_path / "m")
    again = prunus.load(tmp_path / "m")
    assert torch.equal(again(image(3, torch.float32)), small(image(3, torch.float32)))
    assert again.double()(image(2)).dtype == copy.deepcopy(model).double()(image(2)).dtype
    plan = random_plan(prunus.trace(small, image(2, torch.float32)), seed=1)
    assert difference(prunus.mask(small, plan), prunus.compact(small, plan), image(4, torch.float32)) < 1e-5


@pytest.mark.parametrize(("longest", "free"), [(512, True), (2, False)])
def test_sizes_that_would_take_long_to_simplify_are_fixed_instead(
    longest: int, free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        height, width = -x.shape[2] % 4, -x.shape[3] % 4
        x = nn.functional.pad(s.a(x), (0, width, 0, height))
        windows = x.view(x.shape[0], x.shape[1], x.shape[2] // 4, 4, x.shape[3] // 4, 4)
        return s.d(windows.amax((3, 5))[:, :8].mean((2, 3)))

    model = randomised(Net(forward, a=nn.Conv2d(3, 12, 1), d=nn.Linear(8, 4)))
    monkeypatch.setattr(export_setting, "_LONGEST", longest)
    small = export_module(model, ((image(2),), {}))
    other = torch.randn(3, 3, 14, 10, dtype=torch.float64) if free else image(3)
    assert difference(model, small, other) < 1e-12
    if not free:
        with pytest.raises(ArgumentError, match="made for inputs of shape"):
            small(torch.randn(3, 3, 14, 10, dtype=torch.float64))


class Partly(nn.Module):
    """Reads some of its parameters only."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.spare = nn.Parameter(torch.randn(4, 3, 1, 1)), nn.Parameter(torch.randn(4))
        self.unread = nn.Sequential(nn.Linear(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.read)


@pytest.mark.parametrize("strict", [False, True])
def test_what_no_forward_reads_is_kept(strict: bool) -> None:
    model = nn.Sequential(Partly(), nn.ReLU())
    model[0].spare.requires_grad_(False)
    module, _ = _export(model, _Way(((torch.zeros(2, 3, 4, 4),), {}), lambda tensor: {}, strict=strict))
    assert set(module.state_dict()) == set(model.state_dict())
    found = module.get_parameter("0.spare")
    assert torch.equal(found, model[0].spare) and not found.requires_grad
