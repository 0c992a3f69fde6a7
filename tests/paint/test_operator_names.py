"""Operators of torch go through a pickle by their names."""

from __future__ import annotations

import pickle

import pytest
import torch

from prunus.paint.operator_names import ByName, with_operators, without_operators


def test_a_nest_comes_back_with_the_same_operators() -> None:
    aten = torch.ops.aten
    nest = ([aten.add.Tensor, (aten.conv2d.default, 3)], {"a": aten.relu.default, "b": "text"})
    plain = without_operators(nest)
    assert plain[0][0] == ByName(("aten", "add", "Tensor")) and plain[1]["b"] == "text"
    assert with_operators(pickle.loads(pickle.dumps(plain))) == nest
    assert with_operators(plain)[0][0] is aten.add.Tensor


def test_an_operator_that_is_not_registered_is_an_error() -> None:
    with pytest.raises(AttributeError):
        with_operators([ByName(("a_library_that_is_not_here", "blur", "default"))])
