"""Do the masked and the compact network train alike? One step of each, written out slowly and without
anything that prunus checks with.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from prunus.paint.graph import ChannelGraph
from prunus.plans.plan import Plan
from tests.network_calls import Inputs, call, map_inputs, relative_error, tensors_in

Left = Mapping[str, Mapping[int, list[int]]]  # of every axis of every tensor, the slots that are left

TOLERANCE = 1e-9  # relative, in double precision: batch norms of two numbers multiply rounding by much


@dataclass(frozen=True, eq=False)
class Step:
    """What one forward and backward in train mode give."""

    outputs: list[Tensor]
    gradients: Mapping[str, Tensor | None]
    weights: Mapping[str, Tensor]
    statistics: Mapping[str, Tensor]


class WithoutDropout(TorchFunctionMode):
    """Whatever is called dropout passes on what it gets: how many numbers it draws depends on the width."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(getattr(func, "overloadpacket", func), "__name__", "")
        return args[0] if "dropout" in name else func(*args, **(kwargs or {}))


def train_step(model: nn.Module, inputs: Inputs) -> Step | None:
    """One forward and backward of a copy, from the same random numbers for everybody; the loss weighs every
    output element differently.

    None where a norm has a single number to take a variance of.
    """
    model = copy.deepcopy(model).train()
    with torch.random.fork_rng(devices=[]), WithoutDropout():
        torch.manual_seed(5)
        try:
            outputs = list(tensors_in(call(model, inputs)))
        except ValueError as error:
            if "more than 1" not in str(error):
                raise
            return None
        weights = [torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y) for y in outputs]
        loss = sum((y * w).sum() for y, w in zip(outputs, weights, strict=True))
        if isinstance(loss, Tensor) and loss.requires_grad:
            loss.backward()
    parameters = dict(model.named_parameters())
    return Step(
        [y.detach() for y in outputs],
        {name: parameter.grad for name, parameter in parameters.items()},
        {name: parameter.detach() for name, parameter in parameters.items()},
        {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()},
    )


def difference(expected: Step, found: Step, left: Left, rescaled: Collection[str] = ()) -> tuple[float, str]:
    """The largest relative difference of two steps, the second of a compact network, and of what.

    Gradients and statistics are compared on what is left. Of `rescaled` weights, which make up for a size in
    the forward, the products of weights and gradients are compared, which do not change.
    """
    gradients, statistics = {}, {}
    for name in (
        found.gradients.keys() & expected.gradients.keys()
    ):  # others are biases that took up constants
        wanted, got = expected.gradients[name], found.gradients[name]
        if wanted is not None or got is not None:
            wanted = torch.zeros_like(expected.weights[name]) if wanted is None else wanted
            got = torch.zeros_like(found.weights[name]) if got is None else got
            wanted = sliced(wanted * expected.weights[name] if name in rescaled else wanted, left[name])
            gradients[name] = wanted, got * found.weights[name] if name in rescaled else got
    for name in found.statistics.keys() & expected.statistics.keys():
        statistics[name] = sliced(expected.statistics[name], left[name]), found.statistics[name]
    return max(
        (relative_error(expected.outputs, found.outputs), "outputs"),
        *((error, f"gradients of {name}") for name, error in errors(gradients).items()),
        *((error, f"statistics {name}") for name, error in errors(statistics).items()),
    )


def rounding(model: nn.Module, step: Step, inputs: Inputs) -> float:
    """What rounding may explain: how far the same network's step moves, at most, with inputs and weights
    whose last digits are others.

    Batch norms of two nearly equal numbers in a row make much of little, and what stands in front of a batch
    norm has gradients that are nothing but rounding.
    """
    every: Left = {name: {} for name in (*step.weights, *step.statistics)}
    found = [_moved(model, inputs, seed) for seed in range(12)]  # where the next digits fall is luck
    return 10 * max((difference(step, one, every)[0] for one in found if one is not None), default=0.0)


def _moved(model: nn.Module, inputs: Inputs, seed: int) -> Step | None:
    noise = torch.Generator().manual_seed(seed)

    def move(x: Tensor) -> Tensor:
        return x * (1 + 1e-15 * torch.randn(x.shape, generator=noise, dtype=x.dtype))

    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(move(parameter))
    return train_step(model, map_inputs(inputs, move))


def errors(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The largest difference of every pair relative to its largest value, or to a thousandth of that of all
    where it is nearly zero.
    """
    largest = max((float(a.abs().max()) for a, _ in pairs.values() if a.numel()), default=0.0)
    result = {}
    for name, (a, b) in pairs.items():
        assert a.shape == b.shape, f"{name}: {tuple(b.shape)} instead of {tuple(a.shape)}"
        if a.numel():
            result[name] = float((a - b).abs().max()) / max(float(a.abs().max()), 1e-3 * largest, 1e-12)
    return result


def kept_slots(graph: ChannelGraph, plan: Plan) -> Left:
    """What a plan leaves, slot by slot."""
    removed = plan.removed_in(graph)
    result: dict[str, dict[int, list[int]]] = {}
    for axis in graph.axes:
        stays = [
            slot for slot, channel in enumerate(axis.channels.tolist()) if channel < 0 or not removed[channel]
        ]
        result.setdefault(axis.name, {})[axis.dim] = stays
    return result


def sliced(tensor: Tensor, axes: Mapping[int, list[int]]) -> Tensor:
    """The kept slots along every axis."""
    for axis, slots in axes.items():
        tensor = (
            torch.stack([tensor.select(axis, slot) for slot in slots], axis)
            if slots
            else tensor.narrow(axis, 0, 0)
        )
    return tensor
