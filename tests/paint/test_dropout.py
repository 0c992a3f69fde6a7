"""Dropout passes on what it gets, however it is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.paint.dropout import NoDropout

X = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.Dropout(0.5).train(),
    "function": lambda x: F.dropout(x, 0.5, training=True),
    "by name": lambda x: F.dropout(input=x, p=0.5, training=True),
    "torch": lambda x: torch.dropout(x, 0.5, True),
    "feature": lambda x: torch.feature_dropout(x, 0.5, True),
    "aten": lambda x: torch.ops.aten.dropout(x, 0.5, True),
    "alpha": lambda x: F.alpha_dropout(x, 0.5, training=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_dropped(way: str) -> None:
    torch.manual_seed(0)
    assert not torch.equal(WAYS[way](X), X)
    with NoDropout():
        assert torch.equal(WAYS[way](X), X)


def test_attention_and_leaks_draw_nothing() -> None:
    with NoDropout():
        for made in (
            lambda: F.scaled_dot_product_attention(X, X, X, dropout_p=0.5),
            lambda: F.scaled_dot_product_attention(X, X, X, None, 0.5),
            lambda: F.rrelu(X, training=True),
        ):
            state = torch.get_rng_state()
            first = made()
            assert torch.equal(first, made()) and torch.equal(torch.get_rng_state(), state)
        assert torch.equal(F.relu(X), X.clamp(min=0))
