"""`verify`: run the masked and the compact model on the same inputs and compare what comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import VerifyError
from .graph import ChannelGraph
from .mask import mask
from .plan import Plan
from .resolve import graph_for
from .trace import Inputs, as_arguments, map_tensors, tensors_in
from .twin import named_tensors, unwrap

# What rounding alone may do to a deep network, relative to its largest output.
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-3}


# Outputs this much smaller than the largest one are measured against that share of it: they may be rounding themselves.
_FAINT = 1e-3


@dataclass(frozen=True)
class Verification:
    """The largest difference between masked and compact outputs, absolute and relative to the largest value of its masked output.

    `exact` says whether the plan promises equality up to rounding; `mode` is "eager" (the user's own class) or "traced".
    """

    max_abs: float
    relative: float
    exact: bool
    mode: str


def verify(model: nn.Module, plan: Plan, compact_model: nn.Module, inputs: Inputs | None = None) -> Verification:
    """Compare `mask(model, plan)` with the compact model on given inputs, or on random ones of the example inputs' shapes.

    Raises VerifyError if the outputs differ in structure or shape, or, for an exact plan, by more than rounding.
    """
    model = unwrap(model)
    args, kwargs = as_arguments(inputs) if inputs is not None else random_inputs(model, plan)
    masked = mask(model, plan)
    with evaluating(masked), evaluating(compact_model), torch.random.fork_rng(devices=[]):
        expected = list(tensors_in(masked(*args, **kwargs)))
        found = list(tensors_in(compact_model(*args, **kwargs)))
    max_abs, relative = _difference(expected, found, plan.exact)
    mode = getattr(getattr(compact_model, "prunus", None), "mode", "eager")
    if plan.exact and not relative <= _TOLERANCES.get(_dtype(model), 0.1):
        raise VerifyError(
            f"The compact model differs from the masked one by {relative:.2g} of an output's largest value, although the plan is exact."
        )
    return Verification(max_abs, relative, plan.exact, mode)


def random_inputs(model: nn.Module, plan: Plan) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Seeded normal inputs (zeros where they are integers) of the example inputs' shapes, on the model's device.

    Where the model has another floating-point type than when it was traced, so have they.
    """
    return drawn_inputs(model, graph_for(model, plan), torch.Generator().manual_seed(0))


def drawn_inputs(model: nn.Module, graph: ChannelGraph, generator: torch.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`random_inputs` from a generator of the CPU."""
    args, kwargs = graph.inputs
    device = next((t.device for t in named_tensors(model).values()), torch.device("cpu"))
    traced = _dtype(graph.twin.model)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.dtype.is_floating_point:
            return tensor.to(device) if tensor.device.type != "meta" else torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
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


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)


def _difference(expected: list[Tensor], found: list[Tensor], exact: bool) -> tuple[float, float]:
    """Largest absolute difference, and largest difference relative to the magnitude of its own output, over all outputs."""
    if len(expected) != len(found):
        raise VerifyError(f"The compact model returns {len(found)} tensors, the masked one {len(expected)}.")
    scales = [_magnitude(a) for a in expected]
    floor = _FAINT * max(scales, default=0.0)
    worst = relative = 0.0
    for a, b, scale in zip(expected, found, scales):
        if a.shape != b.shape:
            raise VerifyError(f"The compact model returns a tensor of shape {tuple(b.shape)}, the masked one {tuple(a.shape)}.")
        if not (a.dtype.is_floating_point or a.dtype.is_complex):
            difference = 0.0 if torch.equal(a, b) else math.inf
        elif torch.equal(a.isfinite(), b.isfinite()):
            difference = _magnitude(a - b)
        else:
            difference = math.inf
        if exact and difference == math.inf:
            raise VerifyError(
                f"The compact model returns other {a.dtype} values than the masked one, or none that are finite, although the plan is exact."
            )
        worst = max(worst, difference)
        relative = max(relative, difference / (max(scale, floor) or 1.0))
    return worst, relative


def _magnitude(tensor: Tensor) -> float:
    """The largest finite absolute value."""
    finite = tensor[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
