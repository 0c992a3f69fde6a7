"""One check for any network: prune it, and prove that the compact model computes what the masked one does."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

import prunus
from prunus.paint.graph import ChannelGraph
from prunus.plans.plan import Plan
from tests.network_calls import Inputs, map_inputs, outputs_of, relative_error
from tests.network_train_check import TOLERANCE as TRAIN_TOLERANCE
from tests.network_train_check import difference, kept_slots, rounding, train_step

RATES = (0.5, 0.3, 0.5, 0.8, 0.5)
TOLERANCE = 1e-12  # relative, in double precision: rounding only


@dataclass(frozen=True)
class Outcome:
    """What pruning did to one network; `relative` is the largest error relative to the largest masked output,
    `trained` that of a training step.

    `trained` is None for inexact plans, and where the network cannot be trained on its inputs; `stayed`
    counts channels that were to go.
    """

    mode: str
    exact: bool
    relative: float
    trained: float | None
    channels: int
    removed: int
    stayed: int


def check_network(
    model: nn.Module,
    inputs: Inputs,
    seed: int,
    rate: float | None = None,
    prefer: Literal["auto", "eager"] = "auto",
) -> Outcome:
    """Prune at `rate`, or one that the seed chooses, by random scores, and assert the whole contract in
    double precision.
    """
    rate = RATES[seed % len(RATES)] if rate is None else rate
    model, inputs = copy.deepcopy(model).double(), map_inputs(inputs, Tensor.double)
    freeze_some(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = outputs_of(model, inputs)

    graph = prunus.trace(model, inputs)
    scores = torch.rand(graph.num_channels, generator=torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only .* channels of")  # of networks that are mostly pinned
        plan = prunus.plan(graph, scores, rate=rate, scope="global" if seed % 2 else "uniform")
        # where a traced graph would not train alike
        warnings.filterwarnings("ignore", message=".* channels stay")
        small = prunus.compact(model, plan, prefer=prefer)
    asked, plan = plan, small.prunus.plan
    assert not (plan.removed_in(graph) & ~asked.removed_in(graph)).any(), (
        "compact removes what nobody asked for"
    )
    masked = prunus.mask(model, plan)
    found = outputs_of(small, inputs)

    relative = relative_error(outputs_of(masked, inputs), found)
    if plan.exact:
        assert relative <= TOLERANCE, (
            f"exact plan, but the outputs differ by {relative:.3g} of the largest one"
        )
    else:
        assert plan.notes, "the plan is not exact and does not say why"
    assert all(bool(tensor.isfinite().all()) for tensor in found)
    check_other_sizes(masked, small, plan, inputs)
    trained = check_training(masked, small, graph, plan, inputs)
    assert_kept(model, small)
    assert_untouched(model, inputs, state, before)
    removed = graph.cost().params - graph.cost(plan).params
    # folding may add biases
    parameters = sum(p.numel() for name, p in small.named_parameters() if name in state)
    assert parameters == sum(p.numel() for p in model.parameters()) - removed, (
        "the cost model counts other parameters"
    )
    return Outcome(
        small.prunus.mode,
        plan.exact,
        relative,
        trained,
        graph.num_channels,
        plan.removed,
        asked.removed - plan.removed,
    )


def check_other_sizes(masked: nn.Module, small: nn.Module, plan: Plan, inputs: Inputs) -> None:
    """Assert that the compact network takes what the masked one takes: another batch, and for the network's
    own class another resolution.
    """
    for change in (another_batch, another_size) if small.prunus.mode == "eager" else (another_batch,):
        try:
            expected = outputs_of(masked, map_inputs(inputs, change))
        except (RuntimeError, AssertionError):  # sizes in the source, tables, linear layers over space
            continue
        if any(after.shape[0] != 2 + (change is another_batch) for after in expected):
            continue  # rows cut out of what is larger now, wherever they end
        found = outputs_of(small, map_inputs(inputs, change))
        error = relative_error(expected, found)
        assert error <= TOLERANCE or not plan.exact, (
            f"exact plan, but with {change.__name__} the outputs differ by {error:.3g}"
        )


def another_batch(tensor: Tensor) -> Tensor:
    """Three instead of two."""
    return torch.cat([tensor, tensor[:1] - tensor[1:]])


def another_size(tensor: Tensor) -> Tensor:
    """Larger pictures."""
    return torch.cat([tensor, tensor.flip(-1)], -1) if tensor.dim() == 4 else tensor


def check_training(
    masked: nn.Module, small: nn.Module, graph: ChannelGraph, plan: Plan, inputs: Inputs
) -> float | None:
    """Assert that the compact network trains, and for an exact plan as the masked one
    does; the difference.
    """
    expected = train_step(masked, inputs)
    if expected is None:
        return None
    found = train_step(small, inputs)
    assert found is not None, "the compact network cannot be trained on these inputs, and the masked one can"
    if not plan.exact:
        return None
    rescaled = {name for change in small.prunus.surgery.rescales for name in change.parameters}
    error, what = difference(expected, found, kept_slots(graph, plan), rescaled)
    allowed = (
        TRAIN_TOLERANCE
        if error <= TRAIN_TOLERANCE
        else max(TRAIN_TOLERANCE, rounding(masked, expected, inputs))
    )
    assert error <= allowed, f"exact plan, but {what} differ by {error:.3g} in training"
    return error


def freeze_some(model: nn.Module) -> None:
    """Take gradients away from every third parameter, so that `requires_grad` has something to keep."""
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 3 != 0)


def assert_kept(model: nn.Module, small: nn.Module) -> None:
    """Mode, dtype and `requires_grad` of every parameter that still exists are the model's."""
    assert small.training == model.training
    old = dict(model.named_parameters())
    for name, parameter in small.named_parameters():
        assert parameter.dtype == torch.float64, name
        if name in old:
            assert parameter.requires_grad == old[name].requires_grad, f"requires_grad of {name} changed"


def assert_untouched(
    model: nn.Module, inputs: Inputs, state: dict[str, Tensor], before: list[Tensor]
) -> None:
    """The user's model is bit for bit what it was."""
    assert list(model.state_dict()) == list(state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), f"{name} of the user's model changed"
    for a, b in zip(before, outputs_of(model, inputs), strict=True):
        assert torch.equal(a, b), "the user's model computes something else afterwards"
