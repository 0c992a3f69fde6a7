"""One network of the zoo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | tuple[Any, ...] | dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """`name` is "package/network"; `make` builds it with random weights; `inputs(batch, larger)` makes what
    it is called with.

    `larger`: inputs of another size than usual. `fixed` says that its forward takes one size only.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, bool], Inputs]
    fixed: bool = field(default=False)

    @property
    def package(self) -> str:
        """What has to be installed, as it is imported."""
        return self.name.split("/")[0]


def image(size: int = 64, channels: int = 3, step: int = 32, rank: int = 2) -> Callable[[int, bool], Inputs]:
    """A picture (or volume, or signal) of `size` along `rank` axes; a larger one has `step` more along the
    first of them.
    """

    def make(batch: int, larger: bool) -> Inputs:
        return torch.randn(batch, channels, size + step * larger, *[size] * (rank - 1))

    return make


def keyword(name: str, maker: Callable[[int, bool], Inputs]) -> Callable[[int, bool], Inputs]:
    """The same, as one keyword argument."""
    return lambda batch, larger: {name: maker(batch, larger)}
