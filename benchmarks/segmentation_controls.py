"""What `benchmarks.segmentation` holds small networks against besides the original: a network that calls
every pixel by the class that most of them have.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from prunus.data.pictures import IGNORED, Example

MAJORITY = "the class of most pixels"
SCRATCH = "from scratch, epochs of the trials"
SCRATCH_ALL = "from scratch, all epochs"


class Constant(nn.Module):
    """One class everywhere, of a binary mask."""

    def __init__(self, found: int) -> None:
        super().__init__()
        # placed as other networks are, by a parameter
        self.logit = nn.Parameter(torch.tensor(1.0 if found else -1.0), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, planes, H, W) to a map (batch, 1, H, W) of one number."""
        return self.logit.expand(len(images), 1, *images.shape[2:])


def commonest(pictures: Iterable[Example]) -> int:
    """The class, 0 or 1, that most pixels of the masks have."""
    counts = torch.zeros(2, dtype=torch.int64)
    for example in pictures:
        assert example.mask is not None
        mask = example.mask.read(0, 0, *example.mask.shape[1:])
        counts += torch.bincount(mask[mask != IGNORED].long(), minlength=2)
    return int(counts.argmax())
