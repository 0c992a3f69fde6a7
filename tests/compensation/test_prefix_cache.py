"""Forwards that go on where the last one ended: always what a forward from the beginning
sees, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain, pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from tests.networks import Spec, networks
from tests.paint.nets import Dense, Net, randomised
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import prunus
from prunus import models
from prunus.compensation.prefix_cache import MOST_BYTES, Resumed
from prunus.models.resnet import CifarResNet
from prunus.paint.inputs import Inputs, as_arguments, map_tensors
from prunus.plans.consumers import readers

DRAW = torch.Generator().manual_seed(0)


def images(batch: int, planes: int = 3, side: int = 8) -> Tensor:
    return torch.randn(batch, planes, side, side, generator=DRAW, dtype=torch.float64)


def from_the_beginning(model: nn.Module, name: str, batch: Inputs) -> tuple[Tensor, Tensor]:
    """What a plain hook sees in a whole forward."""
    found: list[tuple[Tensor, Tensor]] = []
    # what comes behind may write into it
    handle = model.get_submodule(name).register_forward_hook(
        lambda module, args, output: found.append((args[0].clone(), output.clone()))
    )
    args, kwargs = as_arguments(batch)
    model(*args, **kwargs)
    handle.remove()
    return found[0]


@torch.no_grad()
def assert_resumed_is_plain(model: nn.Module, batches: list[Any], most_bytes: int = MOST_BYTES) -> None:
    """Every layer that reads channels, in order, each changed before the next is asked for, as refitting
    does.
    """
    graph = prunus.trace(model, batches[0])
    plain, own = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
    resumed = Resumed(own, graph, batches[0], most_bytes)
    for reader in readers(graph):
        for number, batch in enumerate(batches):
            for seen, wanted in zip(
                resumed.upto(reader.name, number, batch), from_the_beginning(plain, reader.name, batch)
            ):
                assert torch.equal(seen, wanted), reader.name
            given, _ = from_the_beginning(plain, reader.name, batch)
            assert torch.equal(resumed.given(reader.name, number, batch)[0], given), reader.name
        for network in (plain, own):
            network.get_submodule(reader.name).weight.mul_(1.5)
        args, kwargs = as_arguments(batches[-1])
        for seen, wanted in zip(
            tree_leaves(resumed.whole(len(batches) - 1, batches[-1])), tree_leaves(plain(*args, **kwargs))
        ):
            assert torch.equal(seen, wanted), reader.name
    resumed.forget()
    for reader in readers(graph)[:1]:
        for network in (plain, own):
            network.get_submodule(reader.name).weight.mul_(0.5)
        _, made = from_the_beginning(plain, reader.name, batches[0])
        assert torch.equal(resumed.upto(reader.name, 0, batches[0])[1], made)


@settings(max_examples=12)
@given(networks(most=2))
def test_on_random_networks(spec: Spec) -> None:
    model, inputs = spec.build()
    assert_resumed_is_plain(model, [inputs, map_tensors(inputs, lambda x: x + 1)])


class Early(nn.Module):
    """Returns what it made long before its last layer, too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.early, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 4, 3)
        self.late = nn.Sequential(nn.Conv2d(4, 3, 1))

    def forward(self, x: Tensor) -> Any:
        x = self.a(x).relu()
        one = self.early(x)
        return one, {"late": self.late(self.b(x).relu())}


def test_what_is_returned_early_is_kept() -> None:
    torch.manual_seed(0)
    assert_resumed_is_plain(Early().double().eval(), [images(2), images(2)])


class HandsOn(nn.Module):
    """An encoder that hands features on through an attribute, not through what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Net(self.encode, a=nn.Conv2d(3, 6, 3, padding=1), b=nn.Conv2d(6, 6, 3, padding=1))
        self.c, self.d = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(12, 4, 1)
        self.out = nn.Conv2d(4, 2, 1)

    @staticmethod
    def encode(m: nn.Module, x: Tensor) -> Tensor:
        m.skip = m.a(x).relu()
        return m.b(m.skip).relu()

    def forward(self, x: Tensor) -> Tensor:
        deep = self.c(self.encoder(x)).relu()
        return self.out(self.d(torch.cat([deep, self.encoder.skip], 1)).relu())


def in_place(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    y = m.relu(x)  # changes x too
    z = m.b(y)
    z += x
    return m.d(F.relu_(m.c(m.swish(z))))


def twice(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x).relu()
    return m.c(m.b(m.b(x)).relu())


def tapped(m: nn.Module, x: Tensor) -> Tensor:
    """A stack whose layers are called one by one, and looked at in between."""
    taps = []
    for layer in m.stack:
        x = layer(x)
        taps.append(x)
    return m.head(torch.cat([taps[1], taps[3]], 1))


def flat(m: nn.Module, x: Tensor) -> Tensor:
    """Activations are code between the layers."""
    x = F.relu(m.a(x), inplace=True)
    x = F.relu(m.b(x)) + 1
    x = torch.cat([x[:, 3:], x[:, :3].clamp_(max=2)], 1)
    return m.d(F.relu_(m.c(x).neg_()))


def of_values(m: nn.Module, x: Tensor) -> Tensor:
    """Code between the layers that does not run on zeros."""
    x = m.a(x)
    flat = x.flatten(2)
    inverse = torch.linalg.inv(flat @ flat.mT)
    return m.d(m.c(m.b(x * inverse.abs().mean()).relu()).relu())


def seen_on_the_way(m: nn.Module, x: Tensor) -> Any:
    """What code makes of a layer's output is returned, too."""
    early = m.a(x).relu()
    return early, m.d(m.c(m.b(early).relu()).relu())


class EverySecond(nn.Module):
    """A view with gaps: a copy without them is summed in another order."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2]


def gaps(m: nn.Module, x: Tensor) -> Tensor:
    return m.out(m.b(m.second(m.a(x).relu()).mean((2, 3))).relu())


def convs(count: int) -> list[nn.Module]:
    return [nn.Conv2d(3 if not n else 6, 6, 3, padding=1) for n in range(count)]


def parts() -> dict[str, nn.Module]:
    a, b, c, d = convs(4)
    return {
        "a": a,
        "b": b,
        "c": c,
        "d": d,
        "relu": nn.ReLU(inplace=True),
        "swish": nn.Hardswish(inplace=True),
    }


def chain_in_place() -> nn.Module:
    """One activation behind all norms, which writes into what they make."""
    activation, widths = nn.ReLU(inplace=True), (3, 6, 8, 6, 4)
    layers = [
        [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), activation]
        for before, after in pairwise(widths)
    ]
    return nn.Sequential(*chain.from_iterable(layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


ODD: dict[str, Callable[[], nn.Module]] = {
    "features handed on by an attribute": HandsOn,
    "writing in place": lambda: Net(in_place, **parts()),
    "code between layers": lambda: Net(flat, **parts()),
    "code that does not run on zeros": lambda: Net(of_values, **parts()),
    "code whose result is returned": lambda: Net(seen_on_the_way, **parts()),
    "a layer called twice": lambda: Net(
        twice, **{name: part for name, part in parts().items() if name in "abc"}
    ),
    "a stack with taps": lambda: Net(
        tapped, stack=nn.Sequential(*convs(2), nn.ReLU(), *convs(4)[1:]), head=nn.Conv2d(12, 2, 1)
    ),
    "views with gaps": lambda: Net(
        gaps, a=nn.Conv2d(3, 64, 3, padding=1), second=EverySecond(), b=nn.Linear(64, 8), out=nn.Linear(8, 2)
    ),
    "dense": Dense,
    "one activation that writes in place": chain_in_place,
    "residual": lambda: CifarResNet(1),
    "skips": lambda: models.unet(width=4, depth=2),
}


@pytest.mark.parametrize("most_bytes", [0, 5_000, MOST_BYTES])
@pytest.mark.parametrize("name", ODD)
def test_on_networks_that_are_hard_to_resume(name: str, most_bytes: int) -> None:
    assert_resumed_is_plain(randomised(ODD[name]()), [images(2, side=16), images(3, side=16)], most_bytes)


@torch.no_grad()
def work_of(model: nn.Module, batches: list[Tensor], most_bytes: int = MOST_BYTES) -> tuple[float, Resumed]:
    """The work of asking for every layer in turn, in that of one forward of each batch."""
    graph = prunus.trace(model, batches[0])
    with FlopCounterMode(display=False) as once:
        model(torch.cat(batches))
    with FlopCounterMode(display=False) as all_layers:
        resumed = Resumed(copy.deepcopy(model), graph, batches[0], most_bytes)
        for reader in readers(graph):
            for number, batch in enumerate(batches):
                resumed.given(reader.name, number, batch)
    return all_layers.get_total_flops() / once.get_total_flops(), resumed


def test_the_work_for_all_layers_is_little_more_than_a_forward() -> None:
    work, _ = work_of(models.resnet20().eval(), [torch.randn(1, 3, 32, 32)])
    assert 1 < work < 3  # one forward counts the calls


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_with_less_memory_the_work_is_a_few_forwards(share: float) -> None:
    """What was kept early makes room, and what comes before something that is kept is not run again, even if
    there was no room for it.
    """
    model, batches = models.resnet20().eval(), [torch.randn(1, 3, 32, 32) for _ in range(8)]
    of_one = 2 * 16 * 32 * 32 * 4  # bytes of what a block of the first stage gets and makes
    work, resumed = work_of(model, batches, int(share * of_one * len(batches)))
    assert 1 < work < 8  # asking for each of 20 layers from the beginning: 10
    assert resumed._bytes == sum(one.bytes() for kept in resumed._kept.values() for one in kept.values())


@torch.no_grad()
@pytest.mark.parametrize(
    "build", [lambda: models.build("vgg16_bn"), chain_in_place, lambda: Net(flat, **parts()).float()]
)
def test_memory_is_what_the_rest_needs(build: Callable[[], nn.Module]) -> None:
    """Of a chain, the output of one module at a time."""
    model = build().eval()
    x = torch.randn(1, 3, 32, 32)
    graph = prunus.trace(model, x)
    resumed = Resumed(model, graph, x)
    for reader in readers(graph):
        resumed.upto(reader.name, 0, x)
        with_values = [name for name, kept in resumed._kept[0].items() if kept.values]
        assert len(with_values) <= 2
        assert resumed._bytes == sum(kept.bytes() for kept in resumed._kept[0].values())


def two_branches(m: nn.Module, x: Tensor) -> Tensor:
    x = m.stem(x).relu()
    x = (m.norm(m.long(x)) + m.short(x)).relu()
    x += m.last(x)
    return m.head(x)


@torch.no_grad()
def test_the_other_summand_is_seen_and_what_lies_behind_the_layer_is_run_anew() -> None:
    layers = {name: nn.Conv2d(4, 4, 1) for name in ("long", "short", "last", "head")}
    model = randomised(Net(two_branches, stem=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), **layers)).eval()
    x = images(2)
    resumed = Resumed(model, prunus.trace(model, x), x)
    for _ in range(2):
        given, made, other = resumed.upto_sum("long", "norm", 0, x)
        stem = model.stem(x).relu()
        assert torch.equal(given, stem) and torch.equal(made, model.long(stem))
        assert other is not None and torch.equal(other, model.short(stem))
        model.norm.bias.add_(1)  # had it been kept, what follows would not hear of it
        model.short.weight.mul_(2)
    given, _, other = resumed.upto_sum("last", "", 0, x)
    wanted = (model.norm(model.long(stem)) + model.short(stem)).relu()
    assert torch.equal(given, wanted) and other is not None and torch.equal(other, wanted)
    assert resumed.upto_sum("head", "", 0, x)[2] is None
