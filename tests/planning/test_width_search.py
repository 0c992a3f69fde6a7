"""Widths that are placed on the stairs of a machine whose clock is arithmetic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from tests.measure.machines import Arithmetic, chain
from torch import nn

import prunus
from prunus.deploy.inputs import Inputs
from prunus.measure.machine import Stopwatch
from prunus.measure.shapes import timed_layers
from prunus.planning.latency_target import lost
from prunus.planning.space import Space, space_for
from prunus.planning.width_search import Choices, Clocked, place
from prunus.plans.plan import Plan, make_plan

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


@pytest.mark.parametrize("widths", [(48, 64, 32), (16, 40, 80, 64)])
def test_prediction_is_the_sum_of_the_layers(widths: tuple[int, ...]) -> None:
    machine = Arithmetic()
    space = space_of(chain(*widths))
    clock = clocked(space, machine)
    for numbers in product(*(levels[:: max(1, len(levels) // 3)] for levels in space.levels)):
        kept = np.array(numbers)
        small = prunus.compact(space.graph.model, make_plan(space.graph, space.removed(kept)), check=False)
        assert clock.of(kept) == pytest.approx(machine.of(small, EXAMPLE))


def test_what_layers_do_not_explain_goes_with_the_activations() -> None:
    space = space_of(chain(64, 64))
    clock = clocked(space, Arithmetic(overhead=5.0))
    small = space.smallest()
    graph = space.graph
    share = graph.costs.activation_bytes(small) / graph.costs.activation_bytes(clock.full)
    assert clock.of(clock.full) == pytest.approx(clock.of_layers(clock.full).sum() + 5.0)
    assert clock.of(small) == pytest.approx(clock.of_layers(small).sum() + 5.0 * share)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_nearly_as_good_as_trying_everything(seed: int, share: float) -> None:
    space = space_of(chain(48, 64, 96, 48), seed)
    clock = clocked(space, Arithmetic())
    losses = [lost(space, group, space.scores) for group in range(len(space.levels))]
    budget = share * clock.of(clock.full)

    def loss(kept: np.ndarray) -> float:
        return sum(float(losses[g][space.levels[g] == n][0]) for g, n in enumerate(kept))

    found = place(Choices(clock, space.levels, losses), budget)
    every = [np.array(numbers) for numbers in product(*space.levels)]
    best = min(loss(kept) for kept in every if clock.of(kept) <= budget)
    assert clock.of(found) <= budget
    assert best <= loss(found) <= 1.1 * best + 1e-9


class Unsteady(Arithmetic):
    """Every other measurement of a plan says that it takes a tenth less than it does."""

    @contextmanager
    def stopwatch(self, dense: nn.Module, inputs: Inputs) -> Iterator[Stopwatch]:
        with super().stopwatch(dense, inputs) as timed:

            def lucky(*networks: nn.Module) -> list[float]:
                whole, *others = timed(*networks)
                return [whole, *((0.9 if self.measured % 2 else 1.0) * other for other in others)]

            yield lucky


def test_a_lucky_measurement_is_not_taken_for_a_quick_plan() -> None:
    model = chain(128, 256, 256, 128)
    graph, machine = prunus.trace(model, EXAMPLE), Unsteady(slower=1.08)
    plan = prunus.plan(graph, prunus.scores.norm(graph), latency=0.5, runtime=machine)
    assert 1.08 * machine.of(prunus.compact(model, plan), EXAMPLE) <= 0.5 * machine.of(model, EXAMPLE)


def test_widths_stand_on_stairs_and_lose_less_than_a_budget_of_macs() -> None:
    model = chain(128, 256, 256, 128)
    graph = prunus.trace(model, EXAMPLE)
    machine, scores = Arithmetic(), prunus.scores.norm(graph)
    plan = prunus.plan(graph, scores, latency=0.5, runtime=machine, scope="global")
    assert all(
        (size - len(group.removed)) % 16 == 0 or size - len(group.removed) == 8
        for group in plan.groups
        for size in [group.size]
    )
    reached = machine.of(prunus.compact(model, plan), EXAMPLE)
    others = [prunus.plan(graph, scores, macs=macs / 100, scope="global") for macs in range(5, 100, 5)]
    as_quick = [
        other for other in others if machine.of(prunus.compact(model, other), EXAMPLE) <= reached * 1.001
    ]
    worth = scores.numpy()
    assert worth[plan.removed_in(graph)].sum() < min(
        worth[other.removed_in(graph)].sum() for other in as_quick
    )


def test_protected_layers_and_rounding_are_kept() -> None:
    graph = prunus.trace(chain(64, 64, 64), EXAMPLE)
    plan = prunus.plan(
        graph,
        prunus.scores.norm(graph),
        latency=0.6,
        runtime=Arithmetic(),
        protect=["0"],
        round_to=32,
        floor=20,
    )
    kept = [group.size - len(group.removed) for group in plan.groups]
    assert kept[0] == 64 and all(number in (32, 64) for number in kept[1:])


def test_plans_from_before_have_no_timings() -> None:
    graph = prunus.trace(chain(32), EXAMPLE)
    text = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5).to_json()
    data = {name: value for name, value in json.loads(text).items() if name not in ("timings", "sha256")} | {
        "prunus_plan": 1
    }
    text = json.dumps(data)
    assert "timings" not in text
    assert replace(Plan.from_json(text)).timings == ()
