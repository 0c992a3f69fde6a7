"""An optimiser follows its parameters into the compact model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from prunus.errors import CompactError
from prunus.plans.slices import Slices
from prunus.surgery.optimizer import transfer

SLICES: Slices = {
    "0.weight": {0: np.array([0, 2])},
    "0.bias": {0: np.array([0, 2])},
    "1.weight": {1: np.array([0, 2])},
}


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_state_is_cut_as_its_parameters_are(kind: type[torch.optim.Optimizer]) -> None:
    model, small = network(3), network(2)
    more: dict[str, Any] = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([{"params": model[0].parameters()}, {"params": model[1].parameters()}], lr=0.1, **more)  # type: ignore[call-arg]
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    before = {name: dict(optimizer.state[p]) for name, p in model.named_parameters()}
    transfer(optimizer, model, small, SLICES)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]
    for name, parameter in small.named_parameters():
        for key, value in optimizer.state[parameter].items():
            wanted = before[name][key]
            for dim, kept in SLICES.get(name, {}).items() if wanted.dim() else ():
                wanted = wanted.index_select(dim, torch.from_numpy(kept))
            assert torch.equal(value, wanted), (name, key)


def test_a_stranger_is_refused_and_nothing_changes() -> None:
    model = network(3)
    optimizer = torch.optim.SGD([*model.parameters(), nn.Parameter(torch.zeros(2))], 0.1)
    before = list(optimizer.param_groups[0]["params"])
    with pytest.raises(CompactError, match="is not one of Sequential's"):
        transfer(optimizer, model, network(2), SLICES)
    assert all(a is b for a, b in zip(optimizer.param_groups[0]["params"], before, strict=True))
