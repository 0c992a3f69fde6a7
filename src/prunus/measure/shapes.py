"""The layers of a traced network as a clock sees them: shapes, and how their widths follow from the channels
kept per group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prunus.paint.graph import ChannelGraph
from prunus.paint.records import Paint, Record

Kind = Literal["convolution", "transposed", "linear"]
Widths = NDArray[np.int64]
Pair = tuple[int, int]  # channels read and made
_PRODUCTS = ("addmm", "mm")


@dataclass(frozen=True)
class Shape:
    """What decides, with the widths, how long a layer takes.

    Attributes:
        kind: a convolution, a transposed one, or a matrix product with a weight.
        batch: samples; rows of a matrix product.
        spatial: of the input, () for a matrix product.
        kernel, stride, padding, dilation, output_padding: per spatial axis.
        groups: of the convolution; 0 where every input channel is a group of its own.
        inputs: channels read, before anything is removed.
        outputs: channels made, likewise.
    """

    kind: Kind
    batch: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    inputs: int
    outputs: int

    def groups_at(self, inputs: int) -> int:
        """Groups of the convolution once it reads so many channels."""
        return self.groups or inputs


@dataclass(frozen=True, eq=False)
class TimedLayers:
    """All convolutions and matrix products with weights, in the order in which they run.

    Attributes:
        shapes: one per layer.
        fixed: channels that stay whatever is removed, read and made, shape (2, layers).
        per_group: channels per kept channel of a group, read and made, shape (2, layers, groups).
    """

    shapes: tuple[Shape, ...]
    fixed: Widths
    per_group: Widths

    def widths(self, kept: Widths) -> Widths:
        """Channels read and made by every layer, shape (2, ..., layers), at channels kept per group, shape
        (..., groups).
        """
        return np.stack([self.fixed[side] + kept @ self.per_group[side].T for side in (0, 1)])


def timed_layers(graph: ChannelGraph) -> TimedLayers:
    """The layers of a traced network whose time depends on widths by more than memory traffic."""
    shapes, sides = [], []
    for index in dict.fromkeys(contraction.record for contraction in graph.contractions):
        record = graph.records[index]
        found = _convolution(record) if "convolution" in record.operator else _product(record)
        if found is not None:
            shape, read, made = found
            shapes.append(shape)
            sides.append((_follows(graph, *read), _follows(graph, *made)))
    counts = [[side[which] for side in sides] for which in (0, 1)]
    fixed = np.array([[fixed for fixed, _ in side] for side in counts], dtype=np.int64).reshape(
        2, len(shapes)
    )
    per_group = np.array([[row for _, row in side] for side in counts], dtype=np.int64).reshape(
        2, len(shapes), len(graph.groups)
    )
    return TimedLayers(tuple(shapes), fixed, per_group)


Side = tuple[Paint, int, int]  # the paint of a tensor, the axis of its channels, their number


def _convolution(record: Record) -> tuple[Shape, Side, Side] | None:
    x, weight = record.args[:2]
    stride, padding, dilation, transposed, output_padding, groups = record.args[3:9]
    axes = weight.dim() - 2
    output = record.outputs[0]
    if not isinstance(x, Tensor) or x.dim() != axes + 2 or record.tensors[0] is not x:
        return None
    inputs, outputs = int(x.shape[1]), int(output.shape[1])
    shape = Shape(
        "transposed" if transposed else "convolution",
        int(x.shape[0]),
        tuple(map(int, x.shape[2:])),
        tuple(map(int, weight.shape[2:])),
        _each(stride, axes),
        _each(padding, axes),
        _each(dilation, axes),
        _each(output_padding, axes),
        0 if groups == inputs > 1 else int(groups),
        inputs,
        outputs,
    )
    return shape, (record.inputs[0], 1, inputs), (record.paints[0], 1, outputs)


def _product(record: Record) -> tuple[Shape, Side, Side] | None:
    if record.operator not in _PRODUCTS:
        return None
    x, weight = record.tensors[-2:]
    output = record.outputs[0]
    if x.dim() != 2 or weight.dim() != 2:
        return None
    inputs, outputs = int(x.shape[1]), int(output.shape[1])
    shape = Shape("linear", int(x.shape[0]), (), (), (), (), (), (), 1, inputs, outputs)
    return shape, (record.inputs[-2], 1, inputs), (record.paints[0], 1, outputs)


def _each(values: list[int], axes: int) -> tuple[int, ...]:
    """One number per spatial axis."""
    return tuple(map(int, values)) * (axes if len(values) == 1 else 1)


def _follows(graph: ChannelGraph, paint: Paint, axis: int, length: int) -> tuple[int, Widths]:
    """Slots of an axis that stay, and those per kept channel of every group."""
    labels = next((layer.labels for layer in paint if layer.axis == axis), None)
    slots = np.zeros(len(graph.groups), dtype=np.int64)
    if labels is None:
        return length, slots
    channels = graph.channel_of_colour[labels]
    held = np.bincount(graph.group_of_channel[channels[channels >= 0]], minlength=len(graph.groups))
    sizes = np.array([group.size for group in graph.groups], dtype=np.int64)
    return int((channels < 0).sum()), (held // np.maximum(sizes, 1)).astype(np.int64)
