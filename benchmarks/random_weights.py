"""Random weights, scales and statistics: nothing may be zero or one by initialisation, or errors hide behind
it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def randomise(name: str, parameter: Tensor) -> None:
    """Nothing may be zero or one by initialisation: norm scales, biases, layer scales, embeddings."""
    if parameter.ndim <= 1 or parameter.numel() == max(parameter.shape):
        if name.endswith("bias"):
            parameter.normal_(0, 0.1)
        elif parameter.abs().mean() < 0.01:  # a layer scale or gain that lets nothing through at first
            parameter.uniform_(0.1, 0.3)
        else:
            parameter.mul_(torch.rand_like(parameter) + 0.5)
    elif parameter.std() == 0:
        parameter.normal_(0, 0.1)


def scatter_statistics(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Random statistics around those of the data: what follows keeps a sane scale, however deep the network
    is.
    """
    if module.running_var is None or not args:
        return
    x = args[0].detach().transpose(0, 1).flatten(1)
    std = x.std(1) if x.shape[1] > 1 else torch.ones(len(x))
    std = torch.where(std > 1e-3, std, torch.ones(()))
    module.running_mean.copy_(x.mean(1) + 0.3 * std * torch.randn(len(x)))
    module.running_var.copy_(std**2 * (torch.rand(len(x)) + 0.5))
