"""A model out of a file's tensors: the dense one that somebody built, with other tensors and sizes. What
every kind of model file needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.wording import given
from prunus.errors import ArgumentError, FileFormatError, PlanError, clause
from prunus.paint.model_copy import copy_model, named_tensors, walk
from prunus.paint.widths import Width, can_keep, set_widths
from prunus.storage.header import is_size
from prunus.surgery.blocks import left_out, without_blocks
from prunus.surgery.places import set_size, size_at
from prunus.surgery.slicing import Rebind


def usable_device(device: str | torch.device) -> torch.device:
    """Raises ArgumentError for one that torch does not know, or that is not here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without it
        raise ArgumentError(
            f"device must be one that torch has here, such as cpu, not {str(device)!r} ({clause(error)})."
        ) from error
    return found


def dense_of(build_model: Callable[[], nn.Module], device: torch.device) -> nn.Module:
    """The dense model that a function of the user's makes; raises FileFormatError where it makes none."""
    model: Any = build_model()
    if not isinstance(model, nn.Module):
        raise FileFormatError(
            f"build_model must return the dense model, a torch.nn.Module, not {given(model)}."
        )
    return model.to(device)


def shortened(model: nn.Module, blocks: Sequence[str]) -> nn.Module:
    """The model without those of some residual blocks that it still has; raises PlanError where it has no
    such module.
    """
    missing = [name for name in blocks if name not in left_out(model)]
    return without_blocks(model, missing) if missing else model


def fill(where: str, model: nn.Module, tensors: Mapping[str, Tensor], cut: bool) -> nn.Module:
    """A copy of a dense model with other tensors in the place of its own.

    Args:
        where: they come from, for errors.
        model: the dense one.
        tensors: by name; biases may be among them that the model does not have.
        cut: they may be smaller than the model's.

    Raises PlanError where they are those of another model.
    """
    own, kind = named_tensors(model), type(model).__name__
    for name, old in own.items():
        if name not in tensors:
            raise PlanError(
                f"{kind} has a tensor {name} that {where} does not hold; build_model makes another model."
            )
        _check_shape(where, kind, name, old, tensors[name], cut)
    result = copy_model(model, {id(old): _like(old, tensors[name]) for name, old in own.items()})
    for name in tensors:
        if name not in own:
            _add_bias(where, result, name, tensors[name])
    return result


def rebind(model: nn.Module, rebinds: Sequence[Rebind]) -> None:
    """Set sizes that surgery changed, where the model has some of the same kind; raises FileFormatError where
    not.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    for change in rebinds:
        module = modules.get(change.module)
        old = None if module is None else size_at(module, change.name)
        if module is None or not is_size(old) or isinstance(old, int) != isinstance(change.value, int):
            raise FileFormatError(
                f"It sets {change.name!r} of module {change.module!r}, which {type(model).__name__} does not"
                " have or not as such a size."
            )
        set_size(module, change.name, change.value)


def keep_widths(model: nn.Module, widths: Sequence[Width]) -> None:
    """Let norms go on dividing by as many channels as there were; raises FileFormatError for modules that
    cannot.
    """
    modules = walk(model)
    for width in widths:
        if width.module not in modules or not can_keep(modules[width.module]):
            raise FileFormatError(
                f"It keeps the width of {width.module!r}, which {type(model).__name__} does not have so."
            )
    set_widths(modules, widths)


def set_learning(
    model: nn.Module, frozen: Collection[str], training: bool, apart: Collection[str] = ()
) -> None:
    """Say which parameters learn, and in which mode the model is, and which modules are in the other; raises
    FileFormatError for a parameter that cannot learn, and for a module that is none.
    """
    for name, parameter in model.named_parameters():
        if name not in frozen and not (parameter.is_floating_point() or parameter.is_complex()):
            raise FileFormatError(
                f"It holds the parameter {name} as {parameter.dtype}, which cannot be trained."
            )
        parameter.requires_grad_(name not in frozen)
    model.train(training)
    modules = walk(model)
    for name in apart:
        if name not in modules:
            raise FileFormatError(f"It sets the mode of {name}, which {type(model).__name__} does not have.")
    for name, module in modules.items() if apart else ():
        module.training = training != (name in apart)


def _check_shape(where: str, kind: str, name: str, old: Tensor, new: Tensor, cut: bool) -> None:
    """A dense file must have the model's shapes, a cut one at most those."""
    fits = (
        new.dim() == old.dim() and all(n <= o for n, o in zip(new.shape, old.shape))
        if cut
        else new.shape == old.shape
    )
    if not fits:
        raise PlanError(
            f"{where} holds {name} with shape {tuple(new.shape)}, but {kind} has {tuple(old.shape)};"
            " build_model makes another model."
        )


def _like(old: Tensor, new: Tensor) -> Tensor:
    return nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new


def _add_bias(where: str, model: nn.Module, name: str, tensor: Tensor) -> None:
    """A bias that folding created, where the dense layer had none."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = model.get_submodule(module_name)
    except AttributeError:
        module = None
    if module is None or attribute != "bias" or module._parameters.get("bias", 0) is not None:
        raise PlanError(
            f"{where} holds a tensor {name} that {type(model).__name__} does not have; build_model makes"
            " another model."
        )
    module.bias = nn.Parameter(tensor, requires_grad=False)


__all__ = ["fill", "keep_widths", "rebind", "set_learning", "shortened"]
