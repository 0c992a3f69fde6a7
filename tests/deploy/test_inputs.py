"""Example inputs in every shape in which people have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from prunus.deploy.inputs import split, tensors, tensors_alone


def test_tensors_of_a_nest_come_in_order() -> None:
    a, b, c = (torch.zeros(size) for size in (1, 2, 3))
    found = tensors((a, [b, {"x": c, "y": 3}], None))
    assert [len(tensor) for tensor in found] == [1, 2, 3] and tensors("none") == []


def test_one_tensor_several_and_names_are_arguments() -> None:
    a, b = torch.zeros(1), torch.zeros(2)
    assert split(a) == ((a,), {}) and split((a, b)) == ((a, b), {})
    assert split({"x": a}) == ((), {"x": a})


def test_what_no_file_holds_is_left_out_of_outputs() -> None:
    class Named(nn.Module):
        def forward(self, x: torch.Tensor, scale: float = 2.0) -> dict[str, Any]:
            return {"sum": x.sum(), "made by": "us", "none": None, "all": [x * scale]}

    model, x = Named(), torch.ones(2)
    with tensors_alone(model, model(x)):
        assert [one.tolist() for one in model(x, scale=3.0)] == [2.0, [3.0, 3.0]]
    assert list(model(x)) == ["sum", "made by", "none", "all"] and "forward" not in vars(model)
    with tensors_alone(model, {"a": x, "b": None}):
        assert "forward" not in vars(model)
