"""What random networks are drawn from: a source of choices, shapes, and the description of a module that is
to be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from torch import nn

from tests import network_joins as joins
from tests import network_norms as norms
from tests.network_blocks import ACTIVATIONS

T = TypeVar("T")


class Draw(ABC):
    """Where the choices come from (smaller numbers and earlier items are simpler), and which layers may be
    used.

    A network that contains a layer norm or a sigmoid is rarely exact, and with every kind to choose from
    hardly any network would be: so each one draws a palette first.
    """

    norms: tuple[str, ...] = ("none",)
    activations: tuple[str, ...] = ("relu",)
    wild: bool = False  # layers that mix all channels without weights, or make something of nothing
    literals: tuple[str, ...] = (
        "tensor",
        "attribute",
    )  # where sizes come from; with "source" the trace has to be exported, which takes long

    @abstractmethod
    def integer(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.integer(0, len(items) - 1)]

    def palette(self) -> None:
        """Choose which layers may be used from here on."""
        self.norms = self.choice(
            [("batch",), ("none",), norms.PER_CHANNEL, ("none", *norms.ACROSS), norms.NORMS]
        )
        zero = tuple("relu none silu gelu hardswish leaky prelu prelu1 tanh elu relu6".split())
        self.activations = self.choice([("relu",), zero, zero, ACTIVATIONS])
        self.wild = self.integer(0, 3) == 3
        self.literals = (
            ("tensor", "attribute", "source") if self.integer(0, 7) == 7 else ("tensor", "attribute")
        )


class Shape(NamedTuple):
    """Channels, height and width of a feature map."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, repr=False)
class Block:
    """A module to be: `kind(*parts, *sizes, **options)`."""

    kind: type[nn.Module]
    sizes: tuple[int, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    parts: tuple[Block | None, ...] = ()

    def build(self) -> nn.Module:
        """The module."""
        built = [part and part.build() for part in self.parts]
        return self.kind(*built, *self.sizes, **dict(self.options))

    def __repr__(self) -> str:
        arguments = [*map(repr, self.parts), *map(str, self.sizes), *(f"{k}={v!r}" for k, v in self.options)]
        return f"{self.kind.__name__}({', '.join(arguments)})"


Drawn = tuple[Block, Shape]


def yes(draw: Draw) -> bool:
    """One of two."""
    return bool(draw.integer(0, 1))


def written(draw: Draw) -> bool:
    """Whether sizes stand in the source, where nothing can change them."""
    return draw.choice(draw.literals) == "source"


def divisors(n: int, above: int = 1) -> list[int]:
    """Of n, above a number."""
    return [d for d in range(above + 1, n + 1) if n % d == 0]


def block_of(
    kind: type[nn.Module], *sizes: int, parts: tuple[Block | None, ...] = (), **options: Any
) -> Block:
    """The description of `kind(*parts, *sizes, **options)`."""
    return Block(kind, sizes, tuple(options.items()), parts)


def chain(*parts: Block) -> Block:
    """The parts in a row, nested chains flattened."""
    flat = [inner for part in parts for inner in (part.parts if part.kind is joins.Chain else (part,))]
    return block_of(joins.Chain, parts=tuple(flat)) if len(flat) > 1 else parts[0]
