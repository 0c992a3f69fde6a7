"""A parametrisation is put on one module, not on the copies of it."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from prunus._foundation.parametrised import put_on


class Twice(nn.Module):
    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return 2 * tensor


def test_copies_of_a_parametrised_module_stay_what_they_are() -> None:
    original = parametrizations.weight_norm(nn.Linear(3, 2))
    inputs, copied = torch.ones(1, 3), copy.deepcopy(original)
    before, bias = original(inputs), original.bias.clone()
    put_on(copied, "bias", Twice())
    assert torch.equal(original(inputs), before)
    torch.testing.assert_close(copied(inputs), before + bias)
    again = copy.deepcopy(copied)
    parametrize.remove_parametrizations(copied, "bias", leave_parametrized=True)
    parametrize.remove_parametrizations(copied, "weight")
    assert type(copied) is nn.Linear
    torch.testing.assert_close(copied(inputs), before + bias)
    assert parametrize.is_parametrized(original, "weight") and parametrize.is_parametrized(again, "weight")
    assert torch.equal(original(inputs), before)


def test_a_module_without_parametrisations_is_parametrised_as_torch_does() -> None:
    linear = nn.Linear(3, 2)
    weight = linear.weight.detach().clone()
    put_on(linear, "weight", Twice())
    assert torch.equal(linear.weight, 2 * weight)
