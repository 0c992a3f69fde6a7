"""A network whose weights are what its coded tensors say, and these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from prunus.coding.tensors import CodedTensor, Grid, Plain, values_of
from prunus.paint.model_copy import copy_model, named_tensors


@dataclass(frozen=True, eq=False)
class Quantised:
    """What a quantiser gives.

    Attributes:
        model: in evaluation mode; its tensors hold exactly the decoded values.
        tensors: what is coded, by the name of the tensor, in the order of the network's named tensors
            (parameters, then buffers).
    """

    model: nn.Module
    tensors: dict[str, CodedTensor]


def own_copy(model: nn.Module) -> nn.Module:
    """A copy that still says what it was cut out of, as only its values will be others."""
    return cut_like(copy_model(model, {}), model)


def cut_like(copied: nn.Module, model: nn.Module) -> nn.Module:
    """Let a copy say of itself what it was cut out of, as the model does; the copy."""
    origin = vars(model).get("prunus")
    if origin is not None:
        object.__setattr__(copied, "prunus", origin)
    return copied


def on_grid(values: Tensor, step: float) -> Grid:
    """The nearest points of a grid; exact where the values lie on it already. Zero stays zero.

    Args:
        values: of any shape.
        step: is rounded to single precision.
    """
    step = float(np.float32(step))
    integers = (values.detach().double().cpu() / step).round()
    return Grid(integers.to(torch.int32).numpy(), step)


def decoded(model: nn.Module, coded: Mapping[str, CodedTensor]) -> Quantised:
    """A copy of a network with the values of coded tensors in it; tensors that are not named are plain."""
    copied = own_copy(model).eval()
    tensors: dict[str, CodedTensor] = {}
    with torch.no_grad():
        for name, tensor in named_tensors(copied).items():
            tensors[name] = coded.get(name) or Plain(plain_values(tensor))
            if name in coded:
                tensor.copy_(torch.from_numpy(values_of(coded[name])))
    return Quantised(copied, tensors)


def plain_values(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """A tensor as an array of its own; bfloat16, which numpy has not, as single precision."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy().copy()


__all__ = ["Quantised", "cut_like", "decoded", "on_grid", "own_copy", "plain_values"]
