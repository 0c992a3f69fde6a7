"""Tensors that are computed while a network is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunus.paint.model_copy import copy_model, named_tensors
from prunus.quantisation.parametrised import behind, put_on, taken_off


class Doubled(nn.Module):
    """Twice the tensor."""

    def forward(self, values: Tensor) -> Tensor:
        return 2 * values


def test_they_are_plain_again_and_in_their_order() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    network, x = copy_model(model, {}), torch.randn(5, 3)
    put_on(network, "0.weight", Doubled())
    put_on(network, "2.bias", Doubled())
    network(x)  # the norm's statistics move
    assert isinstance(behind(network, "2.bias")[0], Doubled)
    assert torch.equal(behind(network, "2.bias")[1], model[2].bias)
    plain = taken_off(network, model, ["0.weight", "2.bias"])
    assert list(named_tensors(plain)) == list(named_tensors(model)) and not plain.training
    assert torch.equal(plain(x), network.eval()(x))
    assert torch.equal(plain[0].weight, 2 * model[0].weight)


def test_a_module_that_is_the_whole_model_is_taken() -> None:
    model = nn.Linear(3, 2)
    network = copy_model(model, {})
    put_on(network, "weight", Doubled())
    assert torch.equal(taken_off(network, model, ["weight"]).weight, 2 * model.weight)
