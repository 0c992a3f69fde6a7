"""Carry optimisers through surgery: same objects (so schedules go on), new parameters, per-slot state and
waiting gradients sliced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.warned import warn
from prunus.errors import CompactError
from prunus.paint.model_copy import walk
from prunus.plans.slices import Slices, cut
from prunus.surgery.rescaling import Rescale

# powers of a gradient in the state of torch's optimisers; what is measured as weights are has the reciprocal
_POWERS = {
    **dict.fromkeys(("grad", "momentum_buffer", "exp_avg", "exp_inf", "grad_avg", "prev"), 1),
    **dict.fromkeys(("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"), 2),
    **dict.fromkeys(("step_size", "ax"), -1),  # Rprop's steps, ASGD's mean of the weights
    "acc_delta": -2,  # Adadelta's squares of steps
}


Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]


@dataclass(frozen=True, eq=False)
class _Move:
    """What an optimiser holds of the compact model: its groups, and the state of its parameters."""

    optimizer: torch.optim.Optimizer
    groups: list[dict[str, Any]]
    state: dict[Tensor, dict[str, Any]]


def transfer(
    optimizer: Optimizers,
    model: nn.Module,
    small: nn.Module,
    slices: Slices,
    rescales: Sequence[Rescale] = (),
) -> None:
    """Point optimisers at the compact model's parameters and slice momentum and the like, and gradients that
    wait for a step. What is kept of the gradients of rows that were multiplied by a factor is divided by it,
    as their gradients are.

    Raises CompactError, with the optimisers unchanged, if one holds a parameter that is not the model's.
    """
    given = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
    every = _with_inner(given)
    for one in every:
        _refuse_own_lists(one, {id(p) for other in every for p in _held(other)}, model, slices)
    moves = [_moved(one, model, small, slices, rescales) for one in every]
    gradients = {p for move in moves for group in move.groups for p in group["params"]}
    for move in moves:
        _put(move)
    new = dict(small.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and name in new and new[name] in gradients:
            waiting = {"grad": _sliced(parameter.grad, parameter, name, slices)}
            _rescale(waiting, parameter, name, slices, rescales)
            new[name].grad = waiting["grad"]


def transfer_inside(
    model: nn.Module, small: nn.Module, slices: Slices, rescales: Sequence[Rescale] = ()
) -> None:
    """Slice the state of optimisers that hang on modules, as agents have theirs; one that cannot follow
    begins anew, and a warning says so.
    """
    after = walk(small)
    for path, module in walk(model).items():
        for attribute, held in vars(module).items():
            own = vars(after[path]).get(attribute) if path in after else None
            if not isinstance(held, torch.optim.Optimizer) or not isinstance(own, torch.optim.Optimizer):
                continue
            try:
                _refuse_own_lists(held, {id(p) for p in _held(held)}, model, slices)
                _put(replace(_moved(held, model, small, slices, rescales), optimizer=own))
            except CompactError as error:
                own.state.clear()
                warn(f"{attribute} of the compact model begins anew: {error}")


def _put(move: _Move) -> None:
    for group, changed in zip(move.optimizer.param_groups, move.groups):
        group.update(changed)
    move.optimizer.state.clear()
    move.optimizer.state.update(move.state)


def _with_inner(given: Sequence[torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    """The optimisers, and those that they wrap."""
    found = {id(one): one for one in given}
    for one in given:
        values = list(vars(one).values())
        inner = [value for value in values if isinstance(value, torch.optim.Optimizer)]
        found |= {id(each): each for each in _with_inner([x for x in inner if id(x) not in found])}
    return list(found.values())


def _held(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _moved(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    small: nn.Module,
    slices: Slices,
    rescales: Sequence[Rescale],
) -> _Move:
    names = {id(p): name for name, p in model.named_parameters()}
    new = dict(small.named_parameters())
    groups: list[dict[str, Any]] = []
    state: dict[Tensor, dict[str, Any]] = {}
    for group in optimizer.param_groups:
        moved: list[nn.Parameter] = []
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is None or name not in new:
                raise CompactError(
                    f"The optimiser holds a parameter of shape {tuple(parameter.shape)} that is not one of"
                    f" {type(model).__name__}'s; give the optimiser that was made for this model."
                )
            moved.append(new[name])
            if parameter in optimizer.state:
                state[new[name]] = {
                    k: _sliced(v, parameter, name, slices) for k, v in optimizer.state[parameter].items()
                }
                _rescale(state[new[name]], parameter, name, slices, rescales)
        known = {"param_names": list(group["param_names"])} if "param_names" in group else {}
        groups.append({"params": moved, **known})
    held = {id(p) for moved in groups for p in moved["params"]}
    for name, parameter in new.items():
        if name not in names.values() and id(parameter) not in held:
            for beside in _beside_its_weight(groups, new, name):  # a bias that folding made
                beside["params"].append(parameter)
                beside.get("param_names", []).append(name)
    return _Move(optimizer, groups, state)


def _rescale(
    state: dict[str, Any], parameter: Tensor, name: str, slices: Slices, rescales: Sequence[Rescale]
) -> None:
    """The state of rows that another factor multiplies now, in place."""
    for change in rescales:
        if name not in change.parameters:
            continue
        kept = slices.get(name, {}).get(0, np.arange(len(parameter)))
        rows = torch.from_numpy(np.flatnonzero(np.isin(kept, change.rows)))
        for key, power in _POWERS.items():
            value = state.get(key)
            if isinstance(value, Tensor) and value.dim() == parameter.dim():
                value[rows.to(value.device)] /= change.factor**power


def _refuse_own_lists(
    optimizer: torch.optim.Optimizer, held: set[int], model: nn.Module, slices: Slices
) -> None:
    """Raises CompactError for optimisers that keep parameters, copies of them, or state that mixes their
    slots, where nobody can slice it.
    """
    tensors = dict(model.named_parameters())
    cut_shapes = {tensors[name].shape for name in slices if name in tensors}
    own = [
        (name, one)
        for name, value in vars(optimizer).items()
        if name not in ("param_groups", "state", "defaults")
        for one in _tensors_of(value)
    ]
    lists = [name for name, one in own if id(one) in held]
    copies = [name for name, one in own if one.dim() and one.shape in cut_shapes]
    mixed = [
        key
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, (list, dict))
        or (isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape)
    ]
    for kept, what in (
        (lists, "keeps a list of parameters of its own"),
        (copies, "keeps copies of parameters of its own"),
        (mixed, "keeps state that mixes the slots of a parameter"),
    ):
        if kept:
            kind = type(optimizer).__name__
            raise CompactError(
                f"{kind} {what} ({kept[0]}), which cannot follow the channels; make a new {kind} for the"
                " compact model instead."
            )


def _tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors of nested lists, tuples, sets and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from (*_tensors_of(key), *_tensors_of(one))
    elif isinstance(value, (list, tuple, set)):
        for one in value:
            yield from _tensors_of(one)


def _beside_its_weight(
    groups: list[dict[str, Any]], new: dict[str, nn.Parameter], name: str
) -> list[dict[str, Any]]:
    """The parameter group that trains the weight of the same layer; none where none does."""
    weight = new.get(f"{name.rpartition('.')[0]}.weight")
    return [moved for moved in groups if any(p is weight for p in moved["params"])][:1]


def _sliced(value: Any, parameter: Tensor, name: str, slices: Slices) -> Any:
    """State of the parameter's own shape is sliced like it; anything else (step counts) is copied."""
    if not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:
        return value.clone()
    return cut(value, slices[name]).clone() if name in slices else value.clone()
