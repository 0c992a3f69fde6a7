"""One comparison for everybody: what is not finite is a difference, whatever the dtype, the shape or the
number of outputs.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from prunus._foundation.agreement import difference, not_finite

NAN, INF = float("nan"), float("inf")
FRACTIONS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128]


@pytest.mark.parametrize("dtype", FRACTIONS)
@pytest.mark.parametrize(
    "pair", [(NAN, 1.0), (1.0, NAN), (INF, 1.0), (1.0, -INF), (INF, -INF), (NAN, INF), (-INF, NAN)]
)
def test_what_only_one_side_has_is_a_difference_without_bound(
    pair: tuple[float, float], dtype: torch.dtype
) -> None:
    found = difference(
        [torch.tensor([2.0, pair[0]], dtype=dtype)], [torch.tensor([2.0, pair[1]], dtype=dtype)]
    )
    assert found.max_abs == found.relative == math.inf and not found.finite


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_both_sides_have_hides_no_other_difference(value: float) -> None:
    found = difference([torch.tensor([value, 1.0, 4.0])], [torch.tensor([value, 1.5, 4.0])])
    assert (found.max_abs, found.relative, found.magnitude, found.finite) == (0.5, 0.125, 4.0, False)
    assert difference([torch.tensor([value])], [torch.tensor([value])]).max_abs == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow_in_the_comparison(dtype: torch.dtype) -> None:
    a = torch.tensor([torch.finfo(dtype).max], dtype=dtype)
    assert difference([a], [-a]).max_abs == 2 * torch.finfo(dtype).max


def slow(expected: list[Tensor], found: list[Tensor]) -> tuple[float, float]:
    """Element by element."""
    values = [[abs(complex(v)) for v in a.flatten().tolist()] for a in expected]
    largest = max((max(v, default=0.0) for v in values), default=0.0)
    worst = relative = 0.0
    for a, b, own in zip(expected, found, values):
        apart = max(
            (abs(complex(x) - complex(y)) for x, y in zip(a.flatten().tolist(), b.flatten().tolist())),
            default=0.0,
        )
        worst = max(worst, apart)
        relative = max(relative, apart / (max(max(own, default=0.0), 1e-3 * largest) or 1.0))
    return worst, relative


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_the_figures_are_those_of_the_slow_way(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 3), (0, 4), (), (5,)]
    expected = [
        torch.randn(shape, generator=generator, dtype=dtype) * 10**-i for i, shape in enumerate(shapes)
    ]
    found = [
        tensor + 0.01 * torch.randn(tensor.shape, generator=generator, dtype=dtype) for tensor in expected
    ]
    apart = difference(expected, found)
    assert (apart.max_abs, apart.relative) == pytest.approx(slow(expected, found), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_and_truth_values_are_equal_or_not(dtype: torch.dtype) -> None:
    a, b = torch.tensor([0, 1], dtype=dtype), torch.tensor([1, 1], dtype=dtype)
    assert difference([a], [a]).relative == 0 and difference([a], [b]).relative == math.inf
    assert difference([a], [a.int()]).relative == 0, "another width is no difference"
    assert difference([a[:0]], [a[:0]]).max_abs == 0


def test_numbers_and_shapes_of_outputs_are_told_apart() -> None:
    a = torch.ones(2, 3)
    assert difference([a], [a, a]).unlike == "2 tensors instead of 1"
    assert difference([a], [a.T]).unlike == "a tensor of shape (3, 2) instead of (2, 3)"
    assert difference([a], [a[:, :0]]).max_abs == math.inf
    assert difference([], []).max_abs == 0 and difference([], []).finite


@pytest.mark.filterwarnings("ignore")  # torch is about to drop its old form of quantised tensors
def test_sparse_and_quantised_outputs_are_read() -> None:
    a = torch.tensor([[0.0, 1.0]])
    assert difference([a.to_sparse()], [a]).max_abs == 0
    assert difference([torch.quantize_per_tensor(a, 0.5, 0, torch.qint8)], [a]).max_abs == 0


def test_minus_infinity_beside_numbers_is_a_masked_logit() -> None:
    assert not_finite([torch.tensor([-INF, 1.0])]) == ""
    assert not_finite([torch.tensor([-INF])]) == "infinity"
    assert not_finite([torch.tensor([INF, 1.0])]) == "infinity"
    assert not_finite([torch.tensor([INF]), torch.tensor([NAN, 1.0])]) == "NaN"
    assert not_finite([torch.zeros(0), torch.tensor(3), torch.tensor(True)]) == ""
