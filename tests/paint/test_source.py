"""Colours of parameters: one after the other, and none along an axis that is not painted."""

from __future__ import annotations

import numpy as np
import torch

from prunus.paint.records import ANCHOR
from prunus.paint.source import UNPAINTED, Source, colours_of


def test_axes_have_colours_in_a_row_or_the_one_that_stays() -> None:
    weight = Source("weight", torch.empty(4, 3), True, (1, 5))
    bias = Source("bias", torch.empty(4), True, (8,))
    count = Source("count", torch.empty(2, 2, dtype=torch.int64), False, (UNPAINTED, UNPAINTED))
    assert weight.colours(0).tolist() == [1, 2, 3, 4] and weight.colours(1).tolist() == [5, 6, 7]
    assert count.colours(1).tolist() == [ANCHOR, ANCHOR]
    assert colours_of([weight, bias, count]) == 12 and colours_of([count]) == ANCHOR + 1
    assert weight.is_real and not count.is_real


def test_a_part_of_all_colours_is_that_of_the_axis() -> None:
    every = np.arange(100, 112)
    weight = Source("weight", torch.empty(4, 3), True, (1, UNPAINTED))
    assert weight.part(every, 0).tolist() == [101, 102, 103, 104]
    assert weight.part(every, 1).tolist() == [100, 100, 100]  # the anchor's entry
