"""Filter norms, slot by slot."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.scores.coupled import IMAGE, REDUCES, combine, firsts, slots

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("reduce", REDUCES)
def test_norm(graph: ChannelGraph, p: float, reduce: str) -> None:
    found = [(c, float((w.abs() ** p).sum() ** (1 / p))) for c, _, _, w, _ in slots(graph)]
    assert torch.allclose(scores.norm(graph, p=p, reduce=reduce), combine(graph, found, reduce), rtol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("p", [1, 2])
def test_norm_of_the_producer_alone(graph: ChannelGraph, p: float) -> None:
    first = firsts(graph)
    found = [
        (c, float((w.abs() ** p).sum() ** (1 / p)))
        for c, name, dim, w, _ in slots(graph)
        if first[c] == (name, dim)
    ]
    assert torch.allclose(
        scores.norm(graph, p=p, reduce="producer"), combine(graph, found, "sum"), rtol=1e-12
    )
    filters = graph.model.a.weight.detach().flatten(1).norm(p=p, dim=1)
    coupled = filters[:3] + filters[3:]  # the grouped reader couples slot j of both groups
    assert torch.allclose(scores.norm(graph, p=p, reduce="producer")[:3], coupled, rtol=1e-12)


def test_the_default_looks_at_all_coupled_parameters(graph: ChannelGraph) -> None:
    before = scores.norm(graph)
    changed = copy.deepcopy(graph.model)
    changed.c.weight.data[0] *= 10
    assert (scores.norm(prunus.trace(changed, IMAGE)) != before).any()


def test_an_unknown_reduction(graph: ChannelGraph) -> None:
    with pytest.raises(PlanError, match="reduce must be"):
        scores.norm(graph, reduce="median")  # type: ignore[arg-type]
