"""One checksum over a header and tensors."""

from __future__ import annotations

from typing import Any

import torch

from prunus.storage.digest import CHECKSUM, digest

NUMBERS = torch.arange(6).reshape(2, 3)


def test_everything_counts_but_the_checksum_itself() -> None:
    header: dict[str, Any] = {"a": 1}
    first = digest({"x": NUMBERS}, header)
    assert first == digest({"x": NUMBERS.clone()}, header | {CHECKSUM: "else"})
    assert first == digest({"x": NUMBERS.t().contiguous().t()}, header)  # however it lies in memory
    others = [{"y": NUMBERS}, {"x": NUMBERS.view(3, 2)}, {"x": NUMBERS.int()}, {"x": NUMBERS + 1}, {}]
    assert len({first, digest({"x": NUMBERS}, {"a": 2}), *(digest(one, header) for one in others)}) == 7
    empty = digest({"x": torch.zeros(0, 2)}, {})
    assert empty != digest({"x": torch.zeros(2, 0)}, {})
