"""Residual blocks: which there are, and networks without some of them.

A block is a module that gives back its very input once its parameters are zero: what it adds to its input is
then nothing. Blocks that change the shape, have parameters in their shortcut, take anything else than one
tensor, or are called twice are none, and keep their place.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import tensors_in
from prunus.paint.model_copy import copy_model, walk
from prunus.plans.verify import drawn_inputs, evaluating

_LEFT_OUT = "prunus_left_out"  # on a model, the names of the modules that are the identity in it


def residual_blocks(model: nn.Module, graph: ChannelGraph) -> tuple[str, ...]:
    """Names of the smallest modules that are the identity, on random inputs and to the last bit, once all
    their parameters are zero.
    """
    modules = {
        name: module
        for name, module in walk(model).items()
        if name and any(True for _ in module.parameters())
    }
    calls: dict[str, list[Any]] = {name: [] for name in modules}

    def see(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls[name].append(
            args[0].clone() if len(args) == 1 and isinstance(args[0], Tensor) and not kwargs else None
        )

    hooks = [
        module.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: see(name, args, kwargs), with_kwargs=True
        )
        for name, module in modules.items()
    ]
    try:
        outputs_of(model, drawn_inputs(model, graph, torch.Generator().manual_seed(0)))
    finally:
        for hook in hooks:
            hook.remove()
    found: list[str] = []
    for name in reversed(modules):  # inner modules come after those around them
        alone = len(calls[name]) == 1 and calls[name][0] is not None
        if (
            alone
            and not any(inner.startswith(f"{name}.") for inner in found)
            and _is_identity_without_parameters(modules[name], calls[name][0])
        ):
            found.append(name)
    return tuple(reversed(found))


@torch.no_grad()
def _is_identity_without_parameters(module: nn.Module, x: Tensor) -> bool:
    """Whether a module gives back its input, which is not all zero, once its parameters are."""
    empty = copy.deepcopy(module).eval()
    for parameter in empty.parameters():
        parameter.zero_()
    made = empty(x.clone())
    return bool(x.any()) and isinstance(made, Tensor) and torch.equal(made, x)


def without_blocks(model: nn.Module, blocks: Sequence[str]) -> nn.Module:
    """A copy of the model with the identity in the place of some modules; raises PlanError if it has no
    module of such a name.
    """
    shorter, names = copy_model(model, {}), set(walk(model))
    for block in blocks:
        if block not in names or not block:
            raise PlanError(f"{type(model).__name__} has no module {block!r} that could be left out.")
        shorter.set_submodule(block, nn.Identity())
    object.__setattr__(shorter, _LEFT_OUT, (*left_out(model), *blocks))
    return shorter


def left_out(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules that `without_blocks` replaced in a model, or in what it was made of."""
    found: tuple[str, ...] = vars(model).get(_LEFT_OUT, ())
    return found


def outputs_of(model: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> list[Tensor]:
    """All tensors that a model returns in evaluation mode."""
    with evaluating(model):
        return list(tensors_in(model(*inputs[0], **inputs[1])))
