"""`verify`: run the masked and the compact model on the same inputs and compare what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.agreement import difference, not_finite, rounding
from prunus._foundation.arguments import door
from prunus._foundation.collector import collector_paused
from prunus._foundation.seeds import seeded
from prunus.errors import ArgumentError, PrunusError, VerifyError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Arguments, Inputs, as_arguments, called, map_tensors, tensors_in
from prunus.paint.model_copy import copy_model, named_tensors, unwrap, walk
from prunus.paint.modes import leaves_gradients
from prunus.plans.culprit import find_culprit
from prunus.plans.mask import mask
from prunus.plans.nudge import nudged
from prunus.plans.plan import Plan
from prunus.plans.resolve import graph_for
from prunus.plans.slices import Slices, cut, slices_of
from prunus.plans.train_check import TrainDifference, light, settled_training, train_difference

# What rounding certainly explains, relative to the largest value; beyond it double precision decides.
_CERTAIN = {torch.float64: 1e-9, torch.float32: 1e-5}
_TRAINING = {torch.float64: 1e-6, torch.float32: 1e-4}  # batch norms of few values multiply rounding by much
_NUDGES = 3  # directions in which the smallest change of all parameters is tried


@dataclass(frozen=True)
class Verification:
    """The largest difference between masked and compact outputs, absolute and relative to the largest value
    of its masked output.

    Both are infinite where one of them gives a number and the other none. `exact` says whether the plan
    promises equality up to rounding; `mode` is "eager" (the user's own class) or "traced". `training` is the
    largest relative difference in train mode, of outputs, buffers and (where the masked model's are finite)
    gradients of what is left; None for a plan that is not exact, and if the model cannot be trained so.
    """

    max_abs: float
    relative: float
    exact: bool
    mode: str
    training: float | None = None


@door()
def verify(
    model: nn.Module, plan: Plan, compact_model: nn.Module, inputs: Inputs | None = None
) -> Verification:
    """Compare `mask(model, plan)` with the compact model on given inputs, or on random ones of the example
    inputs' shapes, in eval and in train mode.

    Where single precision leaves a doubt, both are compared in double precision.

    Raises VerifyError if the outputs differ in structure or shape, or, for an exact plan, by more than
    rounding; and if the model gives NaN or infinity on these inputs, with the first of its layers that does,
    since nothing can be compared with that.
    """
    return verification(model, plan, compact_model, inputs)


@collector_paused()
def verification(
    model: nn.Module,
    plan: Plan,
    compact_model: nn.Module,
    inputs: Inputs | None = None,
    trained: TrainDifference | None = None,
    quick: bool = False,
) -> Verification:
    """`verify`; `trained` is what `compare_training` found on the same inputs, where somebody asked before.

    `quick`: on a batch of two small images, where the inputs are images and the model takes smaller ones; and
    without gradients, where the compact model is of the same class and nothing in its code touches them, so
    that equal forwards have equal ones.
    """
    model = unwrap(model)
    if any(parameter.is_meta for one in (model, compact_model) for parameter in one.parameters()):
        raise VerifyError(
            "A model without values (on meta) has nothing that could be compared; give it some, or call"
            " compact with check=False."
        )
    graph = graph_for(model, plan)  # once, for a plan that was read from a file, too
    plan = plan if plan.graph is graph else replace(plan, graph=graph)
    args, kwargs = as_arguments(inputs) if inputs is not None else random_inputs(model, plan)
    masked = mask(model, plan)
    own, before = _beside(masked), _marks(masked)
    lighter = _lighter(own, (args, kwargs)) if quick else None
    (args, kwargs), expected = lighter or ((args, kwargs), _outputs(own, args, kwargs))
    writes = _marks(masked) != before
    if writes:
        masked = mask(model, plan)
    own = copy_model(compact_model, {}) if writes else _beside(compact_model)
    found = _outputs(own, args, kwargs, VerifyError)
    apart = difference(expected, found)
    if apart.unlike:
        raise VerifyError(f"The compact model returns {apart.unlike}, which the masked one does.")
    if not apart.finite or _has_broken_values(model):
        _refuse_not_finite(model, masked, (args, kwargs), not_finite(found), plan.exact)
    mode = getattr(getattr(compact_model, "prunus", None), "mode", "eager")
    if not plan.exact:
        return Verification(apart.max_abs, apart.relative, False, mode)
    settled = _settled(
        apart.relative,
        _coarsest(model, plan),
        lambda: _difference_in_double(masked, compact_model, (args, kwargs)),
        lambda: _rounded_away(model, plan, masked, compact_model, (args, kwargs)),
    )
    if settled is not None:
        by = (
            "in values that are whole or not finite"
            if settled == math.inf
            else f"by {settled:.2g} of an output's largest value"
        )
        raise VerifyError(f"The compact model differs from the masked one {by}, although the plan is exact.")
    gradients = not (quick and mode == "eager" and leaves_gradients(walk(compact_model)))
    found_in_training = trained or compare_training(
        model, plan, masked, compact_model, (args, kwargs), gradients
    )
    training = settled_training(found_in_training, model)
    return Verification(apart.max_abs, apart.relative, True, mode, training)


def _beside(model: nn.Module) -> nn.Module:
    """A copy with the same parameters, and all else its own: a forward may count, or keep what it saw."""
    return copy_model(model, {id(parameter): parameter for parameter in model.parameters()})


def _marks(model: nn.Module) -> list[tuple[int, int]]:
    """What is another once somebody has written into a parameter."""
    return [(parameter._version, parameter.data_ptr()) for parameter in model.parameters()]


def _lighter(masked: nn.Module, inputs: Arguments) -> tuple[Arguments, list[Tensor]] | None:
    """Small images in place of large ones, and what the masked model makes of them; None where it does not
    take them or they are no images.
    """
    for arguments in light(inputs):
        try:
            outputs = _outputs(masked, *arguments)
        except PrunusError:  # whatever it is that such a model does not take
            continue
        if all(bool(tensor.isfinite().all()) for tensor in outputs):
            return arguments, outputs
    return None


def _outputs(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[PrunusError] = ArgumentError
) -> list[Tensor]:
    with evaluating(model), seeded():
        return list(tensors_in(called(model, args, kwargs, kind)))


def _settled(
    relative: float,
    dtype: torch.dtype,
    in_double: Callable[[], float | None],
    rounded: Callable[[], float],
) -> float | None:
    """None where a difference is one of rounding, else how large it is: in double precision where the model's
    own leaves a doubt; `rounded` is what the rounding of parameters explains of it.
    """
    if relative <= _CERTAIN.get(dtype, 0.0):
        return None
    exact = in_double() if dtype != torch.float64 else None
    if exact is None:
        return None if relative <= rounding(dtype) else relative
    explained = exact <= _CERTAIN[torch.float64] or exact <= min(rounded(), rounding(dtype))
    return None if explained else exact


def _rounded_away(
    model: nn.Module, plan: Plan, masked: nn.Module, small: nn.Module, inputs: Arguments
) -> float:
    """How far the outputs of double-precision copies may be apart because surgery made biases of what removed
    channels give, or multiplied rows, and rounded them to the model's own type, or because the forward
    computes in a coarser one; 0 where nothing of this is so.
    """
    slices = slices_of(graph := graph_for(model, plan), plan.removed_in(graph))
    before = named_tensors(masked)
    made = _coarsest(model, plan) != _dtype(model) or bool(_rescaled(small))
    made = made or any(
        name not in before or not torch.equal(cut(before[name], slices.get(name, {})), parameter)
        for name, parameter in small.named_parameters()
        if name.rpartition(".")[2] == "bias"
    )
    moved = [_difference_in_double(masked, nudged(masked, seed), inputs) for seed in range(made * _NUDGES)]
    return _explained(moved)


def _explained(moved: Sequence[float | None]) -> float:
    """What rounding explains, where the smallest changes of all parameters move results so far."""
    return 10 * max((found for found in moved if found is not None), default=0.0)


def _difference_in_double(masked: nn.Module, small: nn.Module, inputs: Arguments) -> float | None:
    """The relative difference of double-precision copies; None where the forward does not run in it."""
    first, second = copy_model(masked, {}).double(), copy_model(small, {}).double()
    args, kwargs = map_tensors(inputs, lambda t: t.double() if t.is_floating_point() else t)
    try:
        expected, found = _outputs(first, args, kwargs), _outputs(second, args, kwargs)
    except Exception:  # numbers of a fixed type in the forward; what a model raises then is anybody's guess
        return None
    return difference(expected, found).relative


def compare_training(
    model: nn.Module,
    plan: Plan,
    masked: nn.Module,
    small: nn.Module,
    inputs: Arguments,
    gradients: bool = True,
) -> TrainDifference | None:
    """The difference in train mode, in double precision where single precision leaves a doubt; None where the
    model cannot be trained so.
    """
    slices = slices_of(graph := graph_for(model, plan), plan.removed_in(graph))
    rescaled = _made_anew(masked, small, slices)
    dtype = _coarsest(model, plan)
    own = train_difference(masked, small, slices, inputs, rescaled, gradients=gradients)
    if own is None or own.fails or own.relative <= _TRAINING.get(dtype, 0.0):
        return own and replace(own, same=not own.fails)
    if dtype == torch.float64:
        return own
    # Batch norms of a few small images may multiply rounding by anything.
    exact = train_difference(masked, small, slices, inputs, rescaled, double=True, gradients=gradients)
    if exact is None or exact.fails:  # it does not run in double precision
        return replace(own, same=own.relative <= rounding(dtype))
    if exact.relative <= _TRAINING[torch.float64]:
        return replace(exact, same=True)
    # Casts and constants inside a forward round in single precision whatever the type of its parameters.
    moved = [
        train_difference(masked, nudged(masked, seed), {}, inputs, double=True, gradients=gradients)
        for seed in range(_NUDGES)
    ]
    explained = _explained([found.relative for found in moved if found is not None])
    return replace(exact, same=exact.relative <= min(explained, _TRAINING.get(dtype, rounding(dtype))))


def _made_anew(masked: nn.Module, small: nn.Module, slices: Slices) -> list[str]:
    """Names of the parameters and whole numbers that are something else than what is left of the masked
    model's: multiplied rows, whose gradients are other multiples, and slots that were numbered anew. A bias
    that took up what removed channels gave is not among them; one of zeros goes with its weight.
    """
    before, after = named_tensors(masked), named_tensors(small)
    found = {
        name
        for name, tensor in after.items()
        if name in before
        and (isinstance(tensor, nn.Parameter) or not tensor.is_floating_point())
        and not torch.equal(cut(before[name], slices.get(name, {})), tensor)
    }
    alike = [name for name in after if (f"{name[:-4]}weight" if name.endswith("bias") else name) in found]
    return [*alike, *_rescaled(small)]


def _rescaled(small: nn.Module) -> list[str]:
    """Names of the parameters of which surgery multiplied rows."""
    surgery = getattr(getattr(small, "prunus", None), "surgery", None)
    return [name for change in getattr(surgery, "rescales", ()) for name in change.parameters]


def random_inputs(model: nn.Module, plan: Plan) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Seeded normal inputs (zeros where they are integers) of the example inputs' shapes, on the model's
    device.

    Where the model has another floating-point type than when it was traced, so have they.
    """
    return drawn_inputs(model, graph_for(model, plan), torch.Generator().manual_seed(0))


def drawn_inputs(
    model: nn.Module, graph: ChannelGraph, generator: torch.Generator
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`random_inputs` from a generator of the CPU."""
    args, kwargs = graph.inputs
    device = next((t.device for t in named_tensors(model).values()), torch.device("cpu"))
    traced = _dtype(graph.twin.model)

    def draw(tensor: Tensor) -> Tensor:
        if tensor.dtype.is_complex:
            return torch.randn(tensor.shape, generator=generator, dtype=torch.complex64).to(
                device, tensor.dtype
            )
        if not tensor.dtype.is_floating_point:
            return (
                tensor.to(device)
                if tensor.device.type != "meta"
                else torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
            )
        dtype = _dtype(model) if tensor.dtype == traced else tensor.dtype
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(device, dtype)

    return map_tensors(args, draw), map_tensors(kwargs, draw)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every module is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def evaluated_copy(model: nn.Module) -> Iterator[nn.Module]:
    """A copy in eval mode without gradients, of a model that may count its forwards or keep what they saw."""
    own = copy_model(model, {})
    with evaluating(own):
        yield own


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)


def _coarsest(model: nn.Module, plan: Plan) -> torch.dtype:
    """The type of the coarsest numbers that the forward computes with: it may cast, as to normalise."""
    graph = graph_for(model, plan)
    traced = _dtype(graph.twin.model)
    cast = {
        tensor.dtype
        for record in graph.records
        for tensor in (record.outputs if record.tensors else ())
        if tensor.dim() and tensor.is_floating_point() and tensor.dtype != traced
    }
    return max({_dtype(model), *cast}, key=lambda dtype: torch.finfo(dtype).eps)


def _has_broken_values(model: nn.Module) -> bool:
    """Whether a parameter or buffer holds a value that is not finite, which a mask may hide; false alarms, by
    sums that overflow, are harmless.
    """
    tensors = [tensor.detach() for tensor in named_tensors(model).values()]
    fractions = [tensor for tensor in tensors if tensor.is_floating_point()]
    fractions += [torch.view_as_real(tensor.resolve_conj()) for tensor in tensors if tensor.is_complex()]
    return not all(bool(tensor.sum(dtype=torch.float32).isfinite()) for tensor in fractions)


def _refuse_not_finite(
    model: nn.Module,
    masked: nn.Module,
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
    found: str,
    exact: bool,
) -> None:
    """Raise VerifyError that names the first layer without finite values, unless a comparison shows
    something.
    """
    args, kwargs = inputs
    given = not_finite(tensors_in((args, kwargs)))
    if given:
        raise VerifyError(f"The inputs hold {given}, so nothing that comes of them can be compared.")
    dense = copy_model(model, {})
    with evaluating(dense), evaluating(masked), seeded():
        before, after = find_culprit(dense, args, kwargs), find_culprit(masked, args, kwargs)
    if before is not None:
        raise VerifyError(
            f"The dense model gives {before.kind} on these inputs already, {before}; mend it, or give inputs"
            " on which it gives numbers."
        )
    if after is not None and (exact or found):
        raise VerifyError(
            f"The masked model gives {after.kind} where the dense one gives numbers, {after}; keep what that"
            " layer reads."
        )
    if found and exact:
        raise VerifyError(f"The compact model gives {found} where the masked one gives numbers.")
