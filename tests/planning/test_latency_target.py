"""A time as a target, by arithmetic: what is asked for, and what layers lose."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.measure.machines import Arithmetic, chain
from torch import nn

import prunus
from prunus import models
from prunus.errors import TargetError
from prunus.measure.shapes import timed_layers
from prunus.planning.latency_target import losses_of, lost, wanted
from prunus.planning.space import Space, space_for
from prunus.planning.width_search import Clocked
from prunus.plans.plan import Plan

EXAMPLE = torch.zeros(1, 3, 8, 8)


def space_of(model: nn.Module, seed: int = 0) -> Space:
    graph = prunus.trace(model, EXAMPLE)
    scores = torch.rand(graph.num_channels, generator=torch.Generator().manual_seed(seed))
    return space_for(graph, scores, 16, 1, (), {}, False, stairs=True)[0]


def clocked(space: Space, machine: Arithmetic) -> Clocked:
    layers = timed_layers(space.graph)
    tables = machine.tables(layers.shapes)
    return Clocked(
        space.graph,
        layers,
        [tables[shape] for shape in layers.shapes],
        machine.of(space.graph.model, EXAMPLE),
    )


def test_loss_is_the_sum_of_the_lowest_scores() -> None:
    space = space_of(chain(48))
    sorted_scores = sorted(space.scores[space.graph.groups[0].channels].tolist())
    for level, value in zip(space.levels[0].tolist(), lost(space, 0, space.scores).tolist()):
        assert value == pytest.approx(sum(sorted_scores[: 48 - level]))


@pytest.mark.parametrize("across", [True, False])
def test_measured_losses_stand_for_themselves(across: bool) -> None:
    space = space_of(chain(48, 64))
    clock = clocked(space, Arithmetic())
    measured = tuple(np.linspace(3.0, 0.0, group.size + 1) ** 2 for group in space.graph.groups)
    found = losses_of(replace(space, losses=measured), clock, across)
    for losses, levels, whole in zip(found, space.levels, measured):
        np.testing.assert_array_equal(losses, whole[levels])


def test_losses_within_layers_are_squares_of_shares_weighted_by_time() -> None:
    space = space_of(chain(48, 64))
    clock = clocked(space, Arithmetic())
    for group, losses in enumerate(losses_of(space, clock, across=False)):
        channels = space.scores[space.graph.groups[group].channels]
        narrow = clock.full.copy()
        narrow[group] = space.levels[group][0]
        time = clock.of(clock.full) - clock.of(narrow)
        for level, value in zip(space.levels[group].tolist(), losses.tolist()):
            assert value == pytest.approx(
                time
                * (
                    sorted(channels.tolist())[: len(channels) - level]
                    @ np.ones(len(channels) - level)
                    / channels.sum()
                )
                ** 2
            )


def test_layers_alike_lose_alike() -> None:
    graph = prunus.trace(chain(256, 256, 256, 256), EXAMPLE)
    plan = prunus.plan(graph, torch.ones(graph.num_channels), latency=0.5, runtime=Arithmetic())
    kept = [group.size - len(group.removed) for group in plan.groups]
    assert max(kept[:-1]) - min(kept[:-1]) <= 32


@pytest.mark.parametrize("slower", [1.0, 1.3, 0.8])
@pytest.mark.parametrize("name", ["chain", "resnet20"])
def test_what_was_asked_for_is_measured(name: str, slower: float) -> None:
    model = chain(128, 256, 256, 128) if name == "chain" else models.build(name).eval()
    graph = prunus.trace(model, EXAMPLE)
    machine = Arithmetic(slower=slower, overhead=0.01)
    plan = prunus.plan(graph, prunus.scores.norm(graph), latency=0.5, runtime=machine)
    dense, small = machine.of(model, EXAMPLE), slower * machine.of(prunus.compact(model, plan), EXAMPLE)
    assert small <= 0.5 * dense
    assert small >= (0.45 if name == "chain" else 0.35) * dense  # a narrow network has few stairs to stand on
    last = plan.timings[-1]
    assert any(timing.accepted for timing in plan.timings) and last.dense_ms == pytest.approx(dense)
    assert Plan.from_json(plan.to_json()).timings == plan.timings


def test_rounding_to_the_machine() -> None:
    graph = prunus.trace(chain(64, 64), EXAMPLE)
    plan = prunus.plan(
        graph, prunus.scores.norm(graph), macs=0.5, round_to="auto", runtime=Arithmetic(step=32)
    )
    assert all((group.size - len(group.removed)) % 32 == 0 for group in plan.groups)


def test_what_cannot_be_reached_is_said() -> None:
    graph = prunus.trace(chain(32, 32), EXAMPLE)
    with pytest.raises(
        TargetError,
        match=(
            r"latency=0\.001 cannot be reached in arithmetic: the quickest plan that was measured takes .*"
            r" ms of"
        ),
    ):
        prunus.plan(graph, prunus.scores.norm(graph), latency=0.001, runtime=Arithmetic())


@pytest.mark.parametrize("text", ["", "fast", "0.5s", "-1ms", "ms", "1.2.3ms", "1e999ms", "0", 0.0, -1.0])
def test_times_that_are_none(text: float | str) -> None:
    with pytest.raises(TargetError, match=rf"latency is a share up to .*, not {re.escape(repr(text))}\."):
        wanted(text)


def test_times() -> None:
    assert wanted("12ms").of(100) == wanted("12 ms").of(100) == wanted(12.0).of(100) == 12
    assert wanted(0.5).of(100) == wanted("0.5").of(100) == 50
    assert wanted("0.5ms").of(100) == wanted("5e-1 ms").of(100) == 0.5
    assert wanted("1e1").of(100) == 10
