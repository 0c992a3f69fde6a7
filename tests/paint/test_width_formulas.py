"""Statistics over channels of which some are gone, each held against the function on all of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prunus.paint.width_formulas import FORMULAS

KEPT, ALL = 4, 6  # slots of axis 1


def test_every_formula_without_loss_is_the_function_itself() -> None:
    x = torch.randn(4, 6, 5, dtype=torch.float64)
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (F.layer_norm, (x, (5,)), {}),
        (F.group_norm, (x, 1), {}),
        (F.batch_norm, (x, None, None), {"training": True}),
        (F.rms_norm, (x, (5,)), {}),
        (torch.mean, (x, [0, 2]), {}),
        (torch.var, (x, 1), {}),
        (torch.std, (x, 1, False), {}),
        (torch.var_mean, (x, [1, 2]), {"correction": 3}),
        (torch.std_mean, (x,), {}),
        (torch.amax, (x.abs(), 1), {}),
        (torch.amin, (-x.abs(), (1, 2)), {}),
    ]
    for function, args, kwargs in calls:
        found, wanted = FORMULAS[function](1.0, *args, **kwargs), function(*args, **kwargs)
        assert torch.allclose(
            torch.stack([*found]) if isinstance(found, tuple) else found,
            torch.stack([*wanted]) if isinstance(wanted, tuple) else wanted,
        )


def filled(x: Tensor) -> Tensor:
    """With the slots that are gone, which are zero."""
    return torch.cat([x, x.new_zeros(len(x), ALL - KEPT, *x.shape[2:])], 1)


def test_every_formula_is_the_function_over_all_slots() -> None:
    x = torch.randn(4, KEPT, 5, dtype=torch.float64)
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (torch.mean, (1,), {}),
        (torch.mean, ([1, 2],), {"keepdim": True}),
        (torch.var, (1,), {}),
        (torch.var, ([0, 1],), {"correction": 0}),
        (torch.std, (1, False), {}),
        (torch.amax, (1,), {}),
        (torch.amin, ([1, 2],), {}),
    ]
    for function, args, kwargs in calls:
        for values in (x, x.abs(), -x.abs()):
            found, wanted = (
                FORMULAS[function](KEPT / ALL, values, *args, **kwargs),
                function(filled(values), *args, **kwargs),
            )
            assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12), function


def test_the_largest_shares_its_gradient_with_those_that_are_gone() -> None:
    x = torch.tensor([[[0.0], [-1.0], [0.0], [-2.0]], [[3.0], [3.0], [1.0], [0.0]]], dtype=torch.float64)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    FORMULAS[torch.amax](KEPT / ALL, one, 1).sum().backward()
    filled(other).amax(1).sum().backward()
    assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)
    assert one.grad[0, :, 0].tolist() == [0.25, 0, 0.25, 0] and one.grad[1, :, 0].tolist() == [0.5, 0.5, 0, 0]
