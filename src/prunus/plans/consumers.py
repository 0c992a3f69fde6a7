"""Who reads a channel: the layers whose weights can make up for what goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus.paint.folding import plain_layer
from prunus.paint.graph import ChannelGraph
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
    """A plain layer, called once, that reads channels.

    Attributes:
        name: of the module.
        record: the operator call that it is.
        inputs: the channel of every slot of its weight's input axis, -1 where pinned; every group of a
            convolution has the same.
        outputs: the channel of every slot of its output, likewise.
        groups: of the convolution.
        norm: the batch norm that alone reads what the layer makes, and can therefore take a shift of it; ""
            if there is none.
    """

    name: str
    record: int
    inputs: Labels
    outputs: Labels
    groups: int
    norm: str

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
    found = []
    for index in sorted({contraction.record for contraction in graph.contractions}):
        name = plain_layer(graph.records, graph.twin.modules, index, PLAIN_LAYERS)
        if name is None:
            continue
        module, weight = graph.twin.modules[name], f"{name}.weight".removeprefix(".")
        transposed = bool(getattr(module, "transposed", False))
        if (weight, 0) not in axes or (transposed and module.groups != 1):
            continue
        inputs, outputs = (axes[weight, dim].channels for dim in ((0, 1) if transposed else (1, 0)))
        if not axes[weight, 0 if transposed else 1].consumed or not (inputs >= 0).any():
            continue
        found.append(
            Reader(name, index, inputs, outputs, getattr(module, "groups", 1), norm_behind(graph, index))
        )
    return found


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
