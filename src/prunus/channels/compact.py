"""`compact`: an ordinary module that computes what the masked one computes, with the removed channels really gone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import CompactError
from .attributes import fit_attributes
from .collector import collector_paused
from .fold import Fold, folded_shift, folds
from .graph import ChannelGraph
from .indices import remaps_of
from .optimizer import transfer
from .plan import Plan, make_plan
from .rehearse import MismatchError
from .resolve import graph_for
from .shrink import compact_traced
from .surgery import Surgery, operate, slices_of, standard_rebinds
from .twin import named_tensors, unwrap
from .verify import Verification, verify

Prefer = Literal["auto", "eager"]
_MOST_ROUNDS = 12


@dataclass(frozen=True)
class Origin:
    """Where a compact model comes from; hangs on it as `model.prunus`."""

    plan: Plan
    mode: str
    surgery: Surgery
    verification: Verification | None


def compact(
    model: nn.Module,
    plan: Plan,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    prefer: Prefer = "auto",
    check: bool = True,
) -> nn.Module:
    """Build the compact model. The given model is not changed.

    First choice is the same class with sliced parameters, proven by a rehearsal on meta tensors; where its forward hard-codes sizes that no integer
    attribute explains, the traced graph is returned as a trainable module with the same parameter names (`prefer="auto"`), or the channels that
    force it stay (`prefer="eager"`). dtype, device, mode, hooks and `requires_grad` are kept. The result carries its `Origin` as `result.prunus`.

    Args:
        model: the model that the plan was made for.
        plan: what to remove.
        optimizer: an optimiser over the model's parameters; it is moved to the compact model, momentum and other per-slot state sliced along.
        prefer: "auto" or "eager".
        check: compare with the masked model on random inputs before anything is returned.

    Raises:
        PlanError: the plan was made for another model.
        VerifyError: the result does not compute what the masked model does (a defect of prunus).
    """
    if prefer not in ("auto", "eager"):
        raise CompactError(f"prefer must be 'auto' or 'eager', not {prefer!r}.")
    model = unwrap(model)
    with collector_paused():
        graph = graph_for(model, plan)
        built = _build(model, graph, plan if plan.graph is graph else replace(plan, graph=graph), prefer)
    object.__setattr__(built.model, "prunus", Origin(built.plan, built.mode, built.surgery, None))
    if check:
        verification = verify(model, built.plan, built.model)
        object.__setattr__(built.model, "prunus", Origin(built.plan, built.mode, built.surgery, verification))
    if optimizer is not None:
        transfer(optimizer, model, built.model, built.surgery.slices)
    return built.model


@dataclass(frozen=True, eq=False)
class _Built:
    model: nn.Module
    plan: Plan
    mode: str
    surgery: Surgery


def _build(model: nn.Module, graph: ChannelGraph, plan: Plan, prefer: Prefer) -> _Built:
    """The module's own class, else its traced graph, else its own class with fewer channels gone."""
    small, surgery, failure = _eager(model, graph, plan)
    if small is not None:
        return _Built(small, plan, "eager", surgery)
    traced = compact_traced(model, graph, plan) if prefer == "auto" else None
    if traced is not None:
        return _Built(traced.train(model.training), plan, "traced", Surgery(surgery.slices))
    wanted = plan.removed
    small, plan, surgery = _eager_with_less(model, graph, plan, failure)
    if prefer == "auto":
        warnings.warn(f"{wanted - plan.removed} of {wanted} channels stay, because the model's forward needs their number", stacklevel=3)
    return _Built(small, plan, "eager", surgery)


def _eager(model: nn.Module, graph: ChannelGraph, plan: Plan, attempts: int = 40) -> tuple[nn.Module | None, Surgery, MismatchError | None]:
    """The module's own class, or None and what went wrong."""
    removed = plan.removed_in(graph)
    slices = slices_of(graph, removed)
    surgery = Surgery(slices, tuple(standard_rebinds(graph, removed, slices)), remaps=remaps_of(graph, removed))
    surgery, failure = fit_attributes(graph, removed, surgery, attempts)
    if failure is not None:
        return None, surgery, failure
    small = operate(model, surgery)
    apply_folds(model, small, folds(graph, removed), surgery)
    return small, surgery, None


def _eager_with_less(model: nn.Module, graph: ChannelGraph, plan: Plan, failure: MismatchError | None) -> tuple[nn.Module, Plan, Surgery]:
    """Leave out the channels at the operator that fails, until the module's own forward runs."""
    removed = plan.removed_in(graph)
    for _ in range(_MOST_ROUNDS):
        at = _channels_at(graph, failure, removed)
        if failure is None or not at.any():
            break
        removed = removed & ~at
        plan = make_plan(graph, removed)
        small, surgery, failure = _eager(model, graph, plan, attempts=6)
        if small is not None:
            return small, plan, surgery
    plan = make_plan(graph, np.zeros_like(removed))
    small, surgery, failure = _eager(model, graph, plan)
    if small is None:
        raise CompactError(f"The forward of {type(model).__name__} does not repeat itself on the same inputs ({failure}).")
    return small, plan, surgery


def _channels_at(graph: ChannelGraph, failure: MismatchError | None, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All channels of the groups that an operator, or any other at the same line of the same class, sees."""
    result = np.zeros_like(removed)
    if failure is None or failure.index >= len(graph.records):
        return result
    failed = graph.records[failure.index]
    for record in graph.records:
        if record.where == failed.where:
            for layer in (layer for paint in (*record.inputs, *record.paints) for layer in paint):
                channels = graph.channel_of_colour[layer.labels]
                channels = channels[channels >= 0]
                if len(channels):
                    result |= np.isin(graph.group_of_channel, graph.group_of_channel[channels])
    return result & removed


def apply_folds(model: nn.Module, small: nn.Module, moves: Sequence[Fold], surgery: Surgery) -> None:
    """Add the constants of removed channels to the biases of the layers that read them."""
    tensors = named_tensors(model) if moves else {}
    with torch.no_grad():
        for fold in moves:
            prefix = f"{fold.module}." if fold.module else ""
            shift = folded_shift(tensors[f"{prefix}weight"], fold, surgery.slices.get(f"{prefix}weight", {}).get(0))
            layer = small.get_submodule(fold.module)
            if layer.bias is None:
                layer.bias = nn.Parameter(shift.clone(), requires_grad=layer.weight.requires_grad)
            else:
                cast(Tensor, layer.bias).add_(shift)


__all__ = ["Origin", "Prefer", "compact"]
