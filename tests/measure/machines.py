"""A machine whose clock is arithmetic: layers take what their widths, rounded up to blocks of 16, say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

import prunus
from prunus.deploy.inputs import Inputs, split
from prunus.measure.probe import Table, pairs_of, rungs
from prunus.measure.shapes import Shape, timed_layers


def milliseconds(shape: Shape, read: int, made: int, step: int) -> float:
    """A microsecond per layer, and what full blocks take."""

    def blocks(width: int) -> float:
        return 0.5 if width <= step // 2 else -(-width // step)

    if shape.kind == "linear":
        return 1e-3 + 1e-6 * read * made
    area = float(np.prod(shape.spatial)) / float(np.prod(shape.stride)) * float(np.prod(shape.kernel))
    if shape.groups == 0:
        return 1e-3 + 1e-5 * area * blocks(read)
    if shape.groups > 1:
        return 1e-3 + 1e-6 * area * read * made / shape.groups
    return 1e-3 + 1e-4 * area * blocks(read) * blocks(made)


class Arithmetic:
    """Implements `prunus.measure.machine.Machine`.

    Args:
        step: width of its stairs.
        overhead: of every network [ms], on top of its layers.
        slower: factor on pruned networks, which the tables do not know of.
    """

    name, threads = "arithmetic", 1

    def __init__(self, step: int = 16, overhead: float = 0.0, slower: float = 1.0) -> None:
        self.step, self.overhead, self.slower = step, overhead, slower
        self.measured = 0

    def tables(
        self, shapes: Iterable[Shape], watch: Callable[[str, int, int], None] = lambda *_: None
    ) -> dict[Shape, Table]:
        """Exact at every edge."""
        found = {}
        for shape in set(shapes):
            inputs, outputs = rungs(shape, self.step)
            times = np.array(
                [milliseconds(shape, *pair, self.step) for pair in pairs_of(shape, self.step)]
            ).reshape(len(inputs), len(outputs))
            step = 1 if shape.kind == "linear" or shape.groups > 1 else self.step
            found[shape] = Table(step, np.array(inputs), np.array(outputs), times)
        return found

    @contextmanager
    def stopwatch(self, dense: nn.Module, inputs: Inputs) -> Iterator[Callable[..., list[float]]]:
        """Adds layers up."""

        def timed(*networks: nn.Module) -> list[float]:
            self.measured += len(networks)
            return [self.of(dense, inputs), *(self.slower * self.of(network, inputs) for network in networks)]

        yield timed

    def of(self, model: nn.Module, inputs: Inputs) -> float:
        """The whole network [ms]."""
        args, kwargs = split(inputs)
        layers = timed_layers(prunus.trace(model, args or kwargs))
        return self.overhead + sum(
            milliseconds(shape, shape.inputs, shape.outputs, self.step) for shape in layers.shapes
        )


def chain(*widths: int, kernel: int = 3) -> nn.Module:
    """Convolutions one behind the other, and a classifier."""
    torch.manual_seed(sum(widths))
    layers: list[nn.Module] = []
    for read, made in zip((3, *widths), widths):
        layers += [nn.Conv2d(read, made, kernel, padding=kernel // 2), nn.BatchNorm2d(made), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)).eval()
