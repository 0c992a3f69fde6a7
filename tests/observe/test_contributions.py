"""What channels add to outputs, summed portion by portion, is what each adds by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from prunus.observe import contributions as module_under_test
from prunus.observe.contributions import Contributions

DRAW = torch.Generator().manual_seed(0)
OWNER = torch.tensor([1, 0, 1, 2, 2, 1])
ROWS = torch.randn(30, 6, generator=DRAW, dtype=torch.float64) + 1
WEIGHT = torch.randn(5, 6, generator=DRAW, dtype=torch.float64)


def slowly(weight: Tensor, centred: bool) -> Tensor:
    """Output by output, channel by channel."""
    total = torch.zeros(3, 3, dtype=torch.float64)
    for output in weight:
        added = torch.stack([ROWS[:, c == OWNER] @ output[c == OWNER] for c in range(3)])
        total += torch.cov(added, correction=0) if centred else added @ added.T / len(ROWS)
    return total


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("numbers", [1, 1 << 24])
def test_portions_are_added_up(centred: bool, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "MOST_NUMBERS", numbers)
    found = Contributions(WEIGHT, OWNER, 5)
    for part in ROWS.split(7):
        found.add(part)
    assert found.count == len(ROWS)
    torch.testing.assert_close(found.products(centred), slowly(WEIGHT, centred))


def test_mixtures_stand_for_many_outputs() -> None:
    weight = torch.randn(2000, 6, generator=DRAW, dtype=torch.float64)
    found = Contributions(weight, OWNER, 1000)
    found.add(ROWS)
    wanted = slowly(weight, centred=True)
    assert float((found.products(centred=True) - wanted).norm() / wanted.norm()) < 0.1
