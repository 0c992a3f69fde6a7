"""The network without the channels that are gone for good, in the middle of a training."""

from __future__ import annotations

import warnings
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.errors import CompactError
from prunus.paint.folding import Fold, folded_shift, folds
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import listened, named_tensors
from prunus.plans.mask import Zeros, lost_slots
from prunus.plans.plan import Plan
from prunus.plans.slices import Slices, slices_of
from prunus.surgery import compact
from prunus.surgery.origin import Origin
from prunus.surgery.parts import is_core
from prunus.surgery.traced.module import TracedModule
from prunus.training.learner import Smaller


def without(model: nn.Module, graph: ChannelGraph, plan: Plan) -> tuple[Smaller, list[Zeros]]:
    """A network to train on with, and what must stay zero in it: channels that could not be removed.

    Args:
        model: what was traced, whose removed channels are zero.
        graph: its channels.
        plan: which of them are gone for good.

    Raises CompactError where training on with it would not be training on with the model, and whatever
    compaction raises.
    """
    heard = listened(model)
    if heard:
        raise CompactError(f"the gradient of its {heard[0]} has a hook of its own")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what stays is said when the training is done
        small = compact(model, plan.attach(graph), prefer="eager" if is_core(model) else "auto")
    if isinstance(small, TracedModule) and small.lengths:
        raise CompactError("its traced graph takes inputs of the example's size only")
    origin = cast(Origin, small.prunus)
    gone = origin.step.removed_in(graph)
    slices = slices_of(graph, gone)
    # buffers that name channels have other numbers now, and a traced graph has constants of its own
    own = {name for name, _ in small.named_buffers()} - named_tensors(model).keys()
    found = Smaller(small, slices, frozenset(own | {remap.name for remap in origin.surgery.remaps}))
    unlike = found.unlike(model)
    if unlike:
        raise CompactError(f"its {unlike} is not what is left of the network's own")
    return found, zeros_in(small, graph, plan.removed_in(graph) & ~gone, slices)


def settle_constants(model: nn.Module, graph: ChannelGraph, removed: NDArray[np.bool_]) -> None:
    """Let biases have what channels that are zero for good add all the same, where an activation makes
    something else of zero, and nothing read these channels any more; in place, with the same outputs.

    A compact network has nothing but these biases, so that both are trained alike.
    """
    for fold in _settled(model, graph, removed):
        layer = model.get_submodule(fold.module)
        weight = cast(Tensor, layer.weight)
        with torch.no_grad():
            cast(Tensor, layer.bias).add_(folded_shift(weight, fold, None))
            weight.index_fill_(1, torch.tensor(fold.slots, device=weight.device), 0)


def zeros_in(
    model: nn.Module, graph: ChannelGraph, removed: NDArray[np.bool_], slices: Slices | None = None
) -> list[Zeros]:
    """What must be zero in a network after every step: what makes some channels, and what reads constants
    that settled in a bias.

    Args:
        model: what was traced, or with `slices` what they leave of it.
        graph: the channels of the traced one.
        removed: those that are zero for good, and still there.
        slices: kept slots, of tensors that lost some.
    """
    tensors, zeros = named_tensors(model), []
    places = [
        (axis.name, axis.dim, slots, axis.neutral)
        for axis, slots in lost_slots(graph, removed)
        if axis.zeroed
    ]
    places += [
        (f"{fold.module}.weight".removeprefix("."), 1, torch.tensor(fold.slots), 0.0)
        for fold in _settled(graph.model, graph, removed)
    ]
    for name, dim, slots, value in places:
        kept = (slices or {}).get(name, {}).get(dim)
        left = slots if kept is None else torch.from_numpy(np.searchsorted(kept, slots.numpy()))
        zeros.append(Zeros(tensors[name], dim, left.to(tensors[name].device), value))
    return zeros


def _settled(model: nn.Module, graph: ChannelGraph, removed: NDArray[np.bool_]) -> list[Fold]:
    """The constants that have a bias to go into."""
    found = {fold.module: fold for one in graph.forwards for fold in folds(one, removed)}
    return [fold for fold in found.values() if model.get_submodule(fold.module).bias is not None]
