"""Twins and copies: whatever hangs on a module, tensors under one name, eval mode."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import prunus
from prunus.paint.model_copy import copy_model, meta_twin, named_tensors

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64)


class Laden(nn.Module):
    """A network with all kinds of plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)
        self.frequencies, self.mean, self.sizes = (
            torch.arange(8.0),
            np.array([0.1, 0.2]),
            [torch.ones(2), (1, 2)],
        )
        self.nested = {"a": [1, 2], "b": torch.zeros(3)}

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu()) * float(self.mean[0])


def assert_exact(model: nn.Module, promised: bool = True) -> nn.Module:
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    assert plan.removed == 4 and plan.exact is promised
    small = prunus.compact(model, plan)
    torch.testing.assert_close(small(IMAGE), prunus.mask(model, plan)(IMAGE), rtol=1e-12, atol=1e-14)
    return small


def test_tensors_and_arrays_may_hang_on_a_module() -> None:
    model = Laden().double().eval()
    small = assert_exact(model)
    assert torch.equal(small.frequencies, model.frequencies) and small.frequencies is not model.frequencies
    twin = copy_model(model, {})
    twin.nested["a"].append(3)
    twin.sizes[0].zero_()
    sizes: Any = model.sizes[0]
    assert model.nested["a"] == [1, 2] and sizes.sum() == 2


def test_the_old_weight_norm_keeps_its_computed_weight() -> None:
    """Its weight is a plain attribute, made anew before every call; whatever can be removed goes exactly."""
    model = Laden().double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(model.second)
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    torch.testing.assert_close(small(IMAGE), prunus.mask(model, plan)(IMAGE), rtol=1e-12, atol=1e-14)


def test_a_scripted_child_is_no_obstacle() -> None:
    class Scripted(Laden):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self.act = torch.jit.script(nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.act(self.first(x)))

    assert_exact(Scripted().double().eval())


def test_a_parameter_that_is_a_buffer_elsewhere_is_a_parameter_once() -> None:
    model = Laden().double().eval()
    model.register_buffer("own", torch.zeros(8, dtype=torch.float64))
    model.register_buffer("table", model.first.weight)
    names = list(named_tensors(model))
    assert names == ["first.weight", "first.bias", "second.weight", "second.bias", "own"]
    assert_exact(model)


def test_a_prelu_of_one_number_without_an_axis() -> None:
    class Scalar(Laden):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.PReLU()
            self.act.weight = nn.Parameter(torch.tensor(0.25))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.act(self.first(x)))

    assert_exact(Scalar().double().eval())


def test_a_class_that_replaces_children_in_eval_mode_is_walked_afterwards() -> None:
    class Folding(Laden):
        def train(self, mode: bool = True) -> Folding:
            if not mode and not isinstance(self.first, nn.Sequential):
                self.add_module("first", nn.Sequential(self.first))
            return super().train(mode)

    twin = meta_twin(Folding())
    assert "first.0" in twin.modules and not twin.model.training


def test_a_buffer_that_the_forward_makes_later_does_not_make_it_another_model() -> None:
    class Lazy(Laden):
        def forward(self, x: Tensor) -> Tensor:
            if not hasattr(self, "grid"):
                self.register_buffer("grid", torch.ones(x.shape[-1], dtype=x.dtype), persistent=False)
            return super().forward(x * self.grid)

    model = Lazy().double().eval()
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    before = prunus.compact(model, plan)(IMAGE)
    model(IMAGE)
    torch.testing.assert_close(prunus.compact(model, plan)(IMAGE), before)
    model.extra = nn.Parameter(torch.ones(1))
    with pytest.raises(prunus.errors.PlanError):
        prunus.compact(model, plan)


def test_averaged_weights_are_pruned_as_the_model_is() -> None:
    model = Laden().double().eval()
    averaged = AveragedModel(model)
    averaged.update_parameters(model)
    graph = prunus.trace(averaged, IMAGE)
    plan = prunus.plan(prunus.trace(model, IMAGE), prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    averaged.module = prunus.compact(averaged, plan)
    averaged.update_parameters(small)
    torch.testing.assert_close(averaged(IMAGE), small(IMAGE), rtol=1e-12, atol=1e-14)
