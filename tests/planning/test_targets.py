"""Targets: how many channels go, and that the promises about sizes are kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import Net
from torch import Tensor, nn

import prunus
from prunus.errors import PlanError, TargetError
from prunus.models import resnet20, vgg16_bn
from prunus.paint.graph import ChannelGraph
from prunus.planning.targets import plan_above

IMAGE = torch.empty(1, 3, 32, 32, device="meta")


@pytest.fixture(scope="module")
def resnet() -> ChannelGraph:
    torch.manual_seed(0)
    return prunus.trace(resnet20().eval(), IMAGE)


@pytest.fixture(scope="module")
def vgg() -> ChannelGraph:
    torch.manual_seed(0)
    return prunus.trace(vgg16_bn().eval(), IMAGE)


def chain(*widths: int) -> ChannelGraph:
    sizes = [3, *widths]
    return prunus.trace(
        nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise(sizes))), torch.zeros(1, 3, 4, 4)
    )


def kept(plan: prunus.Plan) -> list[int]:
    return [g.size - len(g.removed) for g in plan.groups]


def ramp(graph: ChannelGraph) -> Tensor:
    """Scores 0, 1, 2 …: the first channels go first."""
    return torch.arange(graph.num_channels, dtype=torch.float64)


@pytest.mark.parametrize("rate", ["0", "0.1", "0.25", "0.3", "0.333", "0.5", "0.7", "0.9"])
def test_a_rate_removes_the_whole_part_of_rate_times_width(rate: str) -> None:
    graph = chain(7, 10, 16, 40, 100, 2)
    plan = prunus.plan(graph, prunus.scores.random(graph), rate=float(rate))
    assert [len(g.removed) for g in plan.groups] == [int(Fraction(rate) * n) for n in (7, 10, 16, 40, 100)]


def test_the_lowest_scores_go() -> None:
    graph = chain(10, 8, 2)
    scores = prunus.scores.random(graph, seed=3)
    plan = prunus.plan(graph, scores, rate=0.5)
    for group, wanted in zip(plan.groups, (scores[:10], scores[10:])):
        assert set(group.removed) == set(wanted.argsort()[: len(wanted) // 2].tolist())


def test_global_scope_ranks_all_channels_together() -> None:
    graph = chain(10, 8, 2)
    assert kept(prunus.plan(graph, ramp(graph), rate=0.5, scope="global")) == [1, 8]  # the floor keeps one
    assert kept(prunus.plan(graph, -ramp(graph), rate=0.5, scope="global")) == [8, 1]


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize(
    ("name", "what", "fraction"),
    [
        ("resnet", "macs", 0.9),
        ("resnet", "macs", 0.5),
        ("resnet", "params", 0.23),
        ("resnet", "bytes", 0.5),
        ("vgg", "macs", 0.5),
        ("vgg", "params", 0.3),
    ],
)
def test_budgets_are_met_from_below_within_one_per_cent(
    name: str, what: str, fraction: float, scope: str, request: pytest.FixtureRequest
) -> None:
    graph = request.getfixturevalue(name)
    full = getattr(graph.cost(), what)
    plan = prunus.plan(graph, prunus.scores.norm(graph), scope=scope, **{what: fraction})  # type: ignore[arg-type]
    assert 0.99 * fraction * full <= getattr(plan.after, what) <= fraction * full
    absolute = prunus.plan(graph, prunus.scores.norm(graph), scope=scope, **{what: int(fraction * full)})  # type: ignore[arg-type]
    assert 0.99 * fraction * full <= getattr(absolute.after, what) <= int(fraction * full)


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("wish", [{"rate": 0.4}, {"macs": 0.5}])
def test_widths_are_multiples(
    resnet: ChannelGraph, vgg: ChannelGraph, scope: str, wish: dict[str, float]
) -> None:
    for graph in (resnet, vgg):
        plan = prunus.plan(graph, prunus.scores.random(graph), scope=scope, round_to=8, **wish)  # type: ignore[arg-type]
        assert all(layer.width_after % 8 == 0 for layer in graph.layers(plan)[:-1])
        if "macs" in wish:
            assert plan.after.macs <= 0.5 * plan.before.macs


def split_layer(m: nn.Module, x: Tensor) -> Tensor:
    a, b = m.a(x).split([4, 12], 1)
    return m.b(a) + m.c(b)


def shuffled(m: nn.Module, x: Tensor) -> Tensor:
    return m.c(m.b(nn.functional.pixel_shuffle(m.a(x), 2)))


def pinned_part(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = m.a(x)
    return m.c(x[:, 6:]), x[:, :6]


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(
    "model",
    [
        Net(split_layer, a=nn.Conv2d(3, 16, 1), b=nn.Conv2d(4, 2, 1), c=nn.Conv2d(12, 2, 1)),
        Net(shuffled, a=nn.Conv2d(3, 64, 1), b=nn.Conv2d(16, 16, 3, groups=16), c=nn.Conv2d(16, 2, 1)),
        Net(pinned_part, a=nn.Conv2d(3, 32, 1), c=nn.Conv2d(26, 2, 1)),
    ],
    ids=["split", "shuffle", "pinned"],
)
def test_every_layer_lands_on_a_multiple_also_where_groups_share_it(model: nn.Module, rate: float) -> None:
    graph = prunus.trace(model, torch.zeros(1, 3, 8, 8))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only 0 channels")
        plan = prunus.plan(graph, prunus.scores.random(graph), rate=rate, round_to=8)
    assert [y.width_after for y in graph.layers(plan) if y.width_before % 8 == 0 and y.width_after % 8] == []


def test_narrow_layers_are_not_rounded_away() -> None:
    graph = chain(4, 64, 2)
    assert kept(prunus.plan(graph, ramp(graph), rate=0.5, round_to=8)) == [4, 32]


def test_floor_protect_and_rates() -> None:
    graph = chain(16, 16, 16, 16, 2)
    assert kept(prunus.plan(graph, ramp(graph), rate=1.0)) == [1, 1, 1, 1]
    assert kept(prunus.plan(graph, ramp(graph), rate=1.0, floor=5)) == [5, 5, 5, 5]
    assert kept(prunus.plan(graph, ramp(graph), rate=0.5, protect=["1", "3.w*"])) == [8, 16, 8, 16]
    assert kept(prunus.plan(graph, ramp(graph), rate=0.5, rates={"0": 0.25, "[01]": 0.75})) == [12, 4, 8, 8]
    assert kept(prunus.plan(graph, ramp(graph), rates={"2.weight": 0.25})) == [16, 16, 12, 16]
    assert kept(prunus.plan(graph, ramp(graph), macs=0.6, protect=["2"]))[2] == 16


def test_protecting_a_layer_protects_all_that_it_is_coupled_with(resnet: ChannelGraph) -> None:
    plan = prunus.plan(resnet, prunus.scores.norm(resnet), rate=0.5, protect=("layer2.1.conv2",))
    widths = {layer.name: (layer.width_before, layer.width_after) for layer in resnet.layers(plan)}
    assert widths["layer2.0.conv2"] == widths["layer2.1.conv2"] == (32, 32)
    assert widths["layer2.1.conv1"] == (32, 16)


def test_a_threshold_keeps_what_is_above_it_and_one_channel_of_every_group() -> None:
    graph = chain(4, 3, 2)
    scores = torch.tensor([0.5, 0.0, -1.0, 0.1, -3.0, -1.0, -2.0], dtype=torch.float64)
    assert [group.removed for group in plan_above(graph, scores).groups] == [(1, 2), (0, 2)]
    assert [group.removed for group in plan_above(graph, scores, 0.3).groups] == [(1, 2, 3), (0, 2)]
    assert plan_above(graph, scores, -4.0).removed == 0
    with pytest.raises(PlanError, match="6 scores for 7 channels"):
        plan_above(graph, scores[1:])


def test_exact_leaves_inexact_channels_alone() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.LogSoftmax(1), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )
    graph = prunus.trace(model, torch.zeros(1, 3, 8, 8))
    assert not prunus.plan(graph, ramp(graph), rate=0.5).exact
    for scope in ("uniform", "global"):
        plan = prunus.plan(graph, ramp(graph), rate=0.25, exact=True, scope=scope)
        assert plan.exact
        assert kept(plan)[0] == 8
        assert kept(plan)[1] < 8


def test_an_impossible_target_says_the_smallest_that_is_possible(resnet: ChannelGraph) -> None:
    scores = prunus.scores.norm(resnet)
    least = prunus.plan(resnet, scores, rate=1.0).after.macs
    with pytest.raises(TargetError, match=f"smallest reachable is {least:,}"):
        prunus.plan(resnet, scores, macs=0.0001)
    assert prunus.plan(resnet, scores, macs=float(least)).after.macs == least
    with pytest.raises(TargetError, match="protected"):
        prunus.plan(resnet, scores, macs=0.5, protect=("*",))


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"rate": 0.5, "macs": 0.5},
        {"rate": -0.1},
        {"rate": 1.1},
        {"rate": float("nan")},
        {"macs": 0.0},
        {"macs": -3.0},
        {"macs": float("nan")},
        {"rate": 0.5, "round_to": 0},
        {"rate": 0.5, "floor": 0},
        {"tolerance": 1.0},
        {"tolerance": -1.0, "evaluate": lambda _: 1.0},
        {"tolerance": float("nan"), "evaluate": lambda _: 1.0},
        {"rate": 0.5, "rates": {"*": 2.0}},
        {"rate": 0.5, "scope": "local"},
    ],
    ids=lambda wish: " ".join(f"{k}={v}" for k, v in wish.items() if k != "evaluate"),
)
def test_targets_that_make_no_sense(wish: dict[str, float]) -> None:
    graph = chain(4, 2)
    with pytest.raises(TargetError):
        prunus.plan(graph, ramp(graph), **wish)  # type: ignore[arg-type]


@pytest.mark.parametrize("wish", [{"protect": ["conv9*"]}, {"rates": {"nothing": 0.5}}])
def test_a_pattern_that_matches_nothing_is_named(wish: dict[str, object]) -> None:
    graph = chain(4, 2)
    with pytest.raises(PlanError, match=r"conv9|nothing"):
        prunus.plan(graph, ramp(graph), rate=0.5, **wish)  # type: ignore[arg-type]


@pytest.mark.parametrize("scores", [torch.zeros(3), torch.zeros(5), torch.tensor([0, 1, float("nan"), 2])])
def test_scores_that_do_not_fit(scores: Tensor) -> None:
    with pytest.raises(PlanError, match="score"):
        prunus.plan(chain(4, 2), scores, rate=0.5)


@pytest.mark.parametrize("lost_per_channel", [0.0, 0.3, 2.0])
def test_the_search_stays_within_the_tolerance(lost_per_channel: float) -> None:
    graph = chain(16, 16, 2)
    before = [p.clone() for p in graph.model.parameters()]

    def evaluate(model: Any) -> float:
        return 90.0 - lost_per_channel * (32 - model[0].out_channels - model[1].out_channels)

    plan = prunus.plan(graph, ramp(graph), tolerance=3.0, evaluate=evaluate)
    assert evaluate(prunus.compact(graph.model, plan)) >= 87.0
    best = max((t.rate for t in plan.trials if t.accepted), default=0.0)
    assert all(t.rate > best for t in plan.trials if not t.accepted)
    assert kept(plan) == kept(prunus.plan(graph, ramp(graph), rate=best))
    assert plan.removed == {0.0: 30, 0.3: 10, 2.0: 0}[lost_per_channel]
    assert prunus.Plan.from_json(plan.to_json()).trials == plan.trials
    assert all(torch.equal(a, b) for a, b in zip(before, graph.model.parameters()))


def test_a_model_without_channels_gives_an_empty_plan() -> None:
    graph = prunus.trace(nn.Sequential(nn.Conv2d(3, 2, 1)), torch.zeros(1, 3, 4, 4))
    scores = torch.zeros(0)
    with pytest.warns(UserWarning, match="Only 0 channels of Sequential go"):
        assert prunus.plan(graph, scores, rate=0.5).removed == 0
    with pytest.raises(TargetError, match="smallest"):
        prunus.plan(graph, scores, macs=0.5)


def test_equal_scores_are_decided_by_order() -> None:
    graph = chain(8, 8, 2)
    plans = [prunus.plan(graph, torch.zeros(16), rate=0.5, scope=s) for s in ("uniform", "global")]
    assert plans[0].groups[0].removed == (0, 1, 2, 3)
    assert np.sum([len(g.removed) for g in plans[1].groups]) == 8


def test_monotone_in_the_rate(resnet: ChannelGraph) -> None:
    scores = prunus.scores.random(resnet)
    check: Callable[[float], int] = lambda r: prunus.plan(resnet, scores, rate=r, scope="global").removed  # noqa: E731
    assert [check(r) for r in (0.1, 0.3, 0.6)] == [
        int(r * resnet.num_channels + 1e-9) for r in (0.1, 0.3, 0.6)
    ]
