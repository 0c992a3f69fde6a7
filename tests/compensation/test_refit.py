"""Refitting: against plain least squares written out, and what it promises on networks of all kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from tests.networks import Spec, networks
from tests.paint.nets import Halves, Net, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.compensation import refit, restore_means
from prunus.errors import PlanError
from prunus.plans.plan import make_plan

DRAW = torch.Generator().manual_seed(0)
INPUTS = [torch.randn(8, 3, 9, 9, generator=DRAW, dtype=torch.float64) for _ in range(4)]


def chain(m: nn.Module, x: Tensor) -> Tensor:
    return m.head(F.adaptive_avg_pool2d(m.bn(m.b(m.a(x).relu())).relu(), 2).flatten(1))


def network(bias: bool = True, **changes: nn.Module) -> nn.Module:
    layers = {
        "a": nn.Conv2d(3, 8, 3),
        "b": nn.Conv2d(8, 6, 3, bias=bias),
        "bn": nn.BatchNorm2d(6),
        "head": nn.Linear(24, 4),
    } | changes
    model = randomised(Net(chain, **layers))
    model.bn.running_var.fill_(2.0)
    return model


def half_of(model: nn.Module, inputs: Any, seed: int = 0) -> prunus.Plan:
    graph = prunus.trace(model, inputs)
    return prunus.plan(graph, prunus.scores.random(graph, seed), rate=0.5)


def error(model: nn.Module, other: nn.Module, batches: list[Tensor] = INPUTS) -> float:
    with torch.no_grad():
        return float(sum((model(x) - other(x)).square().mean() for x in batches)) / len(batches)


def windows(x: Tensor, kernel: int) -> Tensor:
    return F.unfold(x, kernel).transpose(1, 2).flatten(0, 1)


@torch.no_grad()
def test_layer_by_layer_it_is_plain_least_squares() -> None:
    model = network()
    plan = half_of(model, INPUTS[0])
    fitted = refit(model, plan, INPUTS, ridge=1e-12)
    masked = prunus.mask(model, plan)
    x = torch.cat(INPUTS)
    kept_a = torch.from_numpy(np.flatnonzero(masked.a.weight.flatten(1).abs().sum(1).numpy()))
    kept_b = torch.from_numpy(np.flatnonzero(masked.b.weight.flatten(1).abs().sum(1).numpy()))
    assert len(kept_a) == 4 and len(kept_b) == 3
    hidden, wanted = model.a(x).relu(), model.b(model.a(x).relu())
    ones = torch.ones(len(x) * 25, 1, dtype=torch.float64)
    solution = torch.linalg.lstsq(
        torch.cat([windows(hidden[:, kept_a], 3), ones], 1), wanted.flatten(2).transpose(1, 2).flatten(0, 1)
    ).solution
    assert torch.allclose(fitted.b.weight[kept_b][:, kept_a].flatten(1), solution[:-1].T[kept_b], atol=1e-6)
    assert torch.allclose(fitted.b.bias[kept_b], solution[-1][kept_b], atol=1e-6)
    # the head sees what the refitted layer makes, and is asked for what the original made
    small = prunus.compact(fitted, plan)
    features = F.adaptive_avg_pool2d(small.bn(small.b(small.a(x).relu())).relu(), 2).flatten(1)
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    solution = torch.linalg.lstsq(torch.cat([features, ones], 1), model(x)).solution
    assert torch.allclose(small.head.weight, solution[:-1].T, atol=1e-5)


def test_a_batch_norm_takes_the_shift_of_a_layer_without_bias() -> None:
    biased, free = network(), network(bias=False)
    free.load_state_dict({k: v for k, v in biased.state_dict().items() if k != "b.bias"})
    with torch.no_grad():
        biased.b.bias.zero_()
    plan = half_of(biased, INPUTS[0])
    one = prunus.compact(refit(biased, plan, INPUTS), plan)
    plan = half_of(free, INPUTS[0])
    other = prunus.compact(refit(free, plan, INPUTS), plan)
    assert error(one, other) < 1e-20
    assert not torch.equal(other.bn.running_mean, prunus.compact(free, plan).bn.running_mean)


@pytest.mark.parametrize("compensate", [refit, restore_means])
def test_it_comes_nearer_to_the_original(compensate: Callable[..., nn.Module]) -> None:
    model = network()
    plan = half_of(model, INPUTS[0])
    assert error(prunus.compact(compensate(model, plan, INPUTS), plan), model) < 0.7 * error(
        prunus.compact(model, plan), model
    )


def test_what_can_be_expressed_by_the_rest_costs_nothing() -> None:
    model = network(a=nn.Conv2d(3, 8, 3))
    with torch.no_grad():
        model.a.weight[4:] = 2 * model.a.weight[:4]
        model.a.bias[4:] = 2 * model.a.bias[:4]
    graph = prunus.trace(model, INPUTS[0])
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[next(axis.channels for axis in graph.axes if (axis.name, axis.dim) == ("a.weight", 0))[4:]] = True
    plan = make_plan(graph, removed)
    small = prunus.compact(refit(model, plan, INPUTS, ridge=1e-12), plan)
    assert small.a.out_channels == 4
    assert error(small, model) < 1e-16


def test_the_model_stays_as_it_was() -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = half_of(model, INPUTS[0])
    fitted = refit(model, plan, INPUTS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (
        model.training and fitted.training and not any(module._forward_hooks for module in fitted.modules())
    )


def test_grouped_convolutions_are_fitted_group_by_group() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        return m.head(m.c(m.a(x).relu()).relu().mean((2, 3)))

    model = randomised(Net(run, a=nn.Conv2d(3, 8, 3), c=nn.Conv2d(8, 6, 3, groups=2), head=nn.Linear(6, 4)))
    plan = half_of(model, INPUTS[0])
    fitted = refit(model, plan, INPUTS, ridge=1e-12)
    masked, x = prunus.mask(model, plan), torch.cat(INPUTS)
    with torch.no_grad():
        hidden, wanted = masked.a(x).relu(), model.c(model.a(x).relu())
        kept = torch.from_numpy(np.flatnonzero(masked.a.weight.flatten(1).abs().sum(1).numpy()))
        made = torch.from_numpy(np.flatnonzero(masked.c.weight.flatten(1).abs().sum(1).numpy()))
        ones = torch.ones(len(x) * 25, 1, dtype=torch.float64)
        for group in range(2):
            mine, rows = kept[kept // 4 == group], made[made // 3 == group]
            samples = torch.cat([windows(hidden[:, mine], 3), ones], 1)
            solution = torch.linalg.lstsq(
                samples, wanted[:, rows].flatten(2).transpose(1, 2).flatten(0, 1)
            ).solution
            assert torch.allclose(fitted.c.weight[rows][:, mine % 4].flatten(1), solution[:-1].T, atol=1e-6)
    assert error(prunus.compact(fitted, plan), model) < error(prunus.compact(model, plan), model)


def test_the_traced_fallback_is_refitted_too() -> None:
    model = randomised(Halves())
    plan = half_of(model, INPUTS[0])
    small = prunus.compact(refit(model, plan, INPUTS), plan)
    assert small.prunus.mode == "traced"
    assert error(small, model) < error(prunus.compact(model, plan), model)


def test_upsampling_networks_are_refitted() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        skip = m.a(x).relu()
        return m.out(torch.cat([m.up(m.down(skip).relu()).relu(), skip], 1))

    layers = {
        "a": nn.Conv2d(3, 8, 3, padding=1),
        "down": nn.Conv2d(8, 8, 2, stride=2),
        "up": nn.ConvTranspose2d(8, 6, 2, stride=2),
    }
    model = randomised(Net(run, **layers, out=nn.Conv2d(14, 2, 1)))
    batches = [x[:, :, :8, :8] for x in INPUTS]
    plan = half_of(model, batches[0])
    small = prunus.compact(refit(model, plan, batches), plan)
    assert small.up.in_channels < 8 and small.up.out_channels < 6
    assert error(small, model, batches) < 0.8 * error(prunus.compact(model, plan), model, batches)


@settings(max_examples=10)
@given(networks(most=2))
def test_on_random_networks_it_runs_and_compacts_exactly(spec: Spec) -> None:
    model, inputs = spec.build()
    graph = prunus.trace(model, inputs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only .* channels of")  # of networks that are mostly pinned
        plan = prunus.plan(graph, prunus.scores.random(graph, spec.seed), rate=0.5)
    fitted = refit(model, plan, [inputs])
    small = prunus.compact(fitted, plan, check=False)
    prunus.verify(fitted, plan, small)  # raises where an exact plan is not


def test_steps_are_told() -> None:
    model = network()
    told: list[tuple[int, int]] = []
    refit(model, half_of(model, INPUTS[0]), INPUTS, on_step=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_inputs_must_be_there_and_readable_again() -> None:
    model = network()
    plan = half_of(model, INPUTS[0])
    with pytest.raises(PlanError, match="at least one is needed"):
        refit(model, plan, [])
    with pytest.raises(PlanError, match="list of batches instead of an iterator"):
        refit(model, plan, iter(INPUTS))


def branches(m: nn.Module, x: Tensor, other: Tensor) -> Tensor:
    """Two inputs through the same layers, as in siamese networks, the second of another size."""
    first, second = (m.bn(m.b(m.a(one).relu())).relu().mean((2, 3)) for one in (x, other))
    return m.head((first - second).abs())


@torch.no_grad()
def test_a_shared_layer_is_fitted_to_what_it_gets_in_all_its_calls() -> None:
    layers = {"a": nn.Conv2d(3, 8, 3), "b": nn.Conv2d(8, 6, 3, bias=False), "bn": nn.BatchNorm2d(6)}
    model = randomised(Net(branches, **layers, head=nn.Linear(6, 4)))
    pairs = [(x, x.roll(1, 0)[..., 1:] * 2) for x in INPUTS]
    graph = prunus.trace(model, pairs[0])
    plan = prunus.plan(graph, prunus.scores.random(graph, 0), rate=0.5)
    fitted, masked = refit(model, plan, pairs, ridge=1e-12), prunus.mask(model, plan)
    kept = torch.from_numpy(np.flatnonzero(masked.a.weight.flatten(1).abs().sum(1).numpy()))
    made = torch.from_numpy(np.flatnonzero(masked.b.weight.flatten(1).abs().sum(1).numpy()))
    seen = [model.a(one).relu() for pair in pairs for one in pair]
    rows = torch.cat([windows(hidden[:, kept], 3) for hidden in seen])
    wanted = torch.cat([model.b(hidden).flatten(2).transpose(1, 2).flatten(0, 1) for hidden in seen])
    solution = torch.linalg.lstsq(torch.cat([rows, torch.ones_like(rows[:, :1])], 1), wanted).solution
    assert torch.allclose(fitted.b.weight[made][:, kept].flatten(1), solution[:-1].T[made], atol=1e-6)
    shift = (model.bn.running_mean - solution[-1])[made]
    assert torch.allclose(fitted.bn.running_mean[made], shift, atol=1e-6)
    small, dense = prunus.compact(fitted, plan), prunus.compact(model, plan)
    apart = [sum(float((net(*p) - model(*p)).square().mean()) for p in pairs) for net in (small, dense)]
    assert apart[0] < 0.5 * apart[1]


def test_what_shared_layers_get_is_looked_at_by_every_score() -> None:
    layers = {"a": nn.Conv2d(3, 8, 3), "b": nn.Conv2d(8, 6, 3, bias=False), "bn": nn.BatchNorm2d(6)}
    model = randomised(Net(branches, **layers, head=nn.Linear(6, 4)))
    pairs = [(x, x.roll(1, 0)) for x in INPUTS]
    graph = prunus.trace(model, pairs[0])
    hidden = next(group.channels for group in graph.groups if group.name == "a")
    for score in (prunus.scores.reconstruction, prunus.scores.thinet, prunus.scores.nisp):
        found = score(graph, pairs)
        assert len(set(found[hidden].tolist())) == 8, score
        swapped = score(graph, [(other, x) for x, other in pairs])
        assert torch.allclose(found, swapped, rtol=1e-6), score  # no call counts more than another
    assert len(set(prunus.scores.similarity(graph).scores[hidden].tolist())) > 2


def test_layers_whose_weights_others_read_are_left_alone() -> None:
    """A decoder that is tied to a layer would get what makes up for the layer's inputs."""

    def run(m: nn.Module, x: Tensor) -> Tensor:
        code = m.second(m.first(x).relu()).relu()
        return m.last(nn.functional.conv_transpose2d(code, m.second.weight).relu())

    model = randomised(Net(run, first=nn.Conv2d(3, 8, 3), second=nn.Conv2d(8, 6, 3), last=nn.Conv2d(8, 2, 1)))
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64)
    plan = random_plan(prunus.trace(model, x))
    refitted = refit(model, plan, [x])
    assert torch.equal(refitted.get_parameter("second.weight"), model.get_parameter("second.weight"))
    assert not torch.equal(refitted.get_parameter("last.weight"), model.get_parameter("last.weight"))
