"""Example inputs in every shape in which people have them."""

from __future__ import annotations

import torch

from prunus.deploy.inputs import split, tensors


def test_tensors_of_a_nest_come_in_order() -> None:
    a, b, c = (torch.zeros(size) for size in (1, 2, 3))
    found = tensors((a, [b, {"x": c, "y": 3}], None))
    assert [len(tensor) for tensor in found] == [1, 2, 3] and tensors("none") == []


def test_one_tensor_several_and_names_are_arguments() -> None:
    a, b = torch.zeros(1), torch.zeros(2)
    assert split(a) == ((a,), {}) and split((a, b)) == ((a, b), {})
    assert split({"x": a}) == ((), {"x": a})
