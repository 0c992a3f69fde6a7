"""A gated network as one ONNX file that decides inside: live rows and columns of every weight are gathered
before the layer runs.

The exporter sees one operator per layer, `prunus::live`, which gives all channels, zeros where they are
closed; here it becomes standard operators. Layers whose gates choose between a few widths become an `If`
between plain layers instead (`prunus.dynamic.widths_onnx`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.atomic import draft_folder
from prunus.deploy import onnx as plain
from prunus.deploy import onnx_file
from prunus.dynamic.gates import Gate, KernelActivation
from prunus.dynamic.layers import boosted, convolved, spread
from prunus.dynamic.network import DynamicNetwork
from prunus.dynamic.skipping import SkippingLayer, live_slots, skipping
from prunus.dynamic.widths_onnx import AtWidth, chosen, few_parts
from prunus.dynamic.widths_onnx import translated as translated_at_width
from prunus.plans.verify import evaluating


@torch.library.custom_op("prunus::live", mutates_args=())
def live(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    rows: Tensor,
    columns: Tensor,
    blocks: list[int],
    stride: list[int],
    pads: list[int],
    dilation: list[int],
    depthwise: bool,
) -> Tensor:
    """A layer of one input with all its inputs and outputs, of which only live ones are computed; an empty
    mask means all.

    Args:
        x: (1, inputs, *places), zeros where they are not live.
        weight, bias: of a convolution or, with two axes, a linear layer.
        rows, columns: which outputs and inputs are live, bool.
        blocks: neighbouring rows, and neighbouring columns, that are always alike.
        stride, pads, dilation: of the convolution; pads are those before every axis, then those behind.
        depthwise: as many groups as channels; rows and columns are the same then.
    """
    made = torch.arange(len(weight)) if not len(rows) else rows.nonzero()[:, 0]
    read = torch.arange(x.shape[1]) if not len(columns) else columns.nonzero()[:, 0]
    weight_there = weight[made] if depthwise else weight[made][:, read]
    part = convolved(
        x[:, made if depthwise else read], weight_there, bias[made], stride, pads, dilation, depthwise
    )
    whole = part.new_zeros(len(part), len(weight), *part.shape[2:])
    whole[:, made] = part
    return whole


@live.register_fake
def _shaped(
    x: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, columns: Tensor, blocks: list[int], *settings: Any
) -> Tensor:
    return convolved(x, weight, bias, *settings)


@door()
def export_gated(network: DynamicNetwork, example_inputs: Tensor, path: Path | str) -> plain.OnnxCheck:
    """Export for one input at a time, and check that the file computes what the gated network does.

    Args:
        network: of `attach`, on the CPU, that takes one tensor.
        example_inputs: a batch; each of its inputs is tried on its own.
        path: where to write; an existing file is replaced only when the check has passed.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        CompactError: what `skipping` raises.
        VerifyError: the file computes something else.
        PrunusError: the exporter cannot express the network.
    """
    onnx_file.require()
    path = Path(path)
    prepared = _prepared(network, example_inputs[:1])
    with draft_folder(path) as folder:
        draft = folder / "model.onnx"
        with evaluating(prepared):
            opset = plain.write(prepared, (example_inputs[:1],), {}, draft, translations=_TRANSLATIONS)
        chosen(draft, [layer for layer in prepared.modules() if isinstance(layer, AtWidth)])
        return plain.check_each(network, example_inputs, draft, path, opset)


def _prepared(network: DynamicNetwork, example_inputs: Tensor) -> nn.Module:
    """The network with the layers that the exporter is to see."""
    skips, number = skipping(network, example_inputs), 0
    for name, module in list(skips.named_modules()):
        if not isinstance(module, SkippingLayer):
            continue
        if few_parts(module, network.gates):
            skips.set_submodule(name, AtWidth(module, network.gates, number))
            number += 1
        else:
            skips.set_submodule(name, _Whole(module, network.gates))
    return skips


class _Whole(nn.Module):
    """A layer of `skipping` that takes and gives all channels."""

    def __init__(self, part: SkippingLayer, gates: Mapping[str, Gate]) -> None:
        super().__init__()
        self.part = part
        made = 1 if part.places is None else alike(part.places, [gates[name] for name in part.made])
        self.blocks = [
            made,
            1 if part.reads is None else alike(part.reads[1], [gates[name] for name in part.reads[0]]),
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, *places) to (1, outputs, *places)."""
        part, openings = self.part, self.part.live.openings
        for name, gate in zip(part.gated, part.gates):
            openings[name] = gate(x)
        made = [openings[name] for name in part.made]
        none = torch.zeros(0, dtype=torch.bool)
        rows = none if part.places is None else live_slots([opening.open for opening in made], part.places)
        columns = (
            none
            if part.reads is None
            else live_slots([openings[name].open for name in part.reads[0]], part.reads[1])
        )
        y: Tensor = torch.ops.prunus.live(
            x,
            part.weight,
            part.bias,
            rows,
            columns,
            self.blocks,
            part.stride,
            part.pads,
            part.dilation,
            part.depthwise,
        )
        if part.places is None or all(opening.boost is None for opening in made):
            return y
        return boosted(y, made, part.places, part.shift) * spread(
            [opening.open for opening in made], part.places, y
        )


def alike(places: Tensor, gates: Sequence[Gate]) -> int:
    """The most neighbouring slots, from multiples of that number on, that are always open or closed together.

    Args:
        places: position of every slot in the openings of the gates side by side, -1 where it has no gate,
            shape (slots,).
        gates: in that order.
    """
    switches, count = [], 0
    for gate in gates:
        block = gate.block if isinstance(gate, KernelActivation) else 1
        switches.append(count + torch.arange(gate.channels) // block)
        count += gate.channels
    each = torch.cat([*switches, torch.tensor([-1])])[places]
    sizes = (size for size in range(len(each), 0, -1) if len(each) % size == 0)
    return next(size for size in sizes if bool((each.view(-1, size) == each.view(-1, size)[:, :1]).all()))


def _translated(
    x: Any,
    weight: Any,
    bias: Any,
    rows: Any,
    columns: Any,
    blocks: list[int],
    stride: list[int],
    pads: list[int],
    dilation: list[int],
    depthwise: bool,
) -> Any:
    """`prunus::live` in standard operators; the number of groups is fixed there, so a depthwise layer is
    computed whole and then masked.
    """
    op: Any = importlib.import_module("onnxscript").opset18
    plain_layer = len(weight.shape) == 2
    settings = {} if plain_layer else {"strides": stride, "pads": pads, "dilations": dilation}
    channels, inputs, *kernel = weight.shape
    if depthwise:
        made = op.Conv(x, weight, bias, group=channels, **settings)
        shape = op.Constant(value_ints=[1, channels, *[1] * (len(weight.shape) - 2)])
        return op.Mul(made, op.Reshape(op.CastLike(rows, made), shape)) if rows.shape[0] else made
    first = op.Constant(value_ints=[0])
    if rows.shape[0]:
        live_rows = op.NonZero(rows)
        bias = op.Gather(bias, op.Squeeze(live_rows, first), axis=0)
        weight = op.Reshape(weight, op.Constant(value_ints=[channels // blocks[0], -1]))
        weight = op.Gather(weight, _which(op, rows, blocks[0]), axis=0)
        weight = op.Reshape(weight, op.Constant(value_ints=[-1, inputs, *kernel]))
    if columns.shape[
        0
    ]:  # after the rows: columns are copied kernel by kernel, or block by block, so the fewer the better
        x = op.Gather(x, op.Squeeze(op.NonZero(columns), first), axis=1)
        weight = op.Reshape(weight, op.Constant(value_ints=[0, inputs // blocks[1], -1]))
        weight = op.Gather(weight, _which(op, columns, blocks[1]), axis=1)
        weight = op.Reshape(weight, op.Constant(value_ints=[0, -1, *kernel]))
    made = op.Gemm(x, weight, bias, transB=1) if plain_layer else op.Conv(x, weight, bias, **settings)
    if not rows.shape[0]:
        return made
    made = op.Squeeze(made, first)
    shape = op.Concat(op.Constant(value_ints=[channels]), op.Shape(made, start=1), axis=0)
    empty = op.Expand(op.CastLike(op.Constant(value_float=0.0), made), shape)
    return op.Unsqueeze(op.ScatterND(empty, op.Transpose(live_rows, perm=[1, 0]), made), first)


def _which(op: Any, mask: Any, block: int) -> Any:
    """The numbers of the blocks that are live."""
    zero, step, end = (op.Constant(value_ints=[value]) for value in (0, block, 2**31 - 1))
    return op.Squeeze(op.NonZero(op.Slice(mask, zero, end, zero, step)), zero)


_TRANSLATIONS: dict[Any, Any] = {
    torch.ops.prunus.live.default: _translated,
    torch.ops.prunus.at_width.default: translated_at_width,
}
