"""Calling random networks, and comparing what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


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


def map_inputs(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The same inputs with every tensor changed."""
    if isinstance(inputs, dict):
        return {name: change(tensor) for name, tensor in inputs.items()}
    return tuple(change(tensor) for tensor in inputs) if isinstance(inputs, tuple) else change(inputs)
