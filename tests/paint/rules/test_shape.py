"""Operators that give a tensor another shape in place: what was recorded of it before stays true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.paint.nets import Net, channels, difference, pruned, random_plan, randomised
from torch import Tensor, nn

import prunus

WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "transpose": lambda s, x: s.c(s.a(x).flatten(2).transpose_(1, 2)),
    "swapaxes": lambda s, x: s.c(s.a(x).flatten(2).swapaxes_(1, 2)),
    "swapdims": lambda s, x: s.c(s.a(x).flatten(2).swapdims_(1, 2)),
    "t": lambda s, x: s.c(s.a(x).mean((2, 3)).t_().t()),
    "squeeze": lambda s, x: s.c(s.a(x).mean((2, 3), keepdim=True).squeeze_(3).squeeze_(2)),
    "squeeze all": lambda s, x: s.c(s.a(x).mean((2, 3), keepdim=True).squeeze_()),
    "unsqueeze": lambda s, x: s.c(s.a(x).mean((2, 3)).unsqueeze_(1)),
    "unsqueeze and back": lambda s, x: s.c(s.a(x).unsqueeze_(0).relu_().squeeze_(0).mean((2, 3))),
    "read before": lambda s, x: (lambda h: s.c(h.mean(2)) + s.c(h.transpose_(1, 2)).sum(1))(
        s.a(x).flatten(2)
    ),
}


def net(forward: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    return randomised(Net(forward, a=nn.Conv2d(3, 8, 1), c=nn.Linear(8, 4)))


@pytest.mark.parametrize("how", WAYS)
def test_the_own_class_follows_a_shape_that_changes_in_place(how: str) -> None:
    model, x = net(WAYS[how]), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    graph = prunus.trace(model, x)
    plan = random_plan(graph)
    small = prunus.compact(model, plan)
    assert plan.removed == 4 and plan.exact and small.prunus.mode == "eager"
    assert difference(prunus.mask(model, plan), small, x) < 1e-12


@pytest.mark.parametrize("how", WAYS)
def test_records_keep_the_shapes_that_there_were(how: str) -> None:
    graph = prunus.trace(net(WAYS[how]), torch.randn(2, 3, 4, 5, dtype=torch.float64))
    (convolution,) = [record for record in graph.records if record.operator == "convolution"]
    assert tuple(convolution.outputs[0].shape) == (2, 8, 4, 5)
    for record in graph.records:
        for tensor, paint in zip((*record.tensors, *record.outputs), (*record.inputs, *record.paints)):
            assert all(len(layer.labels) == tensor.shape[layer.axis] for layer in paint)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_layers_with_the_batch_first_keep_their_class(kind: type[nn.Module]) -> None:
    layers = {"a": nn.Conv2d(3, 8, 1), "r": kind(8, 6, batch_first=True), "c": nn.Linear(6, 4)}
    model, x = (
        randomised(Net(lambda s, x: s.c(s.r(s.a(x).flatten(2).transpose(1, 2))[0]), **layers)),
        torch.randn(2, 3, 3, 3, dtype=torch.float64),
    )
    plan = random_plan(prunus.trace(model, x))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and difference(prunus.mask(model, plan), small, x) < 1e-12


def test_a_traced_module_follows_a_shape_that_changes_in_place() -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        h = s.a(x).flatten(2).transpose_(1, 2).relu_()
        return s.c(h.reshape(len(h), -1, 8).mean(1))  # the literal needs the traced graph

    model, x = net(forward), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    plan = random_plan(prunus.trace(model, x))
    small = prunus.compact(model, plan)
    assert plan.removed == 4 and small.prunus.mode == "traced"
    assert difference(prunus.mask(model, plan), small, torch.randn(3, 3, 4, 5, dtype=torch.float64)) < 1e-12


IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def chain(*layers: nn.Module, head: nn.Module | None = None) -> nn.Module:
    return randomised(nn.Sequential(*layers, head if head is not None else nn.Identity()))


def test_equal_split_couples_slot_j_and_unequal_split_does_not() -> None:
    def equal(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        a, b = m.a(x).chunk(2, 1)
        return m.b(a) + m.c(b)

    def unequal(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        a, b = m.a(x).split([2, 4], 1)
        return m.b(a) + m.c(b)

    graph = prunus.trace(
        randomised(Net(equal, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(3, 2, 1), c=nn.Conv2d(3, 2, 1))), IMAGE
    )
    assert channels(graph, "a.weight") == [0, 1, 2, 0, 1, 2]
    graph = prunus.trace(
        randomised(Net(unequal, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(2, 2, 1), c=nn.Conv2d(4, 2, 1))), IMAGE
    )
    assert channels(graph, "a.weight") == [0, 1, 2, 3, 4, 5]
    assert channels(graph, "b.weight", 1) == [0, 1]
    assert channels(graph, "c.weight", 1) == [2, 3, 4, 5]
    assert [g.name for g in graph.groups] == ["a[0]", "a[1]"]


def test_a_ragged_split_is_pinned() -> None:
    ragged = Net(lambda m, x: sum(p.sum((1, 2, 3)) for p in m.a(x).split(2, 1)), a=nn.Conv2d(3, 5, 1))
    graph = prunus.trace(randomised(ragged), IMAGE)
    assert graph.num_channels == 0
    assert "split into pieces of unequal length" in {p.reason for p in graph.pinned}


def test_slice_takes_a_part() -> None:
    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        return m.b(x[:, :2]) + m.b(x[:, -2:])

    graph = prunus.trace(randomised(Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(2, 2, 1))), IMAGE)
    assert channels(graph, "a.weight") == [0, 1, 2, 3, 0, 1]
    assert channels(graph, "b.weight", 1) == [0, 1]


@pytest.mark.parametrize(("start", "width"), [(0, 7), (1, 7), (2, 8)])
def test_a_slice_with_a_step_keeps_strides_whole(start: int, width: int) -> None:
    net = Net(
        lambda m, x: m.c(m.a(x)) + m.b(m.a(x)[:, start::3]),
        a=nn.Conv2d(3, width, 1),
        b=nn.Conv2d(len(range(start, width, 3)), 2, 1),
        c=nn.Conv2d(width, 2, 1),
    )
    model = randomised(net)
    graph = prunus.trace(model, IMAGE)
    assert channels(graph, "a.weight") == [0, 0, 0, 1, 1, 1, *[2] * (width - 6)]
    for seed in range(3):
        plan = random_plan(graph, seed=seed)
        small = prunus.compact(model, plan)
        assert small.prunus.mode == "eager" and plan.removed
        assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-6


@pytest.mark.parametrize("part", [slice(3, None, 2), slice(0, 4, 2), slice(-4, None, 2), slice(0, -1, 3)])
def test_any_other_slice_with_a_step_is_pinned(part: slice) -> None:
    width = len(range(6)[part])
    net = Net(lambda m, x: m.b(m.a(x)[:, part]), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(width, 2, 1))
    graph = prunus.trace(randomised(net), IMAGE)
    assert graph.num_channels == 0
    assert "sliced with a step" in {p.reason for p in graph.pinned}


def test_pixel_shuffle_and_unshuffle() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 2, 1)), IMAGE)
    assert channels(graph, "0.weight") == [0] * 4 + [1] * 4
    assert channels(graph, "2.weight", 1) == [0, 1]
    assert graph.groups[0].slots == 4
    graph = prunus.trace(chain(nn.Conv2d(3, 2, 1), nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 1)), IMAGE)
    assert channels(graph, "0.weight") == [0, 1]
    assert channels(graph, "2.weight", 1) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("how", ["module", "views"])
def test_channel_shuffle_couples_slot_j_of_every_group(how: str) -> None:
    def views(x: torch.Tensor) -> torch.Tensor:
        return x.view(2, 2, 3, 8, 8).transpose(1, 2).reshape(2, 6, 8, 8)

    shuffle = nn.ChannelShuffle(2) if how == "module" else views
    model = Net(lambda m, x: m.b(shuffle(m.a(x))), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1))
    graph = prunus.trace(randomised(model), IMAGE)
    assert channels(graph, "a.weight") == [0, 1, 2, 0, 1, 2]
    assert channels(graph, "b.weight", 1) == [0, 0, 1, 1, 2, 2]


def test_restriding_without_moving_anything_keeps_channels() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        pooled = m.a(x).mean((2, 3), keepdim=True)
        pooled.as_strided_(pooled.shape, (pooled.shape[1], 1, pooled.shape[1], pooled.shape[1]))
        return m.head(pooled.flatten(1))

    model = randomised(Net(forward, a=nn.Conv2d(3, 8, 1), head=nn.Linear(8, 5)))
    plan, _ = pruned(model, torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert plan.exact and plan.removed == 4


def test_taking_a_tensor_apart_by_strides_pins_it() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        pooled = m.a(x).mean((2, 3))
        return m.head(pooled.as_strided_((2, 8), (1, 2)))

    model = randomised(Net(forward, a=nn.Conv2d(3, 8, 1), head=nn.Linear(8, 5)))
    graph = prunus.trace(model, torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert graph.num_channels == 0
    assert any(p.reason == "taken apart by strides" for p in graph.pinned)


def test_a_reshape_that_mixes_channels_with_space_pins_at_every_size() -> None:
    """(N, H * W, C) -> (N, C, H, W) without a transpose: who meets whom depends on the size, and at some
    sizes it looks like a split.
    """

    def run(m: nn.Module, x: Tensor) -> Tensor:
        y = m.a(x)
        return m.b(y + m.q(y).flatten(2).transpose(1, 2).reshape(y.shape))

    for size in (2, 4, 8, 16):
        model = randomised(Net(run, a=nn.Conv2d(3, 16, 1), q=nn.Conv2d(16, 16, 1), b=nn.Conv2d(16, 2, 1)))
        assert prunus.trace(model, torch.zeros(2, 3, size, size, dtype=torch.float64)).num_channels == 0


def test_a_split_keeps_the_axis_that_holds_nothing_else() -> None:
    """Heads that are joined with a long batch are no longer axis to choose than the head's own, so that the
    batch changes nothing.
    """

    def run(m: nn.Module, x: Tensor) -> Tensor:
        tokens, batch, _ = x.shape
        q, k, v = (layer(x).reshape(tokens, batch * 2, 3).transpose(0, 1) for layer in (m.q, m.k, m.v))
        return m.o((q @ k.transpose(1, 2) @ v).transpose(0, 1).reshape(tokens, batch, 6))

    for batch in (1, 2, 9):
        model = randomised(
            Net(run, q=nn.Linear(4, 6), k=nn.Linear(4, 6), v=nn.Linear(4, 6), o=nn.Linear(6, 2))
        )
        graph = prunus.trace(model, torch.zeros(5, batch, 4, dtype=torch.float64))
        assert channels(graph, "q.weight") == channels(graph, "k.weight") == [0, 1, 2, 0, 1, 2]
        assert channels(graph, "v.weight") == channels(graph, "o.weight", 1) == [3, 4, 5, 3, 4, 5]
