"""Sizes in containers of attributes are found, follow the channels, and are saved with the model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tests.paint.nets import random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import FileFormatError
from prunus.surgery.places import set_size, size_at, sizes_of

IMAGE = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Pair(NamedTuple):
    name: str
    size: int


class Holder(nn.Module):
    def __init__(self, **held: Any) -> None:
        super().__init__()
        self.held = held
        for name, value in held.items():
            setattr(self, name, value)


def test_sizes_are_found_by_their_places() -> None:
    module = Holder(
        width=8,
        flag=True,
        none=0,
        sizes=[4, 2],
        axes=(("h", 10), ("d", 6)),
        table={"h": 10, "deep": {"x": [1, {"y": 3}]}},
    )
    del module.held
    assert sizes_of(module) == {
        **{"width": 8, "sizes": [4, 2], "axes.0.1": 10, "axes.1.1": 6},
        **{"table.h": 10, "table.deep.x.0": 1, "table.deep.x.1.y": 3},
    }


def test_containers_around_a_size_are_made_anew() -> None:
    shared = {"pairs": [Pair("h", 10), ("d", 6)]}
    module = Holder(a=shared, f=functools.partial(max, 3, key=abs, default=7))
    set_size(module, "a.pairs.0.1", 5)
    set_size(module, "f.default", 2)
    assert module.a == {"pairs": [Pair("h", 5), ("d", 6)]} and isinstance(module.a["pairs"][0], Pair)
    assert shared == {"pairs": [Pair("h", 10), ("d", 6)]}
    assert module.f.keywords == {"key": abs, "default": 2} and module.f.args == (3,)
    assert (
        size_at(module, "a.pairs.0.1") == 5
        and size_at(module, "a.pairs.7.1") is None
        and size_at(module, "b.c") is None
    )


class Heads(nn.Module):
    """Splits what it gets into heads, by sizes that some attribute holds."""

    def __init__(self, read: Callable[[Any], tuple[int, int]], **held: Any) -> None:
        super().__init__()
        self.read = read
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        heads, size = self.read(self)
        return x.reshape(x.shape[0], x.shape[1], heads, size).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, heads: Callable[[], Heads]) -> None:
        super().__init__()
        self.conv, self.heads = nn.Conv2d(3, 24, 1), nn.ModuleList(heads() for _ in range(3))
        self.q, self.k, self.v, self.last = (nn.Linear(24, 24) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        q, k, v = (split(layer(x)) for split, layer in zip(self.heads, (self.q, self.k, self.v)))
        return self.last(((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2)).mean(1)


HELD: dict[str, Callable[[], Heads]] = {
    "pairs": lambda: Heads(lambda m: (dict(m.axes)["h"], dict(m.axes)["d"]), axes=(("h", 4), ("d", 6))),
    "one pair": lambda: Heads(lambda m: (-1, dict(m.axes)["d"]), axes=(("d", 6),)),
    "a dict": lambda: Heads(lambda m: (m.axes["h"], m.axes["d"]), axes={"h": 4, "d": 6}),
    "a nest": lambda: Heads(
        lambda m: tuple(size for _, size in m.settings["axes"]), settings={"axes": [("h", 4), ("d", 6)]}
    ),
    "a partial": lambda: Heads(lambda m: m.sizes(), sizes=functools.partial(lambda h, d: (h, d), h=4, d=6)),
}


@pytest.mark.parametrize("name", HELD)
def test_sizes_in_containers_follow(name: str, tmp_path: Path) -> None:
    model = randomised(Attention(HELD[name]))
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and small.prunus.plan.removed == plan.removed and plan.exact
    assert any("." in rebind.name for rebind in small.prunus.surgery.rebinds)
    assert model.heads[0].read(model.heads[0])[1] == 6
    prunus.save(small, tmp_path / "small.safetensors")
    loaded = prunus.load(tmp_path / "small.safetensors", lambda: Attention(HELD[name]).double())
    assert torch.equal(loaded.eval()(IMAGE), small(IMAGE))
    with pytest.raises(FileFormatError, match="sets"):
        prunus.load(
            tmp_path / "small.safetensors", lambda: Attention(lambda: Heads(lambda m: (4, 6))).double()
        )


def padded(x: Tensor, planes: int) -> Tensor:
    x = x[:, :, ::2, ::2]
    return torch.cat([x, torch.zeros(x.shape[0], planes - x.shape[1], *x.shape[2:], dtype=x.dtype)], 1)


class Shortcut(nn.Module):
    """A residual block whose shortcut is padded with zeros, to a width that a partial holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.norm = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
        )
        self.last, self.shortcut = nn.Conv2d(16, 4, 1), functools.partial(padded, planes=16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.last((self.norm(self.conv(x)) + self.shortcut(x)).relu())


def test_a_shortcut_of_type_a_follows() -> None:
    model = randomised(Shortcut())
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and plan.exact and small.prunus.plan.removed == plan.removed == 8
    assert small.shortcut.keywords["planes"] == small.conv.out_channels == 8
