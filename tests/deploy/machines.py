"""A machine whose clock is arithmetic: layers take what their widths, rounded up to blocks of 16, say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

import prunus
from prunus.deploy.inputs import Inputs, split
from prunus.deploy.probe import Table, pairs_of, rungs
from prunus.deploy.shapes import Shape, timed_layers


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
    """Implements `prunus.deploy.machine.Machine`.

    Args:
        step: width of its stairs.
        overhead: of every network [ms], on top of its layers.
        slower: factor on pruned networks, which the tables do not know of.
    """

    name, threads = "arithmetic", 1

    def __init__(self, step: int = 16, overhead: float = 0.0, slower: float = 1.0) -> None:
        self.step, self.overhead, self.slower = step, overhead, slower
        self.measured = 0

    def tables(self, shapes: Iterable[Shape], watch: Callable[[str, int, int], None] = lambda *_: None) -> dict[Shape, Table]:
        """Exact at every edge."""
        found = {}
        for shape in set(shapes):
            inputs, outputs = rungs(shape, self.step)
            times = np.array([milliseconds(shape, *pair, self.step) for pair in pairs_of(shape, self.step)]).reshape(len(inputs), len(outputs))
            step = 1 if shape.kind == "linear" or shape.groups > 1 else self.step
            found[shape] = Table(step, np.array(inputs), np.array(outputs), times)
        return found

    def stopwatch(self, dense: nn.Module, inputs: Inputs) -> Arithmetic.Watch:
        """Adds layers up."""
        return Arithmetic.Watch(self, dense, inputs)

    def of(self, model: nn.Module, inputs: Inputs) -> float:
        """The whole network [ms]."""
        args, kwargs = split(inputs)
        layers = timed_layers(prunus.trace(model, args or kwargs))
        return self.overhead + sum(milliseconds(shape, shape.inputs, shape.outputs, self.step) for shape in layers.shapes)

    class Watch:
        """Implements `prunus.deploy.machine.Stopwatch`."""

        def __init__(self, machine: Arithmetic, dense: nn.Module, inputs: Inputs) -> None:
            self.machine, self.dense, self.inputs, self.closed = machine, dense, inputs, False

        def __call__(self, *networks: nn.Module) -> list[float]:
            """Of the dense network, and of these."""
            self.machine.measured += len(networks)
            return [self.machine.of(self.dense, self.inputs), *(self.machine.slower * self.machine.of(network, self.inputs) for network in networks)]

        def close(self) -> None:
            """Nothing to remove."""
            self.closed = True


def chain(*widths: int, kernel: int = 3) -> nn.Module:
    """Convolutions one behind the other, and a classifier."""
    torch.manual_seed(sum(widths))
    layers: list[nn.Module] = []
    for read, made in zip((3, *widths), widths):
        layers += [nn.Conv2d(read, made, kernel, padding=kernel // 2), nn.BatchNorm2d(made), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)).eval()
