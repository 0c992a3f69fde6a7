"""Small networks and questions about their graphs, shared by the tests of channels, scores, targets and
storage.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import prunus
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import as_arguments, tensors_in
from prunus.plans.plan import Plan


class Net(nn.Module):
    """Named layers and a forward given as a function of the module and its inputs."""

    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


class Halves(nn.Module):
    """Hard-codes sizes in its forward, 12 channels as 5 and 7, so that only the traced module can shrink."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(12)
        self.left = nn.Conv2d(5, 6, 3, padding=1)
        self.right = nn.Conv2d(7, 6, 1)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x)).relu()
        a, b = x.narrow(1, 0, 5), x.narrow(1, 5, 7)
        y = self.drop((self.left(a) + self.right(b)).relu())
        return self.head(y.mean((2, 3)))


class Dense(nn.Module):
    """Every layer reads what all layers before it made."""

    def __init__(self, growth: int = 6, layers: int = 3, planes: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(planes, growth, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(growth * (i + 1)) for i in range(layers))
        self.convs = nn.ModuleList(
            nn.Conv2d(growth * (i + 1), growth, 3, padding=1, bias=False) for i in range(layers)
        )
        self.head = nn.Linear(growth * (layers + 1), classes)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs):
            found.append(conv(norm(torch.cat(found, 1)).relu()))
        return self.head(torch.cat(found, 1).relu().mean((2, 3)))


def channels(graph: ChannelGraph, name: str, dim: int = 0) -> list[int]:
    """The channel of every slot of one axis, -1 where pinned."""
    return next(axis.channels.tolist() for axis in graph.axes if (axis.name, axis.dim) == (name, dim))


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in double precision and eval mode, with random weights and batch-norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4)
        for name, buffer in model.named_buffers():
            if buffer.dtype.is_floating_point:
                values = torch.randn(buffer.shape, generator=generator, dtype=torch.float64)
                buffer.copy_(values.abs() + 0.5 if name.endswith("var") else values)
    return model


def random_plan(graph: ChannelGraph, rate: float = 0.5, seed: int = 0, **wishes: Any) -> Plan:
    """A plan from random scores."""
    return prunus.plan(graph, prunus.scores.random(graph, seed), rate=rate, **wishes)


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """All output tensors, without gradients."""
    args, kwargs = as_arguments(inputs)
    with torch.no_grad():
        return list(tensors_in(model(*args, **kwargs)))


def difference(first: nn.Module, second: nn.Module, inputs: Any) -> float:
    """Largest difference of two models' outputs relative to the largest output; infinite where shapes differ
    or something is not a number.
    """
    worst = scale = 0.0
    for a, b in zip(outputs(first, inputs), outputs(second, inputs), strict=True):
        if a.shape != b.shape or not (a.isfinite().all() and b.isfinite().all()):
            return float("inf")
        worst, scale = max(worst, float((a - b).abs().max())), max(scale, float(a.abs().max()))
    return worst / (scale or 1.0)


def pruned(
    model: nn.Module, inputs: Any, rate: float = 0.5, seed: int = 0, **wishes: Any
) -> tuple[Plan, Any]:
    """A random plan and its compact model, checked here and not by compact: an exact plan must be exact."""
    plan = random_plan(prunus.trace(model, inputs), rate, seed)
    with warnings.catch_warnings():
        # allowed here: the plan that was really carried out is looked at
        warnings.filterwarnings("ignore", message=".*channels stay")
        small = prunus.compact(model, plan, check=False, **wishes)
    plan = small.prunus.plan
    if plan.exact:
        assert difference(prunus.mask(model, plan), small, inputs) < 1e-12
    return plan, small
