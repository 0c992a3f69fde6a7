"""What layers get and make is seen batch by batch, and no hook is left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunus.errors import PlanError
from prunus.observe.capture import check_repeatable, seen_by_all


class ByName(nn.Module):
    """Calls its layer by the name of the argument."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.second(input=self.first(x).relu())


def test_every_layer_shows_its_own_input_and_output() -> None:
    torch.manual_seed(0)
    model, batches = ByName(), [torch.randn(2, 3), torch.randn(5, 3)]
    for batch, seen in zip(batches, seen_by_all(model, ["first", "second"], batches), strict=True):
        hidden = model.first(batch)
        for name, pair in {"first": (batch, hidden), "second": (hidden.relu(), model(batch))}.items():
            assert all(torch.equal(a, b) for a, b in zip(seen[name][0], pair, strict=True))
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_go_when_nobody_reads_on() -> None:
    model = ByName()
    reading = seen_by_all(model, ["first"], [torch.randn(2, 3)] * 3)
    next(reading)
    assert model.first._forward_hooks
    reading.close()  # type: ignore[attr-defined]
    assert not model.first._forward_hooks


def test_what_can_be_read_only_once_is_refused() -> None:
    check_repeatable([torch.zeros(1)])
    with pytest.raises(PlanError, match="a list of batches instead of an iterator"):
        check_repeatable(iter([torch.zeros(1)]))


def test_a_layer_that_is_called_twice_shows_both_calls() -> None:
    model, x = nn.Sequential(shared := nn.Linear(3, 3), nn.ReLU(), shared), torch.randn(2, 3)
    (seen,) = seen_by_all(model, ["0"], [x])
    hidden = shared(x)
    assert [
        torch.equal(made, wanted) for (_, made), wanted in zip(seen["0"], (hidden, shared(hidden.relu())))
    ] == [True] * 2
