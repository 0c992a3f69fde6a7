"""Shapes worked out for meta tensors are those of the real operators."""

from typing import Any

import pytest
import torch
from torch import Tensor

from prunus.paint.meta_kernels import BLANKS

aten = torch.ops.aten
X, Y, ROW = torch.randn(2, 6, 8, 8), torch.randn(2, 6, 8, 8), torch.randn(6, 1, 1)
V = torch.rand(6) + 0.5

CALLS = [
    (aten.native_batch_norm.default, (X, V, V, V, V, False, 0.1, 1e-5)),
    (aten.native_layer_norm.default, (X, [8], torch.randn(8), None, 1e-5)),
    (aten.native_layer_norm.default, (X, [8, 8], None, None, 1e-5)),
    (aten.native_group_norm.default, (X, V, V, 2, 6, 64, 3, 1e-5)),
    (aten.convolution.default, (X, torch.randn(4, 6, 3, 3), None, [2, 1], [1, 0], [1, 2], False, [0, 0], 1)),
    (
        aten.convolution.default,
        (X, torch.randn(12, 1, 3, 3), torch.randn(12), [1, 1], [1, 1], [1, 1], False, [0, 0], 6),
    ),
    (
        aten.convolution.default,
        (X[..., 0].contiguous(), torch.randn(4, 6, 5), None, [3], [2], [1], False, [0], 1),
    ),
    (aten.relu.default, (X,)),
    (aten.relu_.default, (X.clone(),)),
    (aten.hardswish_.default, (X.clone(),)),
    (aten.hardtanh.default, (X, 0.0, 6.0)),
    (aten.leaky_relu.default, (X, 0.1)),
    (aten.gelu.default, (X,)),
    (aten.silu.default, (X.to(memory_format=torch.channels_last),)),
    (aten.add.Tensor, (X, Y)),
    (aten.add.Tensor, (X, 3)),
    (aten.mul.Tensor, (X, ROW)),
    (aten.mul.Tensor, (ROW, X)),
    (aten.sub.Tensor, (X, torch.tensor(2.0))),
    (aten.div.Tensor, (X, 2.0)),
    (aten.mul_.Tensor, (X.clone(), ROW)),
    (aten.mean.dim, (X, [2, 3], True)),
    (aten.mean.dim, (X, [-1, 1])),
    (aten.cat.default, ([X, Y, X], 1)),
    (aten.cat.default, ([X, Y], -1)),
    (aten.addmm.default, (torch.randn(5), torch.randn(3, 4), torch.randn(4, 5))),
]


def on_meta(value: object) -> object:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return [on_meta(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("func, args", CALLS, ids=lambda v: str(v) if not isinstance(v, tuple) else "")
def test_a_blank_has_the_shape_strides_and_dtype_of_the_real_result(func: Any, args: Any) -> None:
    expected, found = func(*args), BLANKS[str(func)](*map(on_meta, args))
    expected, found = (expected[0], found[0]) if isinstance(expected, tuple) else (expected, found)
    assert (found.shape, found.stride(), found.dtype, found.device.type) == (
        expected.shape,
        expected.stride(),
        expected.dtype,
        "meta",
    )


@pytest.mark.parametrize(
    "func, args",
    [
        (
            aten.convolution.default,
            (
                X.to(memory_format=torch.channels_last),
                torch.randn(4, 6, 3, 3),
                None,
                [1, 1],
                [0, 0],
                [1, 1],
                False,
                [0, 0],
                1,
            ),
        ),
        (
            aten.convolution.default,
            (X, torch.randn(6, 4, 3, 3), None, [1, 1], [0, 0], [1, 1], True, [0, 0], 1),
        ),
        (
            aten.convolution.default,
            (X, torch.randn(4, 5, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
        ),
        (
            aten.convolution.default,
            (X, torch.randn(4, 6, 9, 9), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
        ),
        (aten.native_batch_norm.default, (X, V[:5], V, V, V, False, 0.1, 1e-5)),
        (aten.add.Tensor, (X, torch.randn(5, 1, 1))),
        (aten.add.Tensor, (X, Y.double())),
        (aten.mul.Tensor, (torch.arange(3), 0.5)),
        (aten.mul_.Tensor, (ROW.clone(), X)),
        (aten.cat.default, ([X, X[:, :, :5]], 1)),
        (aten.addmm.default, (torch.randn(5), torch.randn(3, 4), torch.randn(3, 5))),
    ],
)
def test_whatever_is_not_plain_is_left_to_torch(func: Any, args: Any) -> None:
    assert BLANKS[str(func)](*map(on_meta, args)) is NotImplemented
