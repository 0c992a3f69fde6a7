"""How models are called with the inputs of a batch, and how many samples these are."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prunus.training.calls import as_dicts, called, one_value, samples_in, samples_of

IMAGES, LABELS = torch.randn(17, 3, 8, 8), torch.zeros(17)


class Pair(NamedTuple):
    a: Tensor


class Difference(nn.Module):
    def forward(self, x: Tensor, y: Tensor | float = 1.0) -> Tensor:
        return x - y


def test_arguments_come_in_order_or_by_name() -> None:
    one, two = torch.ones(2), torch.full((2,), 2.0)
    for inputs in ((two, one), [two, one], {"y": one, "x": two}, two, {"x": two}):
        assert called(Difference(), inputs).tolist() == [1.0, 1.0]


def test_a_norm_with_one_value_is_known_by_what_torch_says() -> None:
    try:
        nn.BatchNorm1d(2)(torch.ones(1, 2))
    except ValueError as error:
        assert one_value(error) and not one_value(ValueError("something else"))


def test_samples_are_counted() -> None:
    assert samples_in((IMAGES, None)) == samples_in({"x": IMAGES}) == samples_in([list(IMAGES), None]) == 17
    assert samples_in(None) == 1 and samples_of(IMAGES, None) == samples_of(IMAGES, {"y": 1}) == 17
    assert samples_of(IMAGES, LABELS[:4]) == 4
    assert samples_of(IMAGES, torch.zeros(0, 6)) == 17  # boxes of pictures that show none


def test_mappings_of_any_class_are_dictionaries() -> None:
    inside = UserDict(x=IMAGES, y=[UserDict(z=LABELS)])
    found = as_dicts((inside, [inside, LABELS]))
    assert type(found[0]) is dict and found[0]["x"] is IMAGES and type(found[1][0]) is dict
    named = Pair(LABELS)
    assert as_dicts(named) is named and as_dicts(OrderedDict(a=1)) == {"a": 1}
