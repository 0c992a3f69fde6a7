"""Constants of removed channels: where an activation with f(0) != 0 feeds a weight, what the removed slots
would have added goes into its bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.paint.model_copy import Modules
from prunus.paint.records import Labels, Leak, Record
from prunus.paint.reliance import is_among

if TYPE_CHECKING:
    from prunus.paint.graph import ChannelGraph

_CONTRACTIONS = frozenset({"convolution", "mm", "bmm", "addmm", "baddbmm"})
_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Fold:
    """Add `constants[i]` times the weight's slice at input slot `slots[i]`, summed over kernel positions, to
    the bias of `module`.
    """

    module: str
    slots: tuple[int, ...]
    constants: tuple[float, ...]


def folds(graph: ChannelGraph, removed: NDArray[np.bool_]) -> list[Fold]:
    """All constants that must move into a bias for this plan."""
    result = []
    for leak in graph.leaks:
        module = _foldable_module(graph, leak)
        if module is not None and _gone(graph, leak, removed).any():
            slots = np.flatnonzero(_gone(graph, leak, removed)).tolist()
            result.append(Fold(module, tuple(slots), tuple(leak.dead[slots].tolist())))
    return result


def agree(*forwards: tuple[Sequence[Record], Modules, list[Leak]]) -> None:
    """Put no constant into a bias that the same layer does not get in every forward of a model that runs it,
    in place.
    """
    wanted: list[dict[str, list[Leak]]] = []
    for records, modules, leaks in forwards:
        wanted.append({})
        for leak in leaks:
            wanted[-1].setdefault(_foldable_in(records, modules, leak) or "", []).append(leak)
    running = [
        {record.module for record in records if record.operator in _CONTRACTIONS}
        for records, _, _ in forwards
    ]
    for mine, (_, _, leaks) in zip(wanted, forwards):
        for name, found in mine.items():
            others = [
                others.get(name, [])
                for others, runs in zip(wanted, running)
                if others is not mine and name in runs
            ]
            if name and not all(_same_constants(found, other) for other in others):
                leaks[:] = [
                    leak._replace(foldable=False) if any(leak is one for one in found) else leak
                    for leak in leaks
                ]


def _same_constants(first: Sequence[Leak], second: Sequence[Leak]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a.dead, b.dead) for a, b in zip(first, second))


def unfoldable(graph: ChannelGraph, removed: NDArray[np.bool_]) -> list[str]:
    """One sentence per place where a removed channel would have left a constant that cannot be folded."""
    texts = []
    for leak in graph.leaks:
        if _gone(graph, leak, removed).any() and _foldable_module(graph, leak) is None:
            record = graph.records[leak.record]
            texts.append(
                "a removed channel is not zero there, and its constant cannot be folded into a bias"
                f" ({record.operator}, {record.where})"
            )
    return list(dict.fromkeys(texts))


def unfoldable_channels(graph: ChannelGraph) -> NDArray[np.bool_]:
    """Channels that cannot be removed exactly because their constant cannot be folded."""
    result = np.zeros(graph.num_channels, dtype=bool)
    for leak in graph.leaks:
        if _foldable_module(graph, leak) is None:
            channels = graph.channel_of_colour[leak.labels[leak.dead != 0]]
            result[channels[channels >= 0]] = True
    return result


def folded_shift(weight: Tensor, fold: Fold, kept: NDArray[np.int64] | None) -> Tensor:
    """What the removed slots would have added to each output channel that is left (`kept`, or all), shape
    (out,).
    """
    slices = weight.detach()[:, list(fold.slots)]
    parts = slices.flatten(2).sum(-1) if weight.dim() > 2 else slices
    shift = parts @ weight.new_tensor(fold.constants)
    return shift if kept is None else shift[torch.from_numpy(kept).to(shift.device)]


def _gone(graph: ChannelGraph, leak: Leak, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Slots of the contracted axis that are removed and leave something behind."""
    channels = graph.channel_of_colour[leak.labels]
    if not len(removed):
        return np.zeros(channels.shape, dtype=bool)
    gone: NDArray[np.bool_] = (leak.dead != 0) & (channels >= 0) & removed[channels]
    return gone


def settle_leaks(
    records: Sequence[Record], modules: Modules, leaks: Sequence[Leak], relied: Sequence[Labels]
) -> tuple[list[Leak], list[Labels]]:
    """What is left of the leaks once parameters that may not be spared are zero, and the axes of these
    parameters.

    A constant that can go into a bias does, and the slices of the weight that read it stay as they are. Where
    it cannot, they are zero in the masked network, as they are gone in the compact one. `relied` are axes
    that are zero anyway.
    """
    left, zeroed = [], []
    for leak in leaks:
        if leak.weight is None:
            left.append(leak)
        elif is_among(leak.weight, relied):
            continue
        elif _foldable_in(records, modules, leak) is not None:
            left.append(leak)
        else:
            zeroed.append(leak.weight)
    return left, zeroed


def _foldable_module(graph: ChannelGraph, leak: Leak) -> str | None:
    return _foldable_in(graph.records, graph.twin.modules, leak)


def _foldable_in(records: Sequence[Record], modules: Modules, leak: Leak) -> str | None:
    """The module whose bias can take the constant, or None: it must be a plain layer called once, and the
    constants known.
    """
    if not leak.foldable or not np.isfinite(leak.dead).all():
        return None
    return plain_layer(records, modules, leak.record, _FOLDABLE)


def plain_layer(
    records: Sequence[Record],
    modules: Modules,
    index: int,
    kinds: tuple[type[nn.Module], ...],
    *,
    often: bool = False,
) -> str | None:
    """The module that a record belongs to, if it is of exactly one of these kinds, does this once (or as
    `often` as it likes), and has its weight and its bias for itself; else None.
    """
    record = records[index]
    module = modules[record.module]
    # a subclass may compute its weight in the forward, so that its `weight` is not what is multiplied
    if type(module) not in kinds or hasattr(module, "parametrizations"):
        return None
    calls = sum(other.module == record.module and other.operator == record.operator for other in records)
    uses = sum(owned is module.weight for other in modules.values() for owned in other._parameters.values())
    if uses != 1 or not (calls == 1 or often) or _read_by_others(records, record.module, module):
        return None
    return record.module


def _read_by_others(records: Sequence[Record], name: str, layer: nn.Module) -> bool:
    """Whether code outside of a layer reads its weight or bias, which cannot be changed for the layer alone:
    a decoder that is tied to it, say.
    """
    own = {id(parameter) for parameter in layer._parameters.values() if parameter is not None}
    others = (tensor for record in records if record.module != name for tensor in record.tensors)
    return any(id(tensor) in own for tensor in others)
