"""Which inputs of a batch need the same channels of a layer, and whether it is less work to run the layer for each such group on its own."""

from __future__ import annotations

from typing import NamedTuple

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


def patterns(make: Tensor | None, read: Tensor | None, outputs: int, inputs: int, places: float) -> list[Pattern] | None:
    """The inputs of a batch by what they need, or None if one pass over all of them, with what any of them needs, is less work.

    Work is multiply-accumulates, and rows of a weight that are copied for those who need them.

    Args:
        make, read: outputs and inputs of the layer that each input needs, bool (batch, outputs) and (batch, inputs); None = all. Not both None.
        outputs, inputs: of the layer.
        places: that an output has.
    """
    flags = [one for one in (make, read) if one is not None]
    groups: dict[bytes, list[int]] = {}
    for number, row in enumerate(torch.cat(flags, 1).cpu().numpy()):
        groups.setdefault(row.tobytes(), []).append(number)

    def work(count: int, rows: Tensor | None, columns: Tensor | None) -> float:
        made, taken = (number if one is None else int(one.count_nonzero()) for one, number in ((rows, outputs), (columns, inputs)))
        return made * (count * taken * places + inputs * COPYING)

    def needed_by(number: int) -> tuple[Tensor | None, Tensor | None]:
        return None if make is None else make[number], None if read is None else read[number]

    found = [Pattern(torch.tensor(numbers, device=flags[0].device), *needed_by(numbers[0])) for numbers in groups.values()]
    apart = sum(work(len(one.numbers), one.rows, one.columns) for one in found)
    together = work(len(flags[0]), None if make is None else make.any(0), None if read is None else read.any(0))
    return found if apart < together else None
