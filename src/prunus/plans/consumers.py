"""Who reads a channel: the layers whose weights can make up for what goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus.paint.folding import plain_layer
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import named_tensors
from prunus.paint.records import Labels

PLAIN_LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


@dataclass(frozen=True, eq=False)
class Reader:
    """A plain layer that reads channels.

    Attributes:
        name: of the module.
        record: the operator call that it is, the first of several.
        inputs: the channel of every slot of its weight's input axis, -1 where pinned; every group of a
            convolution has the same.
        outputs: the channel of every slot of its output, likewise.
        groups: of the convolution.
        norm: the batch norm that alone reads what the layer makes, and nothing else, and can therefore take a
            shift of it; ""
            if there is none.
        calls: how often a forward calls it: several times where it is shared by branches, as those of
            siamese networks.
    """

    name: str
    record: int
    inputs: Labels
    outputs: Labels
    groups: int
    norm: str
    calls: int = 1

    def parts(self, removed: NDArray[np.bool_]) -> list[tuple[Tensor, Tensor]]:
        """Per group, the positions in the layer's input and in its output of the channels that stay."""
        kept, made = (
            torch.from_numpy(_stays(channels, removed).nonzero()[0])
            for channels in (self.inputs, self.outputs)
        )
        per_group = len(self.outputs) // self.groups
        return [(kept + g * len(self.inputs), made[made // per_group == g]) for g in range(self.groups)]

    def loses(self, removed: NDArray[np.bool_]) -> bool:
        """Whether some of what it reads goes, and some of what it makes stays."""
        inputs, outputs = _stays(self.inputs, removed), _stays(self.outputs, removed)
        return bool(inputs.any() and not inputs.all() and outputs.any())


def readers(graph: ChannelGraph) -> list[Reader]:
    """All plain layers that read channels, in the order in which they run."""
    axes = {(axis.name, axis.dim): axis for axis in graph.axes}
    calls: dict[str, list[int]] = {}
    for index in sorted({contraction.record for contraction in graph.contractions}):
        layer = plain_layer(graph.records, graph.twin.modules, index, PLAIN_LAYERS, often=True)
        if layer is not None:
            calls.setdefault(layer, []).append(index)
    found = []
    for name, indices in calls.items():
        module, weight = graph.twin.modules[name], f"{name}.weight".removeprefix(".")
        transposed = bool(getattr(module, "transposed", False))
        if (weight, 0) not in axes or (transposed and module.groups != 1):
            continue
        inputs, outputs = (axes[weight, dim].channels for dim in ((0, 1) if transposed else (1, 0)))
        if not axes[weight, 0 if transposed else 1].consumed or not (inputs >= 0).any():
            continue
        norm, groups = _norm_behind_all(graph, indices), getattr(module, "groups", 1)
        found.append(Reader(name, indices[0], inputs, outputs, groups, norm, len(indices)))
    return found


def _norm_behind_all(graph: ChannelGraph, indices: list[int]) -> str:
    """The batch norm that reads what each of some records makes, and nothing else; "" if there is none."""
    first, *others = {norm_behind(graph, index) for index in indices}
    runs = sum(record.module == first and "batch_norm" in record.operator for record in graph.records)
    return "" if others or runs != len(indices) else first


def reading_axes(graph: ChannelGraph) -> list[Axis]:
    """The axes of parameters that are multiplied with channels and summed over. What a weight norm makes
    filters of is none: its filters are channels that others make, and what it reads is scaled anew.
    """
    names = {id(tensor): name for name, tensor in named_tensors(graph.twin.model).items()}
    directions = {
        names.get(id(record.tensors[0]))
        for record in graph.records
        if record.operator == "_weight_norm_interface" and record.tensors
    }
    return [
        axis for axis in graph.axes if axis.is_parameter and not axis.produces and axis.name not in directions
    ]


def norms_behind(graph: ChannelGraph) -> dict[str, str]:
    """Module -> the batch norm behind the last product that it computes, "" if there is none; of all modules
    that compute any.
    """
    last = {
        graph.records[contraction.record].module: contraction.record for contraction in graph.contractions
    }
    return {name: norm_behind(graph, index) for name, index in last.items()}


def norm_behind(graph: ChannelGraph, index: int) -> str:
    """The batch norm with running statistics that alone reads what a record makes; "" if there is none."""
    made = graph.records[index].outputs[0]
    using = [record for record in graph.records if any(tensor is made for tensor in record.tensors)]
    if len(using) != 1 or "batch_norm" not in using[0].operator:
        return ""
    module = graph.twin.modules[using[0].module]
    return using[0].module if isinstance(module, _BatchNorm) and module.running_mean is not None else ""


def _stays(channels: Labels, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which slots stay; pinned ones are channel -1."""
    result: NDArray[np.bool_] = ~np.append(removed, False)[channels]
    return result
