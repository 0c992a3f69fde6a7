"""What a target may choose from."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import prunus
from prunus.errors import PlanError, TargetError
from prunus.paint.graph import ChannelGraph
from prunus.planning.space import check_rate, matching, space_for


def chain(*widths: int) -> ChannelGraph:
    layers = [nn.Conv2d(a, b, 1) for a, b in pairwise([3, *widths])]
    return prunus.trace(nn.Sequential(*layers), torch.zeros(1, 3, 4, 4))


def test_channels_go_from_the_worst_and_numbers_are_allowed_ones() -> None:
    graph = chain(20, 8, 2)
    scores = torch.tensor([*range(20), *reversed(range(8))], dtype=torch.float64)
    space, fixed = space_for(graph, scores, 8, 1, (), {}, exact=False)
    assert fixed == {} and [levels.tolist() for levels in space.levels] == [[8, 16], [8]]
    assert space.smallest().tolist() == [8, 8]
    assert space.at_least(np.array([8.5, 3.0])).tolist() == [16, 8]
    assert space.at_least(np.array([17.0, 9.0])).tolist() == [16, 8]  # the largest that there is
    space, _ = space_for(graph, scores, 1, 1, (), {}, exact=False)
    gone = space.removed(np.array([18, 5]))
    assert np.flatnonzero(gone).tolist() == [0, 1, 25, 26, 27]


def test_protected_groups_and_groups_with_a_rate_have_one_number() -> None:
    graph = chain(20, 8, 2)
    space, fixed = space_for(graph, torch.zeros(28), 1, 3, ["0"], {"1.*": 0.9}, exact=False)
    assert fixed == {0: 20, 1: 3} and [levels.tolist() for levels in space.levels] == [[20], [3]]


def test_stairs_are_the_edges_half_of_the_first_and_the_whole() -> None:
    space, _ = space_for(chain(40, 5, 2), torch.zeros(45), 16, 1, (), {}, exact=False, stairs=True)
    assert [levels.tolist() for levels in space.levels] == [[8, 16, 32, 40], [1, 2, 3, 4, 5]]


def test_names_are_those_of_parameters_and_of_modules_around_them() -> None:
    graph = prunus.trace(
        nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 2, 1)),
        torch.zeros(1, 3, 4, 4),
    )
    assert [group.index for group in matching(graph, "0")] == [0]
    assert [group.index for group in matching(graph, "0.0.weight")] == [0]
    assert [group.index for group in matching(graph, "1*")] == [1]  # it reads the first, and makes the second
    assert [group.index for group in matching(graph, "2")] == []
    with pytest.raises(PlanError, match="matches no parameter or module of Sequential"):
        matching(graph, "3")


@pytest.mark.parametrize("rate", [-0.1, 1.5, 50.0])
def test_a_rate_is_a_fraction(rate: float) -> None:
    assert check_rate(0.0) == 0 and check_rate(1.0) == 1
    with pytest.raises(TargetError, match="from 0 to 1, not"):
        check_rate(rate)
