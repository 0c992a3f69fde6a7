"""`skipping`: the form of a gated network for inference, in which only live channels are computed.

A gate is asked first. Then the layer runs with the rows of its weight that make live channels and the columns
that read live channels, and gives a tensor of live channels only, which whatever stands between the layers
takes as it comes. Batch norms are folded into the weights.

Of a batch the tensor has the channels that any of its inputs needs. Where that is much more than each needs,
a layer runs once for all inputs that need the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from prunus._foundation.agreement import difference, not_finite, rounding
from prunus._foundation.arguments import door
from prunus.dynamic.layers import GatedLayer, Live, boosted, places_of, spread
from prunus.dynamic.network import DynamicNetwork
from prunus.dynamic.patterns import Pattern, patterns
from prunus.errors import CompactError, clause
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs, as_arguments, called, tensors_in
from prunus.plans.consumers import Reader, readers
from prunus.plans.verify import evaluating

_CACHED = 64  # weights that a layer keeps, by what is live


class SkippingLayer(nn.Module):
    """A convolution or linear layer that computes live channels from live channels.

    Args:
        layer: the layer.
        norm: the batch norm behind it, which is folded in, or None.
        gated: the gated layer that it was, or None for one that only reads.
        reads: (groups that it reads, position of every input slot in their openings side by side, -1 where it
            has no gate); None if it reads none.
        live: what the gates of the network said.

    Attributes:
        stride, pads, dilation: of a convolution, one number per axis, the pads before every axis and then
            those behind; empty for a linear layer.
        depthwise: whether it has as many groups as channels.
    """

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module | None,
        gated: GatedLayer | None,
        reads: tuple[Sequence[str], Tensor] | None,
        live: Live,
    ) -> None:
        super().__init__()
        weight, bias = _folded(layer, norm)
        self.weight, self.bias = (
            nn.Parameter(weight, requires_grad=False),
            nn.Parameter(bias, requires_grad=False),
        )
        self.gates = gated.gates if gated is not None else nn.ModuleList()
        self.made: tuple[str, ...] = gated.groups if gated is not None else ()
        self.gated = gated._gated if gated is not None else ()
        self.places = gated.places if gated is not None else None
        self.shift = (
            norm.bias.detach().clone()
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.affine
            else None
        )
        self.reads = reads
        self.live = live
        self._run = _runner(layer)
        self.depthwise = getattr(layer, "groups", 1) > 1
        self.stride, self.pads, self.dilation = _geometry(layer)
        self._cache: dict[tuple[bytes, bytes], tuple[Tensor, Tensor]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> SkippingLayer:
        copied = SkippingLayer.__new__(SkippingLayer)
        memo[id(self)] = copied
        copied.__dict__.update(
            {
                name: copy.deepcopy(value, memo)
                for name, value in self.__dict__.items()
                if name not in ("_run", "_cache")
            }
        )
        copied._run, copied._cache = self._run, {}
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": {}}

    def _apply(self, fn: Any, recurse: bool = True) -> SkippingLayer:
        """Another device or type: the shift goes along, and parts of the weights that were kept as they were
        are made anew.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.shift = None if self.shift is None else fn(self.shift)
        self._cache.clear()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._cache.clear()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, live inputs, *places) to (batch, live outputs, *places)."""
        read = [self.live.openings[name].open for name in self.reads[0]] if self.reads is not None else []
        columns = live_slots(read, self.reads[1]) if self.reads is not None else None
        if self.gated:
            whole = _whole(x, columns)
            for name, gate in zip(self.gated, self.gates):
                self.live.openings[name] = gate(whole)
        openings = [self.live.openings[name] for name in self.made]
        make = [opening.open for opening in openings]
        rows = live_slots(make, self.places) if self.places is not None else None
        split = self._split(x, make, read)
        y = (
            self._run(x, *self._cut(rows, columns))
            if split is None
            else self._by_pattern(x, split, rows, columns)
        )
        if rows is None or self.places is None:
            return y
        places = self.places[rows]
        y = boosted(y, openings, places, None if self.shift is None else self.shift[rows])
        return y * spread(make, places, y) if len(y) > 1 else y  # closed for some inputs, open for others

    def _split(self, x: Tensor, make: Sequence[Tensor], read: Sequence[Tensor]) -> list[Pattern] | None:
        """The inputs of the batch by what they need, if it is less work to run for each pattern.

        Not for a depthwise layer, which has too little to do, nor where axes or inputs were rearranged since
        the gates spoke.
        """
        if (
            len(x) == 1
            or self.depthwise
            or x.dim() != self.weight.dim()
            or any(len(opens) != len(x) for opens in (*make, *read))
        ):
            return None
        outputs, inputs = self.weight.shape[:2]
        rows = needed(make, self.places) if self.places is not None else None
        columns = needed(read, self.reads[1]) if self.reads is not None else None
        return patterns(rows, columns, outputs, inputs, x.shape[2:].numel() / prod(self.stride))

    def _by_pattern(
        self, x: Tensor, split: Sequence[Pattern], rows: Tensor | None, columns: Tensor | None
    ) -> Tensor:
        """The outputs that any input needs; those that an input does not need are zero."""
        y: Tensor | None = None
        for one in split:
            part = x[one.numbers] if one.columns is None else x[one.numbers][:, one.columns[columns]]
            made: Tensor = self._run(part, *self._cut(one.rows, one.columns))
            if one.rows is not None and rows is not None:
                whole = made.new_zeros(len(made), int(rows.count_nonzero()), *made.shape[2:])
                whole[:, one.rows[rows]] = made
                made = whole
            y = made.new_zeros(len(x), *made.shape[1:]) if y is None else y
            y[one.numbers] = made
        assert y is not None
        return y

    def _cut(self, rows: Tensor | None, columns: Tensor | None) -> tuple[Tensor, Tensor]:
        """The part of the weight and of the bias that is needed."""
        if rows is None and columns is None:
            return self.weight, self.bias
        key = _bytes(rows), _bytes(columns)
        found = self._cache.get(key)
        if found is None:
            weight, bias = (self.weight, self.bias) if rows is None else (self.weight[rows], self.bias[rows])
            if columns is not None and not self.depthwise:
                weight = weight[:, columns]
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[key] = found = (weight.contiguous(), bias)
        return found


@door()
def skipping(network: DynamicNetwork, example_inputs: Inputs) -> DynamicNetwork:
    """A copy of a gated network for inference that computes live channels only: the same outputs, without
    gradients.

    For one input at a time nothing else is computed. Of a larger batch a layer computes what any input needs,
    or each group of inputs that need the same on its own, whichever is less work. It may run in several
    threads at once.

    Args:
        network: of `attach`.
        example_inputs: on which both forms are compared.

    Raises:
        CompactError: the form that skips already; something that is not a plain layer reads gated channels;
            or the forward has sizes in it, or computes something else.
    """
    graph = network.graph
    copied = copy.deepcopy(network.network).eval()
    live = next((module.live for module in copied.modules() if isinstance(module, GatedLayer)), None)
    if live is None:
        raise CompactError("This is the form that skips already: give the network that it was made of.")
    reading = _reading(graph, network.gates)
    for name, module in list(copied.named_modules()):
        if isinstance(module, GatedLayer):
            norm = None if isinstance(module.norm, nn.Identity) else module.norm
            copied.set_submodule(
                name,
                SkippingLayer(
                    module.layer, norm, module, _where(graph, reading.pop(name, None), network.gates), live
                ),
            )
    for name, reader in reading.items():
        copied.set_submodule(
            name,
            SkippingLayer(copied.get_submodule(name), None, None, _where(graph, reader, network.gates), live),
        )
    layers = [module for module in copied.modules() if isinstance(module, SkippingLayer)]
    gates: dict[str, Any] = {name: gate for layer in layers for name, gate in zip(layer.gated, layer.gates)}
    fast = network.with_network(copied, gates, live).eval()
    _compare(network, fast, example_inputs)
    return fast


def _reading(graph: ChannelGraph, gates: Mapping[str, Any]) -> dict[str, Reader]:
    """The layers that read gated channels; raises CompactError if something else does."""
    gated = np.isin(graph.group_of_channel, [group.index for group in graph.groups if group.name in gates])
    found = {
        reader.name: reader
        for reader in readers(graph)
        if reader.calls == 1 and gated[reader.inputs[reader.inputs >= 0]].any()
    }
    for axis in graph.axes:
        name = axis.name.rpartition(".")[0]
        if (
            not axis.produces
            and axis.is_parameter
            and gated[axis.channels[axis.channels >= 0]].any()
            and name not in found
        ):
            raise CompactError(
                f"{axis.name} reads gated channels, and is not the weight of a plain layer that could do"
                " without the closed ones."
            )
    for name, reader in found.items():
        if reader.groups > 1:
            raise CompactError(
                f"{name} reads gated channels in {reader.groups} groups, which would not stay equally wide."
            )
    return found


def _where(
    graph: ChannelGraph, reader: Reader | None, gates: Mapping[str, Any]
) -> tuple[Sequence[str], Tensor] | None:
    """Groups that a layer reads, and where every input slot is in their openings side by side."""
    if reader is None:
        return None
    read = np.unique(graph.group_of_channel[reader.inputs[reader.inputs >= 0]])
    groups = [graph.groups[index] for index in read if graph.groups[index].name in gates]
    return [group.name for group in groups], places_of(groups, reader.inputs)


def _compare(network: DynamicNetwork, copied: nn.Module, example_inputs: Inputs) -> None:
    args, kwargs = as_arguments(example_inputs)
    with evaluating(network), evaluating(copied):
        wanted = list(tensors_in(called(network, args, kwargs)))
        try:
            found = list(tensors_in(copied(*args, **kwargs)))
        except Exception as error:  # any forward may have sizes in it
            raise CompactError(
                f"{type(network.network).__name__} does not run with live channels only ({clause(error)})."
            ) from error
    name, broken = type(network.network).__name__, not_finite(wanted)
    if broken:
        raise CompactError(
            f"{name} gives {broken} on these inputs, so its form with live channels only cannot be checked;"
            " give other inputs."
        )
    if not difference(wanted, found).relative <= max(
        (rounding(tensor.dtype) for tensor in wanted), default=0.0
    ):
        raise CompactError(f"{name} computes something else with live channels only.")


def live_slots(opens: Sequence[Tensor], places: Tensor) -> Tensor:
    """Which slots any input of the batch needs, bool (slots,); those without a gate are always needed."""
    used = torch.cat(
        [
            *((opening > 0).any(0) for opening in opens),
            torch.ones(1, dtype=torch.bool, device=opens[0].device),
        ]
    )
    return used[places]


def needed(opens: Sequence[Tensor], places: Tensor) -> Tensor:
    """Which slots each input of the batch needs, bool (batch, slots); those without a
    gate are always needed.
    """
    always = torch.ones(len(opens[0]), 1, dtype=torch.bool, device=opens[0].device)
    return torch.cat([*(opening > 0 for opening in opens), always], 1)[:, places]


def _whole(x: Tensor, columns: Tensor | None) -> Tensor:
    """What a gate looks at: all inputs, zeros where they are not live."""
    if columns is None or bool(columns.all()):
        return x
    whole = x.new_zeros(len(x), len(columns), *x.shape[2:])
    whole[:, columns] = x
    return whole


def _bytes(flags: Tensor | None) -> bytes:
    return b"" if flags is None else flags.cpu().numpy().tobytes()


def _folded(layer: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer and the batch norm behind it."""
    weight, bias = (
        layer.weight.detach(),
        layer.bias.detach() if layer.bias is not None else layer.weight.new_zeros(len(layer.weight)),
    )
    if norm is None:
        return weight.clone(), bias.clone()
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    scale = norm.weight if norm.affine else torch.ones_like(norm.running_var)
    shift = norm.bias if norm.affine else torch.zeros_like(norm.running_mean)
    folded, moved = fuse(weight, bias, norm.running_mean, norm.running_var, norm.eps, scale, shift)
    return folded.detach(), moved.detach()


def _geometry(layer: Any) -> tuple[list[int], list[int], list[int]]:
    """Stride, pads and dilation of a convolution."""
    if isinstance(layer, nn.Linear):
        return [], [], []
    # behind the last axis's two sides come those of the one before it
    around = layer._reversed_padding_repeated_twice
    pads = [around[2 * axis + side] for side in (0, 1) for axis in reversed(range(len(layer.kernel_size)))]
    return list(layer.stride), pads, list(layer.dilation)


def _runner(layer: Any) -> Any:
    """(x, weight, bias) -> what the layer makes; a depthwise one has as many groups as channels."""
    if isinstance(layer, nn.Linear):
        return F.linear
    if layer.padding_mode != "zeros":
        raise CompactError(
            f"A convolution that pads with {layer.padding_mode!r} cannot do without closed channels yet; use"
            " zeros."
        )
    if layer.groups > 1 and not layer.groups == layer.in_channels == layer.out_channels:
        raise CompactError(
            f"A convolution of {layer.groups} groups cannot do without closed channels: its groups would not"
            " stay equally wide."
        )
    operator = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}.get(type(layer))
    if operator is None:
        raise CompactError(
            f"A {type(layer).__name__} cannot do without closed channels yet; linear layers and convolutions"
            " can."
        )
    if layer.groups > 1:
        return partial(_depthwise, operator, layer.stride, layer.padding, layer.dilation)
    return partial(operator, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)


def _depthwise(
    operator: Any, stride: Any, padding: Any, dilation: Any, x: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """A convolution with as many groups as it has filters."""
    made: Tensor = operator(x, weight, bias, stride, padding, dilation, len(weight))
    return made
