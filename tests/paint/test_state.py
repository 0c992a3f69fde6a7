"""What a forward leaves in a model: copies, hooks and later runs do not depend on it, and the user's model is
never touched.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.paint.nets import random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.paint.model_copy import copy_model
from prunus.paint.state import restore_state, state_of

IMAGE = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Anchors(nn.Module):
    """Remakes what depends on the size of its features when that changes."""

    def __init__(self, buffer: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 4, 1)
        self.shape: Any = None
        self.calls: list[Any] = []
        self.buffer = buffer
        if buffer:
            self.register_buffer("anchors", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.first(x).relu())
        if self.shape != y.shape:
            self.anchors, self.shape = torch.arange(y.shape[-1]).to(y) + 0.5, y.shape
        self.calls.append(len(x))
        return y + self.anchors


@pytest.mark.parametrize("buffer", [False, True])
def test_what_the_model_saw_in_between_does_not_matter(buffer: bool) -> None:
    model = randomised(Anchors(buffer))
    model(IMAGE)
    plan = random_plan(prunus.trace(model, IMAGE))
    with torch.no_grad():
        model(torch.randn(8, 3, 8, 8, dtype=torch.float64))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and small.prunus.plan.removed == 8
    with torch.no_grad():
        assert torch.allclose(small(IMAGE), prunus.mask(model, plan)(IMAGE), rtol=1e-12, atol=1e-12)


def test_state_is_what_holds_values_alone() -> None:
    module: Any = nn.Linear(2, 2)
    module.size, module.steps, module.kept, module.other = 3, [1, (2, 3)], {"a": torch.ones(2)}, nn.ReLU
    modules = {"": module}
    state = state_of(modules)
    assert state[""].keys() >= {"size", "steps", "kept"} and "other" not in state[""]
    module.steps.append(4)
    module.size, module.new = 5, "later"
    restore_state(modules, state)
    assert (module.size, module.steps) == (3, [1, (2, 3)]) and not hasattr(module, "new")


@pytest.mark.parametrize("holder", [lambda y: [y], lambda y: {"a": {"b": (y,)}}, lambda y: (y, [y])])
def test_computed_tensors_are_copied_wherever_they_lie(holder: Any) -> None:
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.cache = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), None

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x).relu()
            self.cache = holder(y)
            return self.last(y)

    model = randomised(Kept())
    model(IMAGE)
    assert prunus.compact(model, random_plan(prunus.trace(model, IMAGE))).prunus.plan.removed == 4


def test_hooks_that_close_over_the_model_work_on_the_copy() -> None:
    class Featured(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.last = (
                nn.Conv2d(3, 16, 3),
                nn.Conv2d(16, 24, 1),
                nn.Conv2d(16, 24, 1),
                nn.Conv2d(24, 4, 1),
            )
            self.feature: Tensor | None = None

            def store(module: nn.Module, inputs: Any, output: Tensor) -> None:
                self.feature = output

            self.a.register_forward_hook(store)
            self.act = lambda x: self.c(x).relu()

        def forward(self, x: Tensor) -> Tensor:
            y = self.b(self.a(x))
            return self.last(y + self.act(self.feature))

    model = randomised(Featured())
    model.feature = None
    plan = random_plan(prunus.trace(model, IMAGE))
    assert model.feature is None
    small = prunus.compact(model, plan)
    assert model.feature is None and plan.exact and plan.removed == 20
    copied = copy_model(model, {})
    copied(IMAGE)
    assert model.feature is None and copied.feature is not None
    assert small(IMAGE).shape == (2, 4, 14, 14)
