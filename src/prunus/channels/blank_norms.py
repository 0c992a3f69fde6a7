"""Shapes of normalisations on meta tensors. Torch decomposes them in Python there, which took half of the time of tracing a ResNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def _batch_norm_shapes(x: Tensor, *vectors: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What native_batch_norm returns on meta tensors."""
    channels = x.shape[1]
    for vector in vectors[:4]:
        if vector is not None and tuple(vector.shape) != (channels,):
            raise RuntimeError(f"batch norm over {channels} channels with a vector of shape {tuple(vector.shape)}")
    return torch.empty_like(x), x.new_empty((channels,)), x.new_empty((channels,))


def _layer_norm_shapes(x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """What native_layer_norm returns on meta tensors."""
    normalized = tuple(shape)
    if tuple(x.shape[x.dim() - len(normalized) :]) != normalized or any(v is not None and tuple(v.shape) != normalized for v in (weight, bias)):
        raise RuntimeError(f"layer norm over {normalized} of a tensor of shape {tuple(x.shape)}")
    statistics = [*x.shape[: x.dim() - len(normalized)], *(1 for _ in normalized)]
    return torch.empty_like(x), x.new_empty(statistics), x.new_empty(statistics)


BLANK_NORMS: dict[str, Callable[..., tuple[Tensor, ...]]] = {"native_batch_norm": _batch_norm_shapes, "native_layer_norm": _layer_norm_shapes}
