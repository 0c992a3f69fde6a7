"""Widths by measured losses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.paint.nets import randomised
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.errors import TargetError
from prunus.paint.graph import ChannelGraph
from prunus.planning.counts import Channels, Counted
from prunus.planning.losses import curve


def chain() -> ChannelGraph:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    return prunus.trace(net.eval(), torch.zeros(1, 3, 8, 8))


def test_a_curve_goes_through_what_was_measured_and_never_falls_as_channels_go() -> None:
    found = curve(10, [7, 5, 2], [0.1, 0.3, 2.0])
    assert found.shape == (11,)
    assert found[[10, 7, 5, 2]] == pytest.approx([0.0, 0.1, 0.3, 2.0])
    assert (np.diff(found) <= 0).all()
    power = np.log(2.0 / 0.3) / np.log(5 / 2)  # of the width, between the last two
    assert found[1] == pytest.approx(2.0 * (2 / 1) ** power)
    assert found[0] == pytest.approx(2.0 * (2 / 0.5) ** power)


def test_where_nobody_looked_a_layer_does_not_look_cheap() -> None:
    """Losses that hardly grow as far as was measured grow with the inverse square of the width beyond."""
    found = curve(100, [50, 25], [0.1, 0.11])
    assert found[5] == pytest.approx(0.11 * (25 / 5) ** 2)
    assert curve(100, [50], [0.1])[10] == pytest.approx(0.1 * (50 / 10) ** 2)


def test_what_a_narrower_layer_seems_to_win_is_no_gain() -> None:
    found = curve(8, [6, 4, 2], [0.5, 0.2, -0.1])
    assert found[[6, 5, 4, 3, 2]] == pytest.approx(0.5) and found[8] == 0


def test_a_layer_of_one_channel_has_a_curve() -> None:
    assert curve(1, [], []).tolist() == [0, 0]


@pytest.mark.parametrize("what", ["macs", "params", "bytes"])
def test_costs_around_a_width_are_the_networks(what: str) -> None:
    graph = prunus.trace(models.resnet20(num_classes=3).eval(), torch.zeros(1, 3, 16, 16))
    counted = Counted(graph.costs, what)
    full = np.array([group.size for group in graph.groups])
    kept = np.maximum(1, full - np.arange(len(full)) % 5)
    assert counted.of(kept) == graph.costs.count(what, kept)
    for group, size in enumerate(full):
        levels = np.arange(1, size + 1)
        trials = np.repeat(kept[None], size, axis=0)
        trials[:, group] = levels
        wanted = np.array([graph.costs.count(what, one) for one in trials])
        found = counted.around(kept, group, levels)
        assert found - found[0] == pytest.approx(wanted - wanted[0])


def test_groups_that_share_a_layer_are_neighbours() -> None:
    assert [near.tolist() for near in Counted(chain().costs, "macs").neighbours()] == [[1], [0]]
    assert [len(near) for near in Channels(np.ones(2, dtype=bool)).neighbours()] == [0, 0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_no_widths_within_the_budget_lose_less(seed: int, share: float) -> None:
    graph, drawn = chain(), np.random.default_rng(seed)
    losses = [np.sort(drawn.random(group.size + 1) ** 2)[::-1] for group in graph.groups]
    for one in losses:
        one[-1] = 0
    plan = prunus.plan(graph, torch.arange(9.0), macs=share, scope="measured", losses=losses)
    kept = graph.kept(plan.removed_in(graph))
    budget = share * graph.costs.count("macs", np.array([5, 4]))
    every = itertools.product(range(1, 6), range(1, 5))
    best = min(
        losses[0][a] + losses[1][b] for a, b in every if graph.costs.count("macs", np.array([a, b])) <= budget
    )
    assert graph.costs.count("macs", kept) <= budget
    assert losses[0][kept[0]] + losses[1][kept[1]] == pytest.approx(best, rel=0.05)


def flat(graph: ChannelGraph, steep: int) -> list[NDArray[np.float64]]:
    """Losses of which those of one group alone are large."""
    return [
        np.linspace(100.0 if group.index == steep else 1.0, 0.0, group.size + 1) for group in graph.groups
    ]


@pytest.mark.parametrize("target", [{"macs": 0.5}, {"params": 0.5}, {"bytes": 0.5}, {"rate": 0.4}])
def test_a_layer_that_loses_much_stays_wide(target: dict[str, Any]) -> None:
    graph, scores = chain(), torch.arange(9.0)
    for steep in (0, 1):
        plan = prunus.plan(graph, scores, **target, scope="measured", losses=flat(graph, steep))
        even = prunus.plan(graph, scores, **target)
        kept, usual = (graph.kept(one.removed_in(graph)) for one in (plan, even))
        assert kept[steep] >= usual[steep] and kept[1 - steep] <= usual[1 - steep]
        assert plan.removed >= 3


def test_of_every_group_the_lowest_scores_go_and_limits_are_kept() -> None:
    graph, scores = chain(), torch.tensor([5.0, 1, 4, 2, 3, 9, 8, 7, 6])
    losses = flat(graph, 1)
    plan = prunus.plan(graph, scores, macs=0.6, scope="measured", losses=losses, floor=2, protect="2")
    gone = plan.removed_in(graph)
    assert not gone[5:].any() and gone[:5].sum() <= 3
    assert scores[:5][torch.from_numpy(gone[:5])].max() < scores[:5][torch.from_numpy(~gone[:5])].min()


def test_a_tolerance_takes_the_share_of_the_macs() -> None:
    graph = chain()
    asked: list[int] = []

    def metric(model: nn.Module) -> float:
        asked.append(sum(one.numel() for one in model.parameters()))
        return 100.0 if asked[-1] > 0.3 * asked[0] else 0.0

    plan = prunus.plan(
        graph,
        torch.arange(9.0),
        tolerance=1,
        evaluate=metric,
        scope="measured",
        losses=flat(graph, 0),
    )
    assert plan.removed and any(trial.accepted for trial in plan.trials)
    assert plan.after.params > 0.3 * plan.before.params


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        (None, "needs losses="),
        ([np.zeros(3)], "one array per group"),
        ([np.full(6, np.nan), np.zeros(5)], "finite"),
    ],
)
def test_losses_that_do_not_fit_are_refused(losses: Any, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        prunus.plan(chain(), torch.arange(9.0), macs=0.5, scope="measured", losses=losses)


def test_large_networks_are_searched_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from prunus.planning import losses as module

    monkeypatch.setattr(module, "MOST_LEVELS", 4)
    graph = prunus.trace(
        randomised(nn.Sequential(nn.Linear(4, 60), nn.ReLU(), nn.Linear(60, 2))), torch.zeros(1, 4)
    )
    scores: Tensor = torch.arange(60.0)
    plan = prunus.plan(graph, scores, macs=0.5, scope="measured", losses=[np.linspace(1, 0, 61)])
    assert plan.removed == 39  # 1, 21, 40 or 60 may stay; half are too few for 40
