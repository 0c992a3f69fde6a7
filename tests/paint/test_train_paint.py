"""Networks whose forward in train mode is another one: with and without parameters of its own, compact and
masked ones train alike.
"""

from __future__ import annotations

import copy
import itertools
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus._foundation.seeds import seeded
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import tensors_in
from prunus.plans.plan import Plan

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Branch(nn.Module):
    """`first`, `norm`, relu -> h -> `second`, relu -> g -> `last`; what is tested is a function of the
    module, h and g.
    """

    def __init__(self, run: Callable[[Any, Tensor, Tensor], Any], **parts: nn.Module | Tensor | int) -> None:
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        self.last, self.run = nn.Conv2d(8, 2, 1), run
        for name, part in copy.deepcopy(parts).items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        h = self.norm(self.first(x)).relu()
        return self.run(self, h, self.second(h).relu())


def shrunk(model: nn.Module, x: Tensor = IMAGE) -> tuple[ChannelGraph, Plan, nn.Module]:
    """Half of the channels of every group removed. Asserts that both modes were compared, and that outputs in
    train mode have the same shapes.
    """
    model = randomised(model)
    graph = prunus.trace(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = prunus.compact(model, random_plan(graph))
    origin = small.prunus
    assert origin.verification is not None and origin.plan.removed
    if origin.plan.exact:
        assert (
            origin.verification.relative < 1e-9
            and origin.verification.training is not None
            and origin.verification.training < 1e-6
        )
    two = torch.cat([x, x.flip(-1)])
    with seeded():
        wanted = [tensor.shape for tensor in tensors_in(prunus.mask(model, origin.plan).train()(two))]
        assert [tensor.shape for tensor in tensors_in(small.train()(two))] == wanted
    return graph, origin.plan, small


def normed(x: Tensor, weight: Tensor) -> Tensor:
    return F.layer_norm(x.movedim(1, -1), (x.shape[1],), weight).movedim(-1, 1)


def head(m: Any, y: Tensor) -> Any:
    return m.last(y)


def moving_average(m: Any, h: Tensor, g: Tensor) -> Tensor:
    if m.training:
        with torch.no_grad():
            m.mean.mul_(0.9).add_(0.1 * h.mean((0, 2, 3)))
    return head(m, g)


ONE = nn.Parameter(torch.ones(8))
TRAIN_ONLY: dict[str, tuple[Callable[[Any, Tensor, Tensor], Any], dict[str, Any]]] = {
    "a head": (
        lambda m, h, g: [head(m, g), m.aux(h)] if m.training else head(m, g),
        {"aux": nn.Conv2d(8, 2, 1)},
    ),
    "a head in a dict": (
        lambda m, h, g: {"out": head(m, g)} | ({"aux": m.aux(h)} if m.training else {}),
        {"aux": nn.Sequential(nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))},
    ),
    "a branch that reconstructs": (
        lambda m, h, g: (
            (head(m, g), m.up(F.softplus(m.down(g.mean((2, 3))))).square().mean())
            if m.training
            else (head(m, g), None)
        ),
        {"down": nn.Linear(8, 6), "up": nn.Linear(6, 8)},
    ),
    "a head that is stacked": (
        lambda m, h, g: torch.stack([head(m, g), m.aux(h)], 1) if m.training else (head(m, g), m.aux(h))[0],
        {"aux": nn.Conv2d(8, 2, 1)},
    ),
    "heads that run in eval mode too": (
        lambda m, h, g: [head(m, g), *m.aux(h).split(1)] if m.training else (head(m, g), m.aux(h))[0],
        {"aux": nn.Conv2d(8, 2, 1)},
    ),
    "the same layer on other channels": (
        lambda m, h, g: [head(m, g), head(m, h)] if m.training else head(m, g),
        {},
    ),
    "features": (lambda m, h, g: (head(m, g), h) if m.training else head(m, g), {}),
    "normalised features": (
        lambda m, h, g: (head(m, g), F.normalize(h.mean((2, 3)), dim=1)) if m.training else head(m, g),
        {},
    ),
    "a difference of features": (
        lambda m, h, g: (head(m, g), (h - g).square().sum()) if m.training else head(m, g),
        {},
    ),
    "a layer once more": (lambda m, h, g: head(m, m.second(g).relu() if m.training else g), {}),
    "other layers": (
        lambda m, h, g: head(m, m.one(g) + m.other(g) if m.training else m.both(g)),
        {k: nn.Conv2d(8, 8, 1) for k in ("one", "other", "both")},
    ),
    "a layer less": (lambda m, h, g: head(m, g if m.training else m.extra(g)), {"extra": nn.Conv2d(8, 8, 1)}),
    "mixed samples": (lambda m, h, g: head(m, 0.7 * g + 0.3 * g.flip(0) if m.training else g), {}),
    "turned channels": (lambda m, h, g: head(m, g.flip(1) if m.training else g), {}),
    "a path dropped": (
        lambda m, h, g: head(
            m, h + g * (torch.rand(len(g), 1, 1, 1, dtype=g.dtype) > 0.3) if m.training else h + g
        ),
        {},
    ),
    "a buffer": (moving_average, {"mean": torch.zeros(8)}),
    "a size of its own": (
        lambda m, h, g: (
            (head(m, g), g.reshape(-1, m.width, 64).sum(2).square().sum(1)) if m.training else head(m, g)
        ),
        {"width": 8},
    ),
    "a constant where there is none": (lambda m, h, g: head(m, g.sigmoid() if m.training else g), {}),
    "no constant where there is one": (lambda m, h, g: head(m, g if m.training else g.sigmoid()), {}),
    "the same constant": (
        lambda m, h, g: (head(m, g.sigmoid()), h.sum()) if m.training else head(m, g.sigmoid()),
        {},
    ),
    "another norm first": (
        lambda m, h, g: (normed(h, m.a).square().sum() if m.training else None, head(m, normed(g, m.b))),
        {"a": ONE, "b": nn.Parameter(torch.ones(8))},
    ),
    "a norm": (lambda m, h, g: head(m, normed(g, m.a) if m.training else g), {"a": ONE}),
    "no norm": (lambda m, h, g: head(m, g if m.training else normed(g, m.a)), {"a": ONE}),
}


@pytest.mark.parametrize("name", TRAIN_ONLY)
def test_what_only_training_does_is_pruned_along(name: str) -> None:
    run, parts = TRAIN_ONLY[name]
    graph, plan, _ = shrunk(Branch(run, **parts))
    assert graph.training is not None and plan.exact, plan.notes


def test_features_that_only_training_returns_stay() -> None:
    graph, _, small = shrunk(Branch(*TRAIN_ONLY["features"][:1]))
    assert small.first.weight.shape[0] == 8 and small.second.weight.shape[0] == 4
    assert "model output" in {pin.reason for pin in graph.pinned}


def test_a_number_that_only_training_says_keeps_its_channels() -> None:
    run = lambda m, h, g: (  # noqa: E731
        (head(m, g), h.reshape(-1, 8, 64).sum(2).square().sum(1)) if m.training else head(m, g)
    )
    model = randomised(Branch(run))
    plan = random_plan(prunus.trace(model, IMAGE))
    with pytest.warns(UserWarning, match="needs their number"):
        small = prunus.compact(model, plan)
    assert small.first.weight.shape[0] == 8 and small.second.weight.shape[0] == 4


SAME: dict[str, Callable[[Any, Tensor, Tensor], Any]] = {
    "nothing else": lambda m, h, g: head(m, g),
    "dropout": lambda m, h, g: head(m, F.dropout(g, 0.5, m.training)),
    "a layer that is not called": lambda m, h, g: (
        head(m, g) if m.norm.training or not m.training else m.second(g)
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_forwards_that_do_the_same_are_one(name: str) -> None:
    assert prunus.trace(randomised(Branch(SAME[name])), IMAGE).training is None


RANDOM: dict[str, Callable[[Any, Tensor, Tensor], Any]] = {
    "noise": lambda m, h, g: head(m, g + torch.randn_like(g) if m.training else g),
    "channels dropped by hand": lambda m, h, g: head(
        m, g * (torch.rand(g.shape[:2], dtype=g.dtype)[:, :, None, None] > 0.5) if m.training else g
    ),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_for_channels_in_training_are_noted(name: str) -> None:
    _, plan, _ = shrunk(Branch(RANDOM[name]))
    assert not plan.exact and "random numbers for the channels" in plan.notes[0]


def test_a_mode_of_the_users_own_is_a_mode() -> None:
    class Own(Branch):
        flag = False

        def train(self, mode: bool = True) -> Any:
            self.flag = mode
            return super().train(mode)

    graph, _, small = shrunk(Own(lambda m, h, g: (head(m, g), h) if m.flag else head(m, g)))
    assert graph.training is not None and small.first.weight.shape[0] == 8


def test_batch_norm_of_one_pixel_gets_a_batch_of_two() -> None:
    run = lambda m, h, g: (head(m, g * m.pool(h)), m.aux(h)) if m.training else head(m, g * m.pool(h))  # noqa: E731
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Sigmoid())
    graph, _, small = shrunk(Branch(run, pool=pool, aux=nn.Conv2d(8, 2, 1)), IMAGE[:1])
    assert graph.training is not None and small.aux.weight.shape[1] == 4


def test_a_head_that_small_images_cannot_train_is_painted_with_larger_ones() -> None:
    run = lambda m, h, g: (head(m, g), m.aux(F.avg_pool2d(h, 5, 3))) if m.training else head(m, g)  # noqa: E731
    aux = nn.Sequential(nn.Conv2d(8, 6, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 2, 1))
    model = randomised(Branch(run, aux=aux))
    graph = prunus.trace(model, IMAGE)
    small = prunus.compact(model, plan := random_plan(graph))
    assert graph.training is not None and small.aux[0].weight.shape == (3, 4, 5, 5)
    large = torch.randn(2, 3, 40, 36, dtype=torch.float64)
    expected, found = ([*tensors_in(one.train()(large))] for one in (prunus.mask(model, plan), small))
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(expected, found, strict=True))


class Targets(nn.Module):
    """Cannot be trained without targets."""

    def __init__(self, aux: nn.Module | None) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 2, 1)
        self.aux = aux

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        h = self.first(x).relu()
        g = self.second(h).relu()
        out = self.last(g)
        if not self.training:
            return out
        assert targets is not None, "targets are needed"
        loss = F.mse_loss(out, targets)
        if isinstance(self.aux, nn.Linear):
            return loss + self.aux(torch.cat([h, g], 1).movedim(1, -1)).square().mean()
        return loss if self.aux is None else loss + F.mse_loss(self.aux(h), targets)


def stays(aux: nn.Module | None) -> tuple[bool, bool]:
    """Whether the channels of the first and of the second layer stay whole."""
    model = randomised(Targets(aux))
    with pytest.warns(UserWarning, match="in train mode cannot be followed.*targets are needed"):
        graph = prunus.trace(model, IMAGE)
    assert graph.training is None
    first, second = (
        next(a.channels for a in graph.axes if (a.name, a.dim) == (f"{name}.weight", 0))
        for name in ("first", "second")
    )
    return bool((first < 0).all()), bool((second < 0).all())


def test_what_may_be_read_where_training_cannot_be_followed_stays_whole() -> None:
    assert stays(nn.Conv2d(8, 2, 1)) == (True, False)
    assert stays(nn.Conv2d(12, 2, 1)) == (False, True)
    assert stays(nn.Linear(20, 2)) == (True, True)  # reads something that only training makes
    assert stays(None) == (False, False)


def test_training_is_followed_where_its_targets_are_given() -> None:
    model = randomised(Targets(nn.Conv2d(8, 2, 1)))
    inputs = (IMAGE, torch.zeros(2, 2, 8, 8, dtype=torch.float64))
    graph = prunus.trace(model, inputs)
    small = prunus.compact(model, random_plan(graph))
    assert (
        graph.training is not None
        and small.aux.weight.shape[1] == 4
        and small.prunus.verification.training < 1e-9
    )


class Collects(nn.Module):
    """Leaves what a head makes in a list that several modules hold."""

    def __init__(self, found: list[Any], place: int) -> None:
        super().__init__()
        self.found, self.place, self.head = found, place, nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.found[self.place] = self.head(x)
        return x


def test_heads_that_are_collected_in_one_list_are_pruned_along() -> None:
    found = [torch.rand(1)] * 2
    run = lambda m, h, g: (  # noqa: E731
        torch.stack([head(m, m.two(m.second(m.one(h)))), *m.one.found], 1)
        if m.training
        else head(m, m.two(m.second(m.one(h))))
    )
    graph, plan, small = shrunk(Branch(run, one=Collects(found, 0), two=Collects(found, 1)))
    assert graph.training is not None and plan.exact and small.one.head.weight.shape[1] == 4


def test_dice_thrown_in_python_fall_alike() -> None:
    def run(m: Any, h: Tensor, g: Tensor) -> Tensor:
        for _ in range(8):
            g = g + m.second(h) if not m.training or random.random() > 0.5 else g
        return head(m, g)

    graph, plan, _ = shrunk(Branch(run))
    assert graph.training is not None and plan.exact


def test_training_that_does_not_repeat_itself_is_told() -> None:
    counter = itertools.count()

    def run(m: Any, h: Tensor, g: Tensor) -> Any:
        for _ in range(next(counter) if m.training else 0):
            g = g.relu()
        return (head(m, g), h.sum()) if m.training else head(m, g)

    model = randomised(Branch(run))
    plan = random_plan(prunus.trace(model, IMAGE))
    with pytest.warns(UserWarning, match="in train mode does not repeat itself"):
        small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and small.prunus.plan.removed == plan.removed


def test_widths_of_train_mode_are_saved(tmp_path: Any) -> None:
    run, parts = TRAIN_ONLY["another norm first"]
    model = randomised(Branch(run, **parts))
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    assert {number < 0 for number in small.kept_widths} == {False, True}
    prunus.save(small, tmp_path / "small.safetensors")
    loaded = prunus.load(tmp_path / "small.safetensors", lambda: Branch(run, **parts).double())
    assert loaded.kept_widths == small.kept_widths
