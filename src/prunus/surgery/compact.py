"""`compact`: an ordinary module that computes what the masked one computes, with the removed channels really
gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.collector import collector_paused
from prunus._foundation.warned import warn
from prunus.errors import CompactError, PlanError
from prunus.paint.folding import Fold, folded_shift, folds
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import listened, named_tensors, unwrap
from prunus.paint.records import Record
from prunus.paint.statistics import narrowed, only_written_anew, widths_of
from prunus.plans.mask import mask
from prunus.plans.plan import Plan, make_plan
from prunus.plans.resolve import graph_for
from prunus.plans.slices import Slices, slices_of
from prunus.plans.train_check import TrainDifference
from prunus.plans.verify import compare_training, random_inputs, verification
from prunus.surgery.compose import joined
from prunus.surgery.indices import remaps_of
from prunus.surgery.optimizer import Optimizers, transfer, transfer_inside
from prunus.surgery.origin import Origin
from prunus.surgery.rehearsal import MismatchError, rehearse
from prunus.surgery.sizes import fit_attributes
from prunus.surgery.slicing import Surgery, operate, standard_rebinds
from prunus.surgery.traced.convert import compact_traced
from prunus.surgery.traced.module import TracedModule, set_modes

Prefer = Literal["auto", "eager"]
Norms = Literal["original", "plain"]
_MOST_ROUNDS = 12
_MOST_BACK = 6  # operators
# of what is to go: where the model's own class can do without as much, a traced graph that is tied to sizes
# is not used
_ENOUGH = 0.5


@door(CompactError)
def compact(
    model: nn.Module,
    plan: Plan,
    *,
    optimizer: Optimizers | None = None,
    prefer: Prefer = "auto",
    norms: Norms = "original",
    check: bool = True,
) -> nn.Module:
    """Build the compact model. The given model is not changed.

    First choice is the same class with sliced parameters, proven by a rehearsal on meta tensors; where its
    forward hard-codes sizes that no integer attribute explains, the traced graph is returned as a trainable
    module with the same parameter names (`prefer="auto"`), or the channels that force it stay
    (`prefer="eager"`). dtype, device, mode, hooks of modules and `requires_grad` are kept; hooks on gradients
    of parameters are not, which a warning says. The result carries its `Origin` as `result.prunus`; a model
    that is pruned again has one plan of all its steps there.

    Args:
        model: the model that the plan was made for.
        plan: what to remove.
        optimizer: an optimiser over the model's parameters, or several; they are moved to the compact model,
            momentum, other per-slot state and gradients that wait for a step sliced along. Where attention
            divides by the root of a width that has become another, weights of its queries or keys are
            multiplied in its place: outputs are the same, and what these weights learn in a step is another
            multiple.
        prefer: "auto" or "eager".
        norms: "original": norms across channels that go keep their width, which is exact; "plain": they are
            those of the channels that are left, as torch computes them, which is quicker and not exact.
        check: compare with the masked model before anything is returned, in eval and in train mode: on random
            inputs like the example's, images larger than 64 pixels cut down to that where the model takes
            them. Gradients are compared where the code of the model makes or hears of some; elsewhere equal
            forwards of one class have equal gradients. `verify` compares everything at full size.

    Raises:
        PlanError: the plan was made for another model, or leaves a convolution without channels.
        VerifyError: the result does not compute what the masked model does (a defect of prunus).
    """
    model = unwrap(model)
    with collector_paused():
        graph = graph_for(model, plan)
        _check_something_left(model, slices_of(graph, plan.removed_in(graph)))
        built = _build(
            model, graph, plan if plan.graph is graph else replace(plan, graph=graph), prefer, norms
        )
        origin = _origin(model, graph, built)
    object.__setattr__(built.model, "prunus", origin)
    if check:
        found = verification(model, built.plan, built.model, trained=built.trained, quick=True)
        object.__setattr__(built.model, "prunus", replace(origin, verification=found))
    if any(vars(module).get("_compiled_call_impl") is not None for module in model.modules()):
        warn("The model was compiled in place; the compact one is not, so call its compile() too.")
    if heard := listened(model):
        warn(
            f"Hooks on the gradient of {heard[0]}{f' and {len(heard) - 1} more' if heard[1:] else ''} are not"
            " carried over, as they may know its old shape: register them again on the compact model."
        )
    transfer_inside(model, built.model, built.surgery.slices, built.surgery.rescales)
    if optimizer is not None:
        transfer(optimizer, model, built.model, built.surgery.slices, built.surgery.rescales)
    return built.model


def _check_something_left(model: nn.Module, slices: Slices) -> None:
    """Raises PlanError where a convolution would have no channel, which torch does not compute; plans that
    were joined by | may ask for that.
    """
    tensors = named_tensors(model)
    for name, axes in slices.items():
        if tensors[name].dim() > 2 and not all(len(kept) for kept in axes.values()):
            raise PlanError(
                f"The plan removes every channel of {name.rpartition('.')[0] or name}, and a convolution"
                " needs one: keep some."
            )


@dataclass(frozen=True, eq=False)
class _Built:
    model: nn.Module
    plan: Plan
    mode: str
    surgery: Surgery
    trained: TrainDifference | None = None  # how it trains, where that was asked already


def _origin(model: nn.Module, graph: ChannelGraph, built: _Built) -> Origin:
    """Where a model comes from that was built just now: the first dense network, if the given one was cut out
    of that.
    """
    mode = "traced" if isinstance(built.model, TracedModule) else built.mode
    before = vars(model).get("prunus")
    both = joined(before, graph, built.plan, built.surgery) if isinstance(before, Origin) else None
    if both is not None:
        return Origin(both[0], mode, both[1], None, built.plan, before.dense)  # type: ignore[union-attr]
    if isinstance(before, Origin) and mode == "eager" and before.dense is not None:
        warn(
            f"This step cannot be said of the {type(model).__name__} that was pruned first, so save what it"
            " began with, too: `build_model` of `prunus.load` must make that one.",
        )
    return Origin(built.plan, mode, built.surgery, None, built.plan, graph.twin.model)


def _build(model: nn.Module, graph: ChannelGraph, plan: Plan, prefer: Prefer, norms: Norms) -> _Built:
    """The module's own class, else its traced graph, else its own class with fewer channels gone."""
    small, surgery, failure = _eager(model, graph, plan, norms)
    if small is None and graph.training is not None and not _repeats_itself(graph.training):
        warn(
            f"The forward of {type(model).__name__} in train mode does not repeat itself, so what it does"
            " with pruned channels is not known."
        )
        graph = replace(graph, training=None)
        small, surgery, failure = _eager(model, graph, plan, norms)
    if small is not None:
        return _Built(small, _noted(plan, graph, surgery), "eager", surgery)
    noted = plan if norms == "original" else _noted(plan, graph, surgery)
    traced = (
        compact_traced(model, graph, plan, norms)
        if prefer == "auto" and (graph.training is None or noted.exact)
        else None
    )
    trained = _trained(model, noted, traced) if traced is not None else None
    apart = _apart(graph, trained) if traced is not None else ""
    usable = traced is not None and not apart
    if traced is not None and usable and not traced.lengths:
        set_modes(traced, model)
        return _Built(traced, noted, "traced", Surgery(surgery.slices), trained)
    small, less, lesser = _eager_with_less(model, graph, plan, norms, failure)
    if traced is not None and usable and less.removed < _ENOUGH * plan.removed:
        warn(f"The compact {type(model).__name__} {_tied(traced)}; inputs of other sizes are refused.")
        set_modes(traced, model)
        return _Built(traced, noted, "traced", Surgery(surgery.slices), trained)
    apart = apart or (f"its traced graph {_tied(traced)}" if traced is not None else "")
    warn(_said(plan, less, graph, failure, prefer, apart))
    return _Built(small, _noted(less, graph, lesser), "eager", lesser)


def _tied(traced: TracedModule) -> str:
    """Which inputs a traced graph takes, that does not take all."""
    shapes = " and ".join(
        f"({', '.join('any' if n is None else str(n) for n in lengths)})" for lengths in traced.lengths
    )
    return (
        f"takes inputs of shape {shapes} only, since the forward makes numbers or conditions of these sizes"
        " in Python"
    )


def _repeats_itself(graph: ChannelGraph) -> bool:
    """Whether a forward runs again as it ran, where nothing is removed."""
    return rehearse(graph, np.zeros(graph.num_channels, dtype=bool), Surgery({}))[1] is None


def _trained(model: nn.Module, plan: Plan, traced: nn.Module) -> TrainDifference | None:
    """How a traced graph trains, which does not know of everything, such as gradients of its own; None if
    that cannot be said.
    """
    return (
        compare_training(model, plan, mask(model, plan), traced, random_inputs(model, plan))
        if plan.exact
        else None
    )


def _apart(graph: ChannelGraph, trained: TrainDifference | None) -> str:
    """How a traced graph would train otherwise than the model does; "" if it would not."""
    if trained is None:
        return "" if graph.training is None else "its traced graph knows of eval mode alone"
    return (
        "" if trained.same else f"its traced graph would train in another way ({trained.fails or trained.of})"
    )


def _noted(plan: Plan, graph: ChannelGraph, surgery: Surgery) -> Plan:
    """The plan, inexact where statistics over channels do not keep their width."""
    notes = () if surgery.widths else narrowed(graph, plan.removed_in(graph))
    return replace(plan, notes=tuple(dict.fromkeys((*plan.notes, *notes)))) if notes else plan


def _said(
    plan: Plan, less: Plan, graph: ChannelGraph, failure: MismatchError | None, prefer: Prefer, apart: str
) -> str:
    """One sentence on what stays because of the forward. Raises CompactError where nothing goes and only that
    was asked for.
    """
    graph = graph if failure is None or failure.graph is None else failure.graph
    record = (
        graph.records[failure.index] if failure is not None and failure.index < len(graph.records) else None
    )
    place = f" ({record.operator}, {record.where})" if record is not None else ""
    if failure is not None and failure.unseen:
        because = reason = (
            "a statistic over channels, or its gradient, is computed where the class does not see it"
        )
        advice = "compute it in the forward of a module, without a checkpoint or a backward of its own"
    else:
        because, reason = "its forward needs the number of channels", "the model's forward needs their number"
        advice = "read the number off the tensor there"
    if not less.removed and prefer == "eager":
        raise CompactError(
            f"Nothing can be removed in the own class of {type(graph.model).__name__}, as {because}{place};"
            f" {advice}, or allow the traced graph (prefer='auto')."
        )
    and_ = f", and {apart}" if apart else ""
    return f"{plan.removed - less.removed} of {plan.removed} channels stay, because {reason}{place}{and_}."


def _eager(
    model: nn.Module, graph: ChannelGraph, plan: Plan, norms: Norms, attempts: int = 40
) -> tuple[nn.Module | None, Surgery, MismatchError | None]:
    """The module's own class, or None and what went wrong."""
    removed = plan.removed_in(graph)
    slices = slices_of(graph, removed)
    forwards = graph.forwards
    rebinds = {(r.module, r.name): r for one in forwards for r in standard_rebinds(one, removed, slices)}
    surgery = Surgery(slices, tuple(rebinds.values()), remaps=remaps_of(graph, removed))
    for one in forwards:
        surgery, failure = fit_attributes(one, removed, surgery, attempts)
        if failure is None and norms == "original":
            failure = _unseen_statistic(one, removed)
        if failure is not None:
            return None, surgery, failure
    surgery = replace(surgery, widths=(widths_of(graph, removed) or ()) if norms == "original" else ())
    small = operate(model, surgery)
    moves = {fold.module: fold for one in forwards for fold in folds(one, removed)}
    apply_folds(model, small, tuple(moves.values()), surgery)
    return small, surgery, None


def _unseen_statistic(graph: ChannelGraph, removed: NDArray[np.bool_]) -> MismatchError | None:
    """Where the module's own class would divide by fewer channels than before, forwards or backwards."""
    index = only_written_anew(graph, removed)
    if index is None:
        return None
    failure = MismatchError(index, f"{graph.records[index].operator} goes over fewer channels")
    failure.graph, failure.unseen = graph, True
    return failure


def _eager_with_less(
    model: nn.Module, graph: ChannelGraph, plan: Plan, norms: Norms, failure: MismatchError | None
) -> tuple[nn.Module, Plan, Surgery]:
    """Leave out the channels at the operator that fails, until the module's own forward runs."""
    removed = plan.removed_in(graph)
    for _ in range(_MOST_ROUNDS):
        at = _channels_at(graph, failure, removed)
        if failure is None or not at.any():
            break
        removed = removed & ~at
        plan = make_plan(graph, removed)
        small, surgery, failure = _eager(model, graph, plan, norms, attempts=6)
        if small is not None:
            return small, plan, surgery
    plan = make_plan(graph, np.zeros_like(removed))
    small, surgery, failure = _eager(model, graph, plan, norms)
    if small is None:
        raise CompactError(
            f"The forward of {type(model).__name__} does not repeat itself on the same inputs ({failure})."
        )
    return small, plan, surgery


def _channels_at(
    graph: ChannelGraph, failure: MismatchError | None, removed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """All channels of the groups that an operator, or any other at the same line of the same class, sees; if
    it sees none, those before it do.

    A number made of a width may stand where that width is gone, as in (q @ k) / sqrt(width).
    """
    graph = graph if failure is None or failure.graph is None else failure.graph
    indices = [failure.index] if failure is not None and failure.index < len(graph.records) else []
    for _ in range(_MOST_BACK):
        found = np.zeros_like(removed)
        for index in indices:
            found |= _seen_at(graph, graph.records[index], removed)
        if found.any() or not indices:
            return found
        indices = sorted(
            {
                origin[0]
                for index in indices
                for origin in graph.wiring[index]
                if origin is not None and origin[0] >= 0
            }
        )
    return np.zeros_like(removed)


def _seen_at(graph: ChannelGraph, failed: Record, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    result = np.zeros_like(removed)
    for record in graph.records:
        if record.where == failed.where:
            for stripe in (stripe for paint in (*record.inputs, *record.paints) for stripe in paint):
                channels = graph.channel_of_colour[stripe.labels]
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
            shift = folded_shift(
                tensors[f"{prefix}weight"], fold, surgery.slices.get(f"{prefix}weight", {}).get(0)
            )
            layer = small.get_submodule(fold.module)
            if layer.bias is None:
                layer.bias = nn.Parameter(shift.clone(), requires_grad=layer.weight.requires_grad)
            else:
                cast(Tensor, layer.bias).add_(shift)


__all__ = ["Origin", "Prefer", "compact"]
