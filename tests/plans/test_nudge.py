"""What a rounding of single precision explains, where a forward computes in it whatever its type is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import prunus as pr
from prunus.errors import VerifyError
from prunus.plans.nudge import nudged


class CastInside(nn.Module):
    """Sums in single precision, far from zero, whose deviations a batch norm then makes large."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 24, 3, bias=False), nn.Linear(24 * 100, 8, bias=False)
        self.norm = nn.BatchNorm1d(8)
        with torch.no_grad():
            self.second.weight.add_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu().flatten(1).float()
        y = (y.unsqueeze(1) * self.second.weight.float()).sum(2)
        result: Tensor = self.norm(y.to(x.dtype))
        return result


def pruned() -> tuple[nn.Module, pr.Plan, nn.Module]:
    torch.manual_seed(0)
    model = CastInside()
    graph = pr.trace(model, torch.randn(1, 3, 12, 12))
    plan = pr.plan(graph, pr.scores.norm(graph), rate=0.5)
    return model, plan, pr.compact(model, plan, check=False)


def test_rounding_inside_a_forward_is_no_difference() -> None:
    model, plan, small = pruned()
    found = pr.verify(model, plan, small)
    assert found.training is not None
    assert found.training > 1e-6  # more than double precision would leave


def test_a_norm_that_trains_otherwise_is_a_difference_behind_a_cast_too() -> None:
    model, plan, small = pruned()
    small.get_submodule("norm").momentum = 0.1001  # type: ignore[assignment]
    with pytest.raises(VerifyError, match="In train mode"):
        pr.verify(model, plan, small)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.complex128])
def test_every_element_is_moved_by_one_epsilon(dtype: torch.dtype) -> None:
    linear = nn.Linear(3, 2)
    linear.weight = nn.Parameter(torch.randn(2, 3, dtype=dtype))
    moved = nudged(linear, 0)
    for before, after in zip(linear.parameters(), moved.parameters(), strict=True):
        assert after.dtype == (before.dtype if before.is_complex() else torch.float64)
        step = (after / before.to(after.dtype) - 1).abs()
        epsilon = 2.0**-10 if before.dtype == torch.float16 else 2.0**-23
        torch.testing.assert_close(step, torch.full_like(step, epsilon))
