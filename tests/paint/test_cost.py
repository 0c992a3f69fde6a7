"""Costs of a plan against torch's own counter, against the models that are really built, and against a slow
simulation.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.paint.nets import Halves, Net, random_plan
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import prunus
from prunus.models import lenet5, resnet20, vgg16_bn
from prunus.paint.graph import ChannelGraph


def mixed() -> nn.Module:
    """Grouped, depthwise, transposed, three-dimensional features, and a matrix product of activations."""

    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = m.up(m.deep(m.grouped(m.stem(x)))).relu_()
        tokens = m.tokens(x.flatten(2).transpose(1, 2))
        return m.head((tokens @ tokens.transpose(1, 2) @ tokens).mean(1))

    return Net(
        run,
        stem=nn.Conv2d(3, 8, 3, padding=1, bias=False),
        grouped=nn.Conv2d(8, 8, 3, groups=2),
        deep=nn.Conv2d(8, 16, 3, groups=8, stride=2),
        up=nn.ConvTranspose2d(16, 12, 2, stride=2),
        tokens=nn.Linear(12, 10),
        head=nn.Linear(10, 3),
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet5": (lenet5, (2, 1, 28, 28)),
    "resnet20": (resnet20, (1, 3, 32, 32)),
    "projection": (lambda: resnet20(shortcut="projection"), (3, 3, 32, 32)),
    "vgg16_bn": (vgg16_bn, (1, 3, 32, 32)),
    "mixed": (mixed, (2, 3, 14, 14)),
    "halves": (Halves, (2, 3, 9, 9)),
}


def example(name: str) -> tuple[nn.Module, torch.Tensor]:
    build, shape = MODELS[name]
    torch.manual_seed(0)
    return build().eval(), torch.randn(shape)


def flop_counter_macs(model: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() // 2


def tensor_bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def slow_peak(graph: ChannelGraph) -> int:
    """At every operator, add up what lives: storages that were born before and are used at or after it,
    parameters aside.
    """
    sources = {s.tensor.untyped_storage()._cdata for s in graph.sources}
    uses: dict[int, list[int]] = {}
    size: dict[int, int] = {}
    for i, record in enumerate(graph.records):
        for tensor in (
            record.tensors
        ):  # what enters an operator was there from the start, unless an earlier operator made it
            key = tensor.untyped_storage()._cdata
            size.setdefault(key, tensor.numel() * tensor.element_size())
            uses.setdefault(key, [0]).append(i)
        for tensor in record.outputs:
            key = tensor.untyped_storage()._cdata
            size.setdefault(key, tensor.numel() * tensor.element_size())
            uses.setdefault(key, []).append(i)
    alive = [
        sum(size[k] for k, at in uses.items() if k not in sources and min(at) <= i <= max(at))
        for i in range(len(graph.records))
    ]
    return max(alive)


@pytest.mark.parametrize("name", MODELS)
def test_costs_of_the_dense_model(name: str) -> None:
    model, x = example(name)
    cost = prunus.trace(model, x).cost()
    assert cost.macs == flop_counter_macs(model, x)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.bytes == tensor_bytes(model)
    assert cost.peak_activation_bytes == slow_peak(prunus.trace(model, x))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_costs_of_a_plan_are_those_of_the_compact_model(name: str, seed: int) -> None:
    model, x = example(name)
    graph = prunus.trace(model, x)
    plan = random_plan(graph, rate=0.3 + 0.4 * seed, seed=seed, scope=("uniform", "global")[seed])
    small = prunus.compact(model, plan, check=False)
    cost = graph.cost(plan)
    assert plan.before == graph.cost()
    assert plan.after == cost
    assert cost.macs == flop_counter_macs(small, x)
    assert cost.params == sum(p.numel() for p in small.parameters())
    assert cost.bytes == tensor_bytes(small)
    again = prunus.trace(small, x)
    assert (again.cost().macs, again.cost().params, again.cost().bytes) == (
        cost.macs,
        cost.params,
        cost.bytes,
    )
    if small.prunus.mode == "eager":
        assert again.cost().peak_activation_bytes == cost.peak_activation_bytes == slow_peak(again)


def test_peak_activation_by_hand() -> None:
    """Two convolutions and an in-place ReLU: the first conv's output and the second's are the largest pair
    that lives together.
    """
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1))
    graph = prunus.trace(model, torch.zeros(1, 3, 4, 4))
    assert graph.cost().peak_activation_bytes == (8 + 6) * 16 * 4
    plan = prunus.plan(graph, prunus.scores.norm(graph), rates={"0": 0.75, "2": 0.5})
    assert plan.after.peak_activation_bytes == max(3 + 2, 2 + 3, 3 + 2) * 16 * 4


def test_layers_give_widths_shapes_and_shares() -> None:
    model, x = example("lenet5")
    graph = prunus.trace(model, x)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rates={"conv1": 0.5, "fc1": 0.2})
    layers = {layer.name: layer for layer in graph.layers(plan)}
    assert list(layers) == ["conv1", "conv2", "fc1", "fc2"]
    assert [(y.width_before, y.width_after) for y in layers.values()] == [
        (20, 10),
        (50, 50),
        (500, 400),
        (10, 10),
    ]
    assert [y.op for y in layers.values()] == ["convolution", "convolution", "linear", "linear"]
    conv2 = layers["conv2"]
    assert conv2.weight_shape == (50, 10, 5, 5)
    assert conv2.output_shape == (2, 50, 8, 8)
    assert (conv2.macs_before, conv2.macs_after) == (2 * 64 * 50 * 20 * 25, 2 * 64 * 50 * 10 * 25)
    assert (conv2.params_before, conv2.params_after) == (50 * 20 * 25 + 50, 50 * 10 * 25 + 50)
    assert sum(y.macs_after for y in layers.values()) == plan.after.macs
    assert sum(y.params_after for y in layers.values()) == plan.after.params
    assert all(y.width_before == y.width_after and y.macs_before == y.macs_after for y in graph.layers())


def test_layers_of_a_product_without_weights() -> None:
    graph = prunus.trace(*example("mixed"))
    assert sum(layer.macs_before for layer in graph.layers()) == graph.cost().macs
    assert "product" in {layer.op for layer in graph.layers()}


def test_tied_weights_count_once_and_their_use_twice() -> None:
    one = nn.Conv2d(4, 4, 1, bias=False)
    graph = prunus.trace(nn.Sequential(one, one), torch.zeros(1, 4, 2, 2))
    assert graph.cost().params == 16
    assert graph.cost().macs == 2 * 16 * 4
