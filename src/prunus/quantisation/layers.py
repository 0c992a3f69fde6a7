"""The layers whose weights are quantised with a look at what they get: plain ones, in the order in which they
run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunus.observe.matrices import as_matrix, from_matrix, positions
from prunus.paint.folding import plain_layer
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import called, tensors_in
from prunus.paint.model_copy import copy_model
from prunus.plans.consumers import PLAIN_LAYERS, norm_behind

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer that is called once and has its weight for itself.

    Attributes:
        name: of the module.
        norm: the plain batch norm that alone reads what it makes and reads nothing else; "" if there is
            none, or the model returns what the layer makes.
        added: whether what it makes, or that norm, is read by one addition to a tensor of its size alone.
    """

    name: str
    norm: str
    added: bool = False

    @property
    def weight(self) -> str:
        """The name of its weight."""
        return f"{self.name}.weight".removeprefix(".")


def layers(graph: ChannelGraph) -> list[Layer]:
    """All such layers of a network, in the order in which they run."""
    calls = Counter(record.module for record in graph.records if "batch_norm" in record.operator)
    found, returned = [], _returned(graph)
    for index in sorted({contraction.record for contraction in graph.contractions}):
        name = plain_layer(graph.records, graph.twin.modules, index, PLAIN_LAYERS)
        if name is None:
            continue
        norm = norm_behind(graph, index)
        alone = calls[norm] == 1 and name not in returned and _is_plain(graph, norm)
        norm = norm if alone else ""
        found.append(Layer(name, norm, name not in returned and _is_added(graph, index, norm)))
    return found


@torch.no_grad()
def _returned(graph: ChannelGraph) -> set[str]:
    """Layers whose output is one of the model's own, which no operator tells."""
    made: dict[int, tuple[str, Tensor]] = {}
    model = copy_model(graph.model, {}).eval()

    def look(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            made[id(output)] = (name, output)  # held, so that its id stays its own

    for name, module in model.named_modules():
        if type(module) in PLAIN_LAYERS:
            module.register_forward_hook(lambda m, args, output, name=name: look(name, output))
    args, kwargs = graph.inputs
    outputs = called(model, args, kwargs)
    return {made[id(tensor)][0] for tensor in tensors_in(outputs) if id(tensor) in made}


def _is_added(graph: ChannelGraph, index: int, norm: str) -> bool:
    """Whether a record's output, or that of the norm behind it, goes into a sum and nowhere else."""
    made = graph.records[index].outputs[0]
    if norm:
        made = next(r.outputs[0] for r in graph.records if r.module == norm and "batch_norm" in r.operator)
    using = [record for record in graph.records if any(tensor is made for tensor in record.tensors)]
    if len(using) != 1 or using[0].operator not in ("add", "add_"):
        return False
    summed = using[0].tensors
    return len(summed) == 2 and summed[0].shape == summed[1].shape and not using[0].kwargs.get("alpha")


def _is_plain(graph: ChannelGraph, norm: str) -> bool:
    """Whether a norm is of a class of torch and has its parameters for itself."""
    module = graph.twin.modules[norm]
    if type(module) not in NORMS or hasattr(module, "parametrizations"):
        return False
    mine = (*module.parameters(), *module.buffers())
    uses = Counter(
        id(tensor)
        for other in graph.twin.modules.values()
        for tensor in (*other._parameters.values(), *other._buffers.values())
    )
    return all(uses[id(tensor)] == 1 for tensor in mine)


def group_matrices(module: nn.Module, weight: Tensor) -> Tensor:
    """A weight as (groups, outputs of a group, columns), so that rows of a group's inputs times it make the
    outputs of the group; columns are input channels with their kernel positions.
    """
    groups: int = getattr(module, "groups", 1)
    matrix = as_matrix(module, weight)
    if getattr(module, "transposed", False):
        return matrix.reshape(len(matrix), groups, -1, matrix.shape[-1]).transpose(0, 1).flatten(2)
    return matrix.reshape(groups, -1, matrix[0].numel())


def from_group_matrices(module: nn.Module, matrices: Tensor, like: Tensor) -> Tensor:
    """The weight that `group_matrices` made matrices of."""
    places = positions(module)
    if getattr(module, "transposed", False):
        matrix = matrices.reshape(*matrices.shape[:2], -1, places).transpose(0, 1).flatten(1, 2)
    else:
        matrix = matrices.reshape(-1, matrices.shape[-1] // places, places)
    return from_matrix(module, matrix, like)
