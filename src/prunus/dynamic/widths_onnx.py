"""Layers with gates of kind "widths" in ONNX: an `If` between plain layers, one for every choice of widths,
with weights that are fixed.

Weights that are gathered at run time cannot be put into the blocks that a runtime's fast kernels want; fixed
ones can, once, when the file is read. The price is a copy of a weight's part for every pair of widths that
its layer may read and make.

The exporter sees an operator of its own, `prunus::at_width`, and writes it as it is; `chosen` replaces it in
the file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.dynamic.gates import Gate, Widths
from prunus.dynamic.layers import convolved
from prunus.dynamic.skipping import SkippingLayer, live_slots

MOST_PARTS = 16  # of a layer; beyond, its weight is gathered
Part = tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]  # rows and columns, None = all


@torch.library.custom_op("prunus::at_width", mutates_args=())
def at_width(
    x: Tensor,
    choices: Tensor,
    weight: Tensor,
    bias: Tensor,
    layer: int,
    stride: list[int],
    pads: list[int],
    dilation: list[int],
    depthwise: bool,
) -> Tensor:
    """A layer at its full width; in its place, the file has one part of it for every choice of widths.

    Args:
        x: (1, inputs, *places).
        choices: the number of the width that each of its gates chose, int64 (gates,).
        weight, bias, stride, pads, dilation, depthwise: see `prunus.dynamic.layers.convolved`.
        layer: its number among those of the file.
    """
    return convolved(x, weight, bias, stride, pads, dilation, depthwise)


@at_width.register_fake
def _shaped(x: Tensor, choices: Tensor, weight: Tensor, bias: Tensor, layer: int, *settings: Any) -> Tensor:
    return convolved(x, weight, bias, *settings)


def translated(x: Any, choices: Any, weight: Any, bias: Any, layer: int, *settings: Any) -> Any:
    """`prunus::at_width` as a node of its own, which `chosen` replaces."""
    values: Any = importlib.import_module("onnxscript").values
    defs: Any = importlib.import_module("onnx").defs
    kind, one = defs.OpSchema, defs.OpSchema.FormalParameter
    schema = kind(
        "AtWidth",
        "prunus",
        1,
        inputs=[one("x", "T"), one("choices", "tensor(int64)")],
        outputs=[one("y", "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(double)"], "")],
        attributes=[kind.Attribute("layer", kind.AttrType.INT)],
    )
    return values.Op(values.Opset("prunus", 1), "AtWidth", schema)(x, choices, layer=layer)


class AtWidth(nn.Module):
    """A layer of `skipping` whose gates choose between widths, taking and giving all channels; for the
    exporter.

    Args:
        part: the layer.
        gates: of the network, by name.
        number: of the layer among those of the file.
    """

    def __init__(self, part: SkippingLayer, gates: Mapping[str, Gate], number: int) -> None:
        super().__init__()
        self.part, self.number = part, number
        self.choosing = {name: gates[name] for name in involved(part)}

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, *places) to (1, outputs, *places)."""
        part, openings = self.part, self.part.live.openings
        for name, gate in zip(part.gated, part.gates):
            openings[name] = gate(x)
        choices = [
            (_widths(gate).sum(1) < openings[name].open.sum()).sum() for name, gate in self.choosing.items()
        ]
        y: Tensor = torch.ops.prunus.at_width(
            x,
            torch.stack(choices),
            part.weight,
            part.bias,
            self.number,
            part.stride,
            part.pads,
            part.dilation,
            part.depthwise,
        )
        return y

    def parts(self) -> dict[tuple[int, ...], Part]:
        """Rows and columns for every choice of widths."""
        found = {}
        for picked in np.ndindex(*(len(_widths(gate)) for gate in self.choosing.values())):
            opens = {
                name: _widths(gate)[number, None]
                for (name, gate), number in zip(self.choosing.items(), picked)
            }
            rows = (
                None
                if self.part.places is None
                else live_slots([opens[name] for name in self.part.made], self.part.places)
            )
            columns = (
                None
                if self.part.reads is None
                else live_slots([opens[name] for name in self.part.reads[0]], self.part.reads[1])
            )
            found[picked] = (
                None if rows is None else rows.numpy(),
                None if columns is None else columns.numpy(),
            )
        return found


def involved(part: SkippingLayer) -> tuple[str, ...]:
    """Names of the gates that decide what a layer makes and reads."""
    return tuple(dict.fromkeys((*part.made, *(part.reads[0] if part.reads is not None else ()))))


def few_parts(part: SkippingLayer, gates: Mapping[str, Gate]) -> bool:
    """Whether all gates of a layer choose between widths, and few enough of them for a copy of each part."""
    choosing = [gates[name] for name in involved(part)]
    return (
        all(isinstance(gate, Widths) for gate in choosing)
        and prod(len(_widths(gate)) for gate in choosing) <= MOST_PARTS
    )


def _widths(gate: Gate) -> Tensor:
    """Which channels each width opens, (widths, channels)."""
    opens: Tensor = gate.opens  # type: ignore[assignment]
    return opens


def chosen(file: Path, layers: Sequence[AtWidth]) -> None:
    """Put the `If`s into a file, in place of the exporter's nodes."""
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(file)
    nodes = []
    for node in model.graph.node:
        if node.domain != "prunus":
            nodes.append(node)
            continue
        number = onnx.helper.get_attribute_value(node.attribute[0])
        more, constants = _Choice(onnx, layers[number], node.input[0], node.input[1], node.output[0]).nodes()
        nodes += more
        model.graph.initializer.extend(constants)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [one for one in model.opset_import if one.domain != "prunus"]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, file)


class _Choice:
    """The nodes of one layer.

    Args:
        onnx: the package.
        layer: what is to be computed.
        x, choices, y: names of its input, of the widths that were chosen, and of its output.
    """

    def __init__(self, onnx: Any, layer: AtWidth, x: str, choices: str, y: str) -> None:
        self.onnx, self.layer, self.x, self.choices, self.y = onnx, layer, x, choices, y
        self.parts = layer.parts()
        self.weight, self.bias = (value.detach().numpy() for value in (layer.part.weight, layer.part.bias))
        self.count = 0

    def nodes(self) -> tuple[list[Any], list[Any]]:
        """What stands in the place of the exporter's node, and its constants."""
        sizes = [len(_widths(gate)) for gate in self.layer.choosing.values()]
        nodes, constants = [], []
        for gate in range(len(sizes)):
            constants.append(self._constant(np.array(gate, np.int64), f"gate{gate}"))
            nodes.append(
                self._node("Gather", [self.choices, constants[-1].name], self._name(f"choice{gate}"), axis=0)
            )
        more, numbers, output = self._between(sizes, ())
        return [*nodes, *more, self.onnx.helper.make_node("Identity", [output], [self.y])], [
            *constants,
            *numbers,
        ]

    def _between(
        self, sizes: Sequence[int], picked: tuple[int, ...], low: int = 0, high: int | None = None
    ) -> tuple[list[Any], list[Any], str]:
        """Nodes, constants and output for widths low to high of the next gate, if those before it chose
        `picked`.
        """
        if len(picked) == len(sizes):
            return self._part(*self.parts[picked])
        high = sizes[len(picked)] if high is None else high
        if high - low == 1:
            return self._between(sizes, (*picked, low))
        middle, label = (low + high) // 2, self._label()
        constant = self._constant(np.array(middle, np.int64), f"{label}/middle")
        less = self._node(
            "Less", [self._name(f"choice{len(picked)}"), constant.name], self._name(f"{label}/narrow")
        )
        branches = {
            "then_branch": self._graph(
                f"{label}/narrower", lambda: self._between(sizes, picked, low, middle)
            ),
            "else_branch": self._graph(f"{label}/wider", lambda: self._between(sizes, picked, middle, high)),
        }
        output = self._name(f"{label}/output")
        return [less, self._node("If", [less.output[0]], output, **branches)], [constant], output

    def _graph(self, label: str, build: Callable[[], tuple[list[Any], list[Any], str]]) -> Any:
        nodes, constants, output = build()
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(self.weight.dtype)
        result = self.onnx.helper.make_tensor_value_info(output, kind, None)
        return self.onnx.helper.make_graph(nodes, self._name(label), [], [result], constants)

    def _part(
        self, rows: NDArray[np.bool_] | None, columns: NDArray[np.bool_] | None
    ) -> tuple[list[Any], list[Any], str]:
        """The layer with some of its rows and columns: channels that it reads are gathered, and zeros put
        between those that it makes.
        """
        part, label, last = self.layer.part, self._label(), self.x
        weight, bias = (
            self.weight if rows is None else self.weight[rows],
            self.bias if rows is None else self.bias[rows],
        )
        nodes, constants = [], []

        def step(kind: str, values: Sequence[NDArray[Any]], output: str, **settings: Any) -> None:
            nonlocal last
            added = [
                self._constant(value, f"{label}/{output}{number}") for number, value in enumerate(values)
            ]
            constants.extend(added)
            nodes.append(
                self._node(
                    kind, [last, *(one.name for one in added)], self._name(f"{label}/{output}"), **settings
                )
            )
            last = nodes[-1].output[0]

        if part.depthwise:
            columns = rows
        elif columns is not None and not columns.all():
            weight = weight[:, columns]
        if columns is not None and not columns.all():
            step("Gather", [columns.nonzero()[0]], "read", axis=1)
        if weight.ndim == 2:
            step("Gemm", [weight, bias], "made", transB=1)
        else:
            groups = len(weight) if part.depthwise else 1
            step(
                "Conv",
                [weight, bias],
                "made",
                strides=part.stride,
                pads=part.pads,
                dilations=part.dilation,
                group=groups,
            )
        if rows is not None and not rows.all():
            around = np.zeros(2 * weight.ndim, np.int64)
            around[weight.ndim + 1] = 1  # one channel of zeros behind the others
            step("Pad", [around], "padded")
            step("Gather", [np.where(rows, rows.cumsum() - 1, len(weight)).astype(np.int64)], "whole", axis=1)
        return nodes, constants, last

    def _node(self, kind: str, inputs: Sequence[str], output: str, **settings: Any) -> Any:
        return self.onnx.helper.make_node(kind, inputs, [output], **settings)

    def _constant(self, value: NDArray[Any], label: str) -> Any:
        return self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), self._name(label))

    def _label(self) -> str:
        self.count += 1
        return str(self.count)

    def _name(self, label: str) -> str:
        return f"{self.y}/{label}"
