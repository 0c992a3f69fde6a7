"""Warnings show the caller the line of their own that they are about."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus import models
from prunus._foundation.warned import warn

SOURCE = Path(prunus.__file__).parent


def test_nothing_else_in_the_library_warns() -> None:
    """Numbers of calls that were counted by hand are wrong with the next decorator."""
    calls = [
        path.relative_to(SOURCE)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) == ("warnings", "warn")
    ]
    assert calls == [Path("_foundation/warned.py")]


def in_train_mode(m: nn.Module, x: Tensor) -> Tensor:
    """A forward whose train mode nobody can follow."""
    return x + torch.from_numpy(x.detach().numpy() + 1) if m.training else x


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(in_train_mode(self, self.a(x)))


def listening() -> nn.Module:
    model = models.lenet5()
    model.conv1.weight.register_hook(lambda grad: grad)
    return model


X = torch.zeros(1, 1, 28, 28)
SAID: dict[str, Callable[[], Any]] = {
    "trace": lambda: prunus.trace(Odd(), torch.zeros(1, 3, 8, 8)),
    "shrink, of little": lambda: prunus.shrink(
        models.lenet5(), None, example_inputs=X, rate=0.3, round_to=512
    ),
    "plan, of little": lambda: prunus.plan(
        graph := prunus.trace(models.lenet5(), X), prunus.scores.norm(graph), rate=0.3, round_to=512
    ),
    "shrink, of hooks": lambda: prunus.shrink(listening(), None, example_inputs=X, rate=0.3),
    "no grad": lambda: torch.no_grad()(lambda: prunus.trace(Odd(), torch.zeros(1, 3, 8, 8)))(),
}


@pytest.mark.parametrize("said", SAID)
def test_the_line_is_the_callers(said: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SAID[said]()
    own = [one for one in caught if one.category is UserWarning]
    assert own and {one.filename for one in own} == {__file__}


def test_of_another_kind() -> None:
    with pytest.warns(DeprecationWarning, match="old"):
        warn("It is old.", DeprecationWarning)
