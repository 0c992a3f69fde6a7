"""A parameter or buffer of the traced model, and the colours of its slots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .layers import Labels


@dataclass(frozen=True, slots=True)
class Source:
    """One parameter or buffer: `tensor` is its meta twin, `starts[axis]` the first colour of an axis (the others follow)."""

    name: str
    tensor: Tensor
    is_parameter: bool
    starts: tuple[int, ...]

    def colours(self, axis: int) -> Labels:
        """The colours along one axis, shape (size,)."""
        return np.arange(self.starts[axis], self.starts[axis] + self.tensor.shape[axis], dtype=np.int64)
