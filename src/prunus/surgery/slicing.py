"""Surgery on a module: slice its parameters, set the attributes that say their sizes. Data first, then
applied to a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import Modules, copy_model, named_tensors, walk
from prunus.paint.widths import Width, set_widths
from prunus.plans.slices import Slices, cut
from prunus.surgery.indices import Remap, renumbered
from prunus.surgery.places import set_size
from prunus.surgery.rescaling import Rescale


@dataclass(frozen=True)
class Rebind:
    """Set attribute `name` of module `module`, or a place in one (see `places`), to `value`: an int, or a
    tuple or list of ints.
    """

    module: str
    name: str
    value: Any


@dataclass(frozen=True)
class Surgery:
    """Everything that turns a dense module into the compact one of the same class."""

    slices: Slices
    rebinds: tuple[Rebind, ...] = field(default=())
    rescales: tuple[Rescale, ...] = field(default=())
    remaps: tuple[Remap, ...] = field(default=())
    widths: tuple[Width, ...] = field(default=())


def changed(tensors: Mapping[str, Tensor], slices: Slices, remaps: Sequence[Remap]) -> dict[str, Tensor]:
    """The sliced tensors, and those whose values are slots."""
    result = {name: cut(tensors[name], axes) for name, axes in slices.items() if name in tensors}
    for remap in remaps:
        if remap.name in tensors:
            result[remap.name] = renumbered(
                result.get(remap.name, tensors[remap.name]), remap.size, remap.kept
            )
    return result


def operate(model: nn.Module, surgery: Surgery) -> nn.Module:
    """A copy of the model with sliced tensors and updated attributes; the model itself is not touched."""
    tensors = named_tensors(model)
    replace = {
        id(tensors[name]): tensor for name, tensor in changed(tensors, surgery.slices, surgery.remaps).items()
    }
    result = copy_model(model, replace)
    modules = walk(result)
    rebind_attributes(modules, surgery.rebinds)
    rescale(result, surgery)
    set_widths(modules, surgery.widths)
    return result


def rescale(model: nn.Module, surgery: Surgery) -> None:
    """Scale rows of an operated model's parameters."""
    tensors = named_tensors(model) if surgery.rescales else {}
    with torch.no_grad():
        for change in surgery.rescales:
            for name in change.parameters:
                kept = surgery.slices.get(name, {}).get(0, np.arange(len(tensors[name])))
                tensors[name][torch.from_numpy(np.flatnonzero(np.isin(kept, change.rows)))] *= change.factor


def rebind_attributes(modules: Modules, rebinds: Sequence[Rebind]) -> None:
    """Set attributes of a model's modules."""
    for rebind in rebinds:
        set_size(modules[rebind.module], rebind.name, rebind.value)


def standard_rebinds(graph: ChannelGraph, removed: NDArray[np.bool_], slices: Slices) -> list[Rebind]:
    """Attributes of torch's own layers (and their subclasses) that say the sizes of their parameters or
    inputs.
    """
    modules = graph.twin.modules

    def after(name: str, tensor: Tensor) -> tuple[int, ...]:
        cuts = slices.get(name, {})
        return tuple([len(cuts[axis]) if axis in cuts else n for axis, n in enumerate(tensor.shape)])

    found = layer_sizes(modules, after)
    for record in graph.records:
        module = modules[record.module]
        if record.operator == "convolution" and _is_fan(module):
            axis = record.tensors[0].dim() - record.tensors[1].dim() + 1
            read = graph.kept_shape(record.tensors[0].shape, record.inputs[0], removed)[axis]
            for attribute in ("in_channels", "groups"):
                found.pop((record.module, attribute), None)
                if getattr(module, attribute) != read:
                    found[record.module, attribute] = read
        elif (
            record.operator == "native_layer_norm" and isinstance(module, nn.LayerNorm)
        ) or "rms_norm" in record.operator:
            shape = graph.kept_shape(record.tensors[0].shape, record.inputs[0], removed)[
                -len(record.args[1]) :
            ]
            if getattr(module, "normalized_shape", shape) != shape:
                found[record.module, "normalized_shape"] = shape
        elif record.operator == "native_group_norm" and isinstance(module, nn.GroupNorm):
            channels = graph.kept_shape(record.tensors[0].shape, record.inputs[0], removed)[1]
            if channels != module.num_channels:
                found[record.module, "num_channels"] = channels
                if module.num_groups > 1:
                    found[record.module, "num_groups"] = channels * module.num_groups // module.num_channels
        elif (
            isinstance(module, nn.modules.instancenorm._InstanceNorm)
            and record.tensors
            and record.tensors[0].dim() > 2
        ) or (
            "batch_norm" in record.operator
            and (record.module, "num_features") not in found
            and hasattr(module, "num_features")
        ):
            channels = graph.kept_shape(record.tensors[0].shape, record.inputs[0], removed)[1]
            if record.tensors[0].shape[1] == module.num_features != channels:
                found[record.module, "num_features"] = channels
    return [Rebind(module, name, value) for (module, name), value in found.items()]


def layer_sizes(
    modules: Modules, shape: Callable[[str, Tensor], tuple[int, ...]]
) -> dict[tuple[str, str], Any]:
    """Attributes of torch's own layers that follow from the shapes of their weights, by module and name,
    where they are others than now; `shape` gives that of a parameter by its name and what it is now.
    """
    found: dict[tuple[str, str], Any] = {}
    for name, module in modules.items():
        prefix = f"{name}." if name else ""
        weight = module._parameters.get("weight") if isinstance(module, _SIZED) else None
        sizes: dict[str, Any] = {}
        if weight is not None and weight.dim():
            sizes = _layer_sizes(module, shape(f"{prefix}weight", weight))
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            sizes = _recurrent_sizes(prefix, module, shape)
        for attribute, value in sizes.items():
            if getattr(module, attribute, None) != value:
                found[name, attribute] = value
    return found


_SIZED = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.PReLU, nn.Embedding)


def _is_fan(module: nn.Module) -> bool:
    """Whether a convolution makes several channels of each; how many it reads, its weight does not say."""
    if not isinstance(module, nn.modules.conv._ConvNd) or module.transposed:
        return False
    return 1 < module.groups == module.in_channels < module.out_channels


def _layer_sizes(module: nn.Module, weight: tuple[int, ...]) -> dict[str, Any]:
    if isinstance(module, nn.modules.conv._ConvNd):
        return _convolution_sizes(module, weight)
    if isinstance(module, nn.Linear):
        return {"out_features": weight[0], "in_features": weight[1]}
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return {"num_features": weight[0]}
    if isinstance(module, nn.PReLU):
        return {"num_parameters": weight[0]}
    return {"embedding_dim": weight[1]}


def _recurrent_sizes(
    prefix: str,
    module: nn.RNNBase | nn.RNNCellBase,
    shape: Callable[[str, Tensor], tuple[int, ...]],
) -> dict[str, int]:
    """What a recurrent layer reads, the width of its state, and that of what it hands on
    where it projects.
    """
    suffix = "_l0" if isinstance(module, nn.RNNBase) else ""

    def length(name: str, axis: int) -> int:
        tensor: Any = module._parameters[f"{name}{suffix}"]
        return shape(f"{prefix}{name}{suffix}", tensor)[axis]

    weight: Any = module._parameters["weight_ih"] if not suffix else None
    gates = (
        {"LSTM": 4, "GRU": 3}.get(getattr(module, "mode", ""), 1)
        if weight is None
        else weight.shape[0] // module.hidden_size
    )
    sizes = {"input_size": length("weight_ih", 1), "hidden_size": length("weight_hh", 0) // gates}
    return sizes | ({"proj_size": length("weight_hh", 1)} if getattr(module, "proj_size", 0) else {})


def _convolution_sizes(module: nn.modules.conv._ConvNd, weight: tuple[int, ...]) -> dict[str, Any]:
    groups = module.groups
    inner = module.in_channels // groups
    if module.transposed:
        if groups > 1 and inner == 1:
            groups = weight[0]
        return {"in_channels": weight[0], "out_channels": weight[1] * groups, "groups": groups}
    if groups > 1 and inner == 1:
        groups = weight[0] * module.groups // module.out_channels
    return {"in_channels": weight[1] * groups, "out_channels": weight[0], "groups": groups}
