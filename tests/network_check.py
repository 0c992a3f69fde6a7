"""One check for any network: prune it, and prove that the compact model computes what the masked one does."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import prunus
from tests.networks import Inputs

TOLERANCE = 1e-12  # relative, in double precision: rounding only


@dataclass(frozen=True)
class Outcome:
    """What pruning did to one network; `relative` is the largest error relative to the largest masked output."""

    mode: str
    exact: bool
    relative: float
    channels: int
    removed: int


def check_network(model: nn.Module, inputs: Inputs, seed: int, rate: float = 0.5, prefer: str = "auto") -> Outcome:
    """Prune at `rate` by random scores and assert the whole contract, in double precision."""
    model, inputs = copy.deepcopy(model).double(), to_double(inputs)
    freeze_some(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = outputs_of(model, inputs)

    graph = prunus.trace(model, inputs)
    scores = torch.rand(graph.num_channels, generator=torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only .* channels of")  # of networks that are mostly pinned
        plan = prunus.plan(graph, scores, rate=rate, scope="global" if seed % 2 else "uniform")
        warnings.filterwarnings("ignore" if prefer == "eager" else "default", message=".* channels stay")
        small = prunus.compact(model, plan, prefer=prefer)
    assert prefer == "eager" or small.prunus.plan == plan, "compact made another plan"
    plan = small.prunus.plan
    masked = outputs_of(prunus.mask(model, plan), inputs)
    found = outputs_of(small, inputs)

    relative = relative_error(masked, found)
    if plan.exact:
        assert relative <= TOLERANCE, f"exact plan, but the outputs differ by {relative:.3g} of the largest one"
    else:
        assert plan.notes, "the plan is not exact and does not say why"
    assert all(bool(tensor.isfinite().all()) for tensor in found)
    assert_kept(model, small)
    assert_untouched(model, inputs, state, before)
    removed = graph.cost().params - graph.cost(plan).params
    parameters = sum(p.numel() for name, p in small.named_parameters() if name in state)  # folding may add biases
    assert parameters == sum(p.numel() for p in model.parameters()) - removed, "the cost model counts other parameters"
    return Outcome(small.prunus.mode, plan.exact, relative, graph.num_channels, plan.removed)


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


def assert_untouched(model: nn.Module, inputs: Inputs, state: dict[str, Tensor], before: list[Tensor]) -> None:
    """The user's model is bit for bit what it was."""
    assert list(model.state_dict()) == list(state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), f"{name} of the user's model changed"
    for a, b in zip(before, outputs_of(model, inputs), strict=True):
        assert torch.equal(a, b), "the user's model computes something else afterwards"


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Run the model on a tensor, a tuple of positional or a dict of keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def outputs_of(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """All output tensors in order, without gradients."""
    with torch.no_grad():
        return list(tensors_in(call(model, inputs)))


def tensors_in(tree: object) -> Iterator[Tensor]:
    """The tensors of a nested structure, depth first."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from tensors_in(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from tensors_in(value)


def relative_error(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest difference of any output, relative to the largest magnitude in that output."""
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        assert a.shape == b.shape, f"an output of shape {tuple(a.shape)} became {tuple(b.shape)}"
        if a.numel():
            scale = float(a.abs().max())
            worst = max(worst, float((a - b).abs().max()) / (scale if scale > 1e-6 else 1.0))
    return worst


def to_double(inputs: Inputs) -> Inputs:
    """The same inputs in double precision."""
    if isinstance(inputs, dict):
        return {name: tensor.double() for name, tensor in inputs.items()}
    return tuple(tensor.double() for tensor in inputs) if isinstance(inputs, tuple) else inputs.double()
