"""What lies on one piece of memory."""

from __future__ import annotations

import torch

from prunus.paint.memory import may_overlap, memory_of


def test_sparse_tensors_lie_in_several_pieces() -> None:
    x = torch.eye(3)
    assert memory_of(x) == memory_of(x[1:]) != memory_of(torch.eye(3))
    sparse = x.to_sparse()
    assert memory_of(sparse) == memory_of(sparse) != memory_of(x) and may_overlap(sparse, sparse)
