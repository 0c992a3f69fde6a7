"""Places that a condition on the data picks, as `x[x < 0]`: how many there are, nobody knows before.

What is picked, changed element by element, and put back where it was, is painted as what it amounts to:
everything is changed, and the condition says where that is put. As long as nothing else reads what was
picked, it stands for all elements; once something does, channels among the places are pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prunus.paint.call import tensors_of
from prunus.paint.fetching import INDEX
from prunus.paint.memory import memory_of
from prunus.paint.records import Record
from prunus.paint.rules import is_pointwise

if TYPE_CHECKING:
    from prunus.paint.painter import Operator, Painter

_SELECT, _SCATTER = torch.ops.aten.masked_select.default, ("masked_scatter", "masked_scatter_")
_PUT = ("index_put", "index_put_")
_COPIES = ("_to_copy", "clone", "detach", "alias")


@dataclass(frozen=True, eq=False)
class Pick:
    """What a mask over the axes from `first` on picks of `whole`, which nothing else changes; `tensor` stands
    for it, as long as if every place were picked.
    """

    tensor: Tensor
    whole: Tensor
    mask: Tensor
    first: int

    @property
    def indices(self) -> list[Tensor | None]:
        """As they are given to x[...]."""
        return [*[None] * self.first, self.mask]


def picked(painter: Painter, func: Any, args: Any) -> Tensor | None:
    """What stands for the places that a mask of unknown values picks; None for any other call."""
    if func is not INDEX and func is not _SELECT:
        return None
    x, indices = args[0], [args[1]] if func is _SELECT else list(args[1])
    masks = [(place, index) for place, index in enumerate(indices) if index is not None]
    if len(masks) != 1 or masks[0][1].dtype != torch.bool or not x.is_meta:
        return None
    first, mask = masks[0]
    covered = x.shape[first : first + mask.dim()]
    if (
        painter.value_of(mask) is not None
        or covered != mask.shape
        or (func is _SELECT and x.shape != mask.shape)
    ):
        return None
    whole = painter.follow(torch.ops.aten.clone.default, (x,))
    shape = (*x.shape[:first], mask.numel(), *x.shape[first + mask.dim() :])
    return _kept(painter, torch.empty(shape, dtype=x.dtype, device="meta"), whole, mask, first)


def follow_picks(painter: Painter, operator: Operator, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operator makes of what was picked; None where it has to be painted as any other, for which all
    that it reads is settled before.
    """
    mine = [painter.picks[id(t)] for t in tensors_of(args, kwargs) if id(t) in painter.picks]
    if not mine:
        return None
    first = mine[0]
    if all(_alike(painter, first, other) for other in mine[1:]):
        changes = operator.name in _COPIES or is_pointwise(func, operator.name)
        if changes and _is_plain(painter, args, kwargs):
            return _changed(painter, operator, func, args, kwargs, first)
        if len(mine) == 1 and (operator.name in _PUT or operator.name in _SCATTER):
            result = _put_back(painter, operator, args, kwargs, first)
            if result is not None:
                return result
    settle(painter, (pick.tensor for pick in mine))
    return None


def settle(painter: Painter, tensors: Iterable[Tensor]) -> None:
    """Paint what was picked as what it is: places in a row, of a number that depends on the data."""
    for tensor in tensors:
        pick = painter.picks.pop(id(tensor), None)
        if pick is not None:
            painter.note(INDEX, (pick.whole, pick.indices), pick.tensor)


def _changed(
    painter: Painter, operator: Operator, func: Any, args: Any, kwargs: dict[str, Any], pick: Pick
) -> Any:
    whole = painter.follow(func, _with_wholes(painter, args), _with_wholes(painter, kwargs))
    if operator.mutable:
        return args[0]
    blank = torch.empty(pick.tensor.shape, dtype=whole.dtype, device="meta")
    return _kept(painter, blank, whole, pick.mask, pick.first)


def _put_back(
    painter: Painter, operator: Operator, args: Any, kwargs: dict[str, Any], pick: Pick
) -> Tensor | None:
    """x[mask] = what was picked by the same mask, or x.masked_scatter(mask, it)."""
    x, where = args[0], args[1]
    if operator.name in _PUT:
        values, accumulates = args[2], (args[3] if len(args) > 3 else kwargs.get("accumulate", False))
        indices = [(place, index) for place, index in enumerate(where) if index is not None]
        first, mask = indices[0]
        if len(indices) != 1 or accumulates:
            return None
    else:
        values, first, mask = args[2], 0, where
    same = isinstance(mask, Tensor) and mask.shape == pick.mask.shape and same_value(painter, mask, pick.mask)
    if values is not pick.tensor or first != pick.first or not same or x.shape != pick.whole.shape:
        return None
    for _ in range(x.dim() - first - mask.dim()):
        mask = painter.follow(torch.ops.aten.unsqueeze.default, (mask, -1))
    chosen: Tensor = painter.follow(torch.ops.aten.where.self, (mask, pick.whole, x))
    if not operator.mutable:
        return chosen
    written: Tensor = painter.follow(torch.ops.aten.copy_.default, (x, chosen))
    return written


def _kept(painter: Painter, tensor: Tensor, whole: Tensor, mask: Tensor, first: int) -> Tensor:
    painter.picks[id(tensor)] = Pick(tensor, whole, mask, first)
    return tensor


def _is_plain(painter: Painter, args: Any, kwargs: Any) -> bool:
    """Whether all operands are numbers or what was picked; a number does not change in its place."""
    tensors = tensors_of(args, kwargs)
    return id(tensors[0]) in painter.picks and all(id(t) in painter.picks or t.dim() == 0 for t in tensors)


def _with_wholes(painter: Painter, value: Any) -> Any:
    if isinstance(value, Tensor):
        return painter.picks[id(value)].whole if id(value) in painter.picks else value
    if isinstance(value, dict):
        return {key: _with_wholes(painter, one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_wholes(painter, one) for one in value)
    return value


def _alike(painter: Painter, one: Pick, other: Pick) -> bool:
    return (
        one.first == other.first
        and one.whole.shape == other.whole.shape
        and same_value(painter, one.mask, other.mask)
    )


def same_value(painter: Painter, one: Tensor, other: Tensor) -> bool:
    """Whether two tensors surely hold the same: the same operators made them of the same, and nothing was
    written there since the first was made.
    """
    records = painter.history
    made = {id(t): place for place, record in enumerate(records) for t in record.outputs}
    return _same(painter, records, made, painter.recorded(one), painter.recorded(other))


def _same(
    painter: Painter, records: Sequence[Record], made: Mapping[int, int], one: Tensor, other: Tensor
) -> bool:
    places = [made[id(t)] for t in (one, other) if id(t) in made]
    if any(_is_written(painter, t, records[min(places, default=0) :]) for t in (one, other)):
        return False
    if one is other or len(places) < 2:
        return one is other
    first, second = (records[place] for place in places)
    known = painter.look_up(first.func)
    return (
        first.func is second.func
        and not (known.random or known.mutable)
        and len(first.tensors) == len(second.tensors)
        and _without(first.args) == _without(second.args)
        and _without(first.kwargs) == _without(second.kwargs)
        and all(
            _same(painter, records, made, a, b) and not _is_written(painter, a, records[min(places) :])
            for a, b in zip(first.tensors, second.tensors)
        )
    )


def _is_written(painter: Painter, tensor: Tensor, records: Sequence[Record]) -> bool:
    """Whether one of these operators wrote into the memory of a tensor."""
    memory = memory_of(tensor)
    return any(
        painter.look_up(record.func).mutable and memory_of(record.tensors[0]) == memory
        for record in records
        if record.tensors
    )


def _without(value: Any) -> Any:
    """Arguments, with no tensors in them, to be compared."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, dict):
        return {key: _without(one) for key, one in value.items()}
    return [_without(one) for one in value] if isinstance(value, (list, tuple)) else value


__all__ = ["Pick", "follow_picks", "picked", "same_value", "settle"]
