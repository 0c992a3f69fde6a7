"""Weights and outputs that are no numbers: weights are told where they are read, since whatever is computed
with them is none either, and outputs name no class.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prunus._foundation.warned import warn

NO_CLASS = -1
"""What stands for the class of a sample or pixel whose logits are NaN."""


def warn_of_nonfinite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Warn, once, if tensors hold NaN or infinity, naming the first and the number of such values. Masks of
    zeros and minus infinities are fine.

    Args:
        tensors: by name.
        what: holds them, as the warning begins.
    """
    counts = {name: count for name, tensor in tensors.items() if (count := _nonfinite(tensor))}
    if counts:
        first, total = next(iter(counts)), sum(counts.values())
        values = "1 value" if total == 1 else f"{total:,} values"
        others = f" and {len(counts) - 1} more" if len(counts) > 1 else ""
        warn(
            f"{what} holds {values} that are NaN or infinite, in {first}{others}; what is computed with them"
            " is worthless."
        )


def named_class(logits: Tensor) -> Tensor:
    """The class that logits (batch, classes, ...) name, (batch, ...); `NO_CLASS` where one of them is NaN,
    which `argmax` would take for the largest.
    """
    return logits.argmax(1).masked_fill(logits.isnan().any(1), NO_CLASS)


def _nonfinite(tensor: Tensor) -> int:
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.is_meta or tensor.element_size() < 2:
        return 0
    finite = torch.isfinite(tensor.detach())
    count = int((~finite).sum())
    if (
        count
        and not tensor.is_complex()
        and not bool(tensor[finite].any())
        and bool((tensor[~finite] == -torch.inf).all())
    ):
        return 0
    return count
