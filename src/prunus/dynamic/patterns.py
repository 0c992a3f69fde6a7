"""Which inputs of a batch need the same channels of a layer, and whether it is less work to run the layer for
each such group on its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

COPYING = 64  # multiply-accumulates in whose time one number of a weight is copied, about


class Pattern(NamedTuple):
    """Inputs that need the same of a layer.

    Attributes:
        numbers: of the inputs in the batch, int64.
        rows, columns: outputs and inputs of the layer that they need, bool; None = all.
    """

    numbers: Tensor
    rows: Tensor | None
    columns: Tensor | None


def patterns(
    make: Tensor | None, read: Tensor | None, outputs: int, inputs: int, places: float
) -> list[Pattern] | None:
    """The inputs of a batch by what they need, or None if one pass over all of them, with what any of them
    needs, is less work.

    Work is multiply-accumulates, and rows of a weight that are copied for those who need them.

    Args:
        make, read: outputs and inputs of the layer that each input needs, bool (batch, outputs) and (batch,
            inputs); None = all. Not both None.
        outputs, inputs: of the layer.
        places: that an output has.
    """
    flags = [one for one in (make, read) if one is not None]
    each = torch.cat(flags, 1).cpu().numpy()
    groups: dict[bytes, list[int]] = {}
    for number, row in enumerate(each):
        groups.setdefault(row.tobytes(), []).append(number)

    def work(count: int, row: Any) -> float:
        made = outputs if make is None else int(row[:outputs].sum())
        taken = inputs if read is None else int(row[-inputs:].sum())
        return made * (count * taken * places + inputs * COPYING)

    if sum(work(len(numbers), each[numbers[0]]) for numbers in groups.values()) >= work(
        len(each), each.any(0)
    ):
        return None
    found = []
    for numbers in groups.values():
        rows, columns = (None if one is None else one[numbers[0]] for one in (make, read))
        found.append(Pattern(torch.tensor(numbers, device=flags[0].device), rows, columns))
    return found
