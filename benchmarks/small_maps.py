"""Convolutions of maps of a few pixels as products of matrices.

On a CPU the kernels for convolutions take as long for 2 x 2 pixels as for 8 x 8, and half of a step of VGG-16
on CIFAR-10 goes there. The sums are the same, in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 4  # of the largest map that this pays for [pixels]


@contextmanager
def small_maps_as_products() -> Iterator[None]:
    """Within it, 3 x 3 convolutions that keep the size of maps up to 4 x 4 are products."""
    usual: Any = nn.Conv2d._conv_forward

    def forward(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None and _fits(self) and x.dim() == 4 and max(x.shape[2:]) <= SIDE:
            return product(x, weight)
        made: Tensor = usual(self, x, weight, bias)
        return made

    layer: Any = nn.Conv2d
    layer._conv_forward = forward
    try:
        yield
    finally:
        layer._conv_forward = usual


def product(x: Tensor, weight: Tensor) -> Tensor:
    """The convolution of (batch, inputs, H, W) with (outputs, inputs, 3, 3), one pixel of zeros around."""
    batch, _, height, width = x.shape
    if torch.is_autocast_enabled("cpu"):
        lower = torch.get_autocast_dtype("cpu")
        x, weight = x.to(lower), weight.to(lower)
    around = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    seen = torch.cat(
        [around[:, row : row + height, column : column + width] for row in range(3) for column in range(3)],
        -1,
    )
    made = seen.flatten(0, 2) @ weight.permute(0, 2, 3, 1).flatten(1).t()
    return made.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _fits(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding_mode == "zeros"
    )
