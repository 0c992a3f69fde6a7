"""What a quantiser gives: a network that holds exactly what is coded."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from prunus.coding.tensors import Codebook, CodedTensor, Grid, Plain, values_of
from prunus.paint.model_copy import named_tensors
from prunus.quantisation.quantised import decoded, on_grid


def test_values_on_a_grid_are_found_again() -> None:
    integers = np.arange(-40, 41, dtype=np.int32).reshape(3, 27)
    grid = Grid(integers, float(np.float32(0.0123)))
    again = on_grid(torch.from_numpy(values_of(grid)), grid.step)
    assert np.array_equal(again.integers, integers) and again.step == grid.step


def test_every_tensor_is_there_and_the_network_holds_its_values() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))
    codes: dict[str, CodedTensor] = {
        "0.weight": on_grid(model[0].weight, 0.1),
        "3.weight": Codebook(
            np.array([[0, 1, 1], [1, 0, 0]], dtype=np.int32), np.array([0, 0.7], dtype=np.float32)
        ),
    }
    found = decoded(model, codes)
    assert list(found.tensors) == list(named_tensors(model)) and not found.model.training
    for name, tensor in named_tensors(found.model).items():
        assert np.array_equal(values_of(found.tensors[name]), tensor.detach().numpy()), name
    assert isinstance(found.tensors["1.num_batches_tracked"], Plain)
    assert found.tensors["1.num_batches_tracked"].values.dtype == np.int64


def test_what_is_plain_is_a_copy() -> None:
    model = nn.Linear(2, 2)
    found = decoded(model, {})
    before = values_of(found.tensors["weight"]).copy()
    with torch.no_grad():
        found.model.weight.add_(1)
        model.weight.add_(1)
    assert np.array_equal(values_of(found.tensors["weight"]), before)
