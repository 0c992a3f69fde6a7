"""Nests of tensors in containers and objects of any kind."""

from __future__ import annotations

import collections
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import prunus
from prunus.errors import ArgumentError, TraceError
from prunus.paint.nests import held_by_functions, map_tensors, read_once, tensors_in

ONE, TWO = torch.arange(3.0), torch.zeros(2, 4)


class Slotted:
    __slots__ = ("__hidden", "held")

    def __init__(self, held: Any) -> None:
        self.held = self.__hidden = held


@dataclasses.dataclass(frozen=True)
class Frozen:
    held: Any
    name: str = "x"


class Called:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self) -> Any:
        return self.held


class Circle:
    def __init__(self, held: Any) -> None:
        self.held, self.me, self.around = held, self, [self]


class Tagged(list[Any]):
    def __init__(self, items: Any, tag: str) -> None:
        super().__init__(items)
        self.tag = tag


KINDS: dict[str, Callable[[Any], Any]] = {
    "deque": lambda held: collections.deque([held], maxlen=2),
    "set": lambda held: {held},
    "values": lambda held: {"a": held}.values(),
    "read-only dict": lambda held: MappingProxyType({"a": held}),
    "UserDict": lambda held: collections.UserDict({"a": held}),
    "defaultdict": lambda held: collections.defaultdict(list, {"a": held}),
    "list of its own": lambda held: Tagged([held], "tag"),
    "slots": Slotted,
    "frozen": Frozen,
    "called": Called,
    "namespace": lambda held: SimpleNamespace(held=held),
    "circle": Circle,
}


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_found_wherever_they_are(kind: str) -> None:
    found = list(tensors_in([ONE, KINDS[kind](TWO)]))
    assert found[0] is ONE and len(found) > 1 and all(one is TWO for one in found[1:])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "values"])
def test_tensors_are_replaced_in_copies_of_what_holds_them(kind: str) -> None:
    held = KINDS[kind](ONE)
    found = map_tensors((held, 3), lambda tensor: tensor + 1)
    assert type(found[0]) is type(held) and found[0] is not held and found[1] == 3
    assert all(torch.equal(one, ONE + 1) for one in tensors_in(found)) and any(
        True for _ in tensors_in(found)
    )
    assert all(one is ONE for one in tensors_in(held))


def test_what_holds_itself_is_copied_as_it_is() -> None:
    found = map_tensors(Circle(ONE), lambda tensor: tensor + 1)
    assert found.me is found and found.around[0] is found


def test_what_holds_no_tensors_stays() -> None:
    lock = SimpleNamespace(lock=threading.Lock())
    assert (
        map_tensors([lock], torch.clone)[0] is lock
        and list(tensors_in([lock, nn.Linear(2, 2), Tensor])) == []
    )
    with pytest.raises(
        ArgumentError, match=r"hold an? _Uncopied, which cannot be copied .*; give its tensors"
    ):
        map_tensors(_Uncopied(held=ONE), torch.clone)


class _Uncopied(SimpleNamespace):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("no copies")


def test_of_a_packed_sequence_the_data_change_alone() -> None:
    packed = pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])
    found = map_tensors(packed, lambda tensor: tensor.to("meta"))
    assert found.data.is_meta and not found.batch_sizes.is_meta and len(list(tensors_in(packed))) == 1


def test_what_can_be_read_once_is_found() -> None:
    def made() -> Iterator[Tensor]:
        yield ONE

    for one in (made(), iter([ONE]), map(torch.clone, [ONE])):
        assert read_once({"a": [one]}) is one
    assert read_once([ONE, range(3), "text"]) is None


def test_functions_hold_what_they_compute_with() -> None:
    def inner() -> Tensor:
        return ONE

    def outer(one: Tensor = TWO) -> Any:
        return one, inner

    held = list(held_by_functions([functools.partial(outer, ONE), Called(ONE).__call__]))
    assert {id(one) for one in held} == {id(ONE), id(TWO)} if inner.__closure__ else {id(TWO)}


class Returns(nn.Module):
    def __init__(self, kind: Callable[[Any], Any]) -> None:
        super().__init__()
        self.first, self.last, self.kind = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), kind

    def forward(self, x: Tensor) -> Any:
        found = self.first(x).relu()
        return {"out": self.last(found), "features": self.kind(found)}


@pytest.mark.parametrize("kind", [*KINDS, "function", "partial"])
def test_features_stay_whole_in_whatever_they_are_returned(kind: str) -> None:
    kinds = {
        **KINDS,
        "function": lambda held: lambda: held,
        "partial": lambda held: functools.partial(max, held),
    }
    assert prunus.trace(Returns(kinds[kind]), torch.zeros(2, 3, 4, 4)).num_channels == 0


def test_what_computes_when_it_is_read_is_refused() -> None:
    with pytest.raises(TraceError, match=r"Returns returns a generator, which computes when it is read"):
        prunus.trace(Returns(lambda held: (one for one in [held])), torch.zeros(2, 3, 4, 4))


@dataclasses.dataclass
class Batch:
    image: Tensor
    bias: float = 1.0


class Takes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, batch: Any) -> Any:
        x = batch.image
        if x.mean() > 100:
            return self.last(self.first(x))
        return self.last(self.first(x).sigmoid())


def test_a_value_is_not_read_out_of_an_object() -> None:
    """The tensors of a batch in a class of its own were constants, whose values a forward could ask for."""
    with pytest.raises(TraceError, match="reads the value of a tensor"):
        prunus.trace(Takes(), (Batch(torch.zeros(2, 3, 4, 4)),))


def test_tensors_are_replaced_in_the_order_in_which_they_are_found() -> None:
    both, one = [ONE, TWO], Frozen(ONE)
    nest = (both, {"a": both}, one, [one], collections.deque([TWO]))
    numbers = iter(range(99))
    found = map_tensors(nest, lambda tensor: torch.tensor(next(numbers)))
    assert [int(tensor) for tensor in tensors_in(found)] == list(range(len(list(tensors_in(nest)))))
