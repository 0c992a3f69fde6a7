"""A model whose parameters are a rounding away from what they were: how far its results move is what rounding
explains.
"""

from __future__ import annotations

import torch
from torch import nn

from prunus.paint.model_copy import copy_model

_SINGLE = float(torch.finfo(torch.float32).eps)


def nudged(model: nn.Module, seed: int) -> nn.Module:
    """A copy in which every element of a real or complex parameter is multiplied by 1 plus or minus the
    epsilon of its type, of single precision at least, at random; in double precision, as the change would
    round away in any other.
    """
    copy = copy_model(model, {}).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for own, parameter in zip(model.parameters(), copy.parameters(), strict=True):
            if parameter.is_floating_point() or parameter.is_complex():
                signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
                step = max(_SINGLE, float(torch.finfo(own.dtype).eps))
                parameter.mul_(1 + step * signs.to(parameter.device, parameter.dtype))
    return copy


__all__ = ["nudged"]
