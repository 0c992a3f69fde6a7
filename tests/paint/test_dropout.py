"""Dropout passes on what it gets, however it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
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


@pytest.mark.parametrize(
    "call, noisy",
    [
        (nn.AlphaDropout(0.5).train(), True),
        (nn.AlphaDropout(0.5).eval(), False),
        (nn.FeatureAlphaDropout(0.0).train(), False),
        (lambda x: F.alpha_dropout(x, 0.5), False),
        (lambda x: F.feature_alpha_dropout(x, training=True), True),
        (lambda x: torch.alpha_dropout(x, p=0.2, train=True), True),
        (lambda x: torch.ops.aten.feature_alpha_dropout(x, 0.2, False), False),
        (nn.Dropout(0.5).train(), False),
    ],
)
def test_what_drops_to_another_number_than_zero_is_told_of(call: Any, noisy: bool) -> None:
    told: list[Tensor] = []
    with NoDropout(told.append):
        assert torch.equal(call(X), X)
    assert [one is X for one in told] == [True] * noisy
    with NoDropout():
        assert torch.equal(call(X), X)


def test_plans_say_where_removed_channels_make_noise() -> None:
    """In float64, and many draws: what the plan says is what happens."""
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for drop, apart in ((nn.AlphaDropout(0.3), True), (nn.Dropout(0.3), False)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.SELU(), drop, nn.Conv2d(16, 4, 3)).double()
        graph = prunus.trace(model, image)
        plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
        assert plan.exact is not apart and ("alpha dropout" in " ".join(plan.notes)) is apart
        spread = []
        for one in (prunus.mask(model, plan), prunus.compact(model, plan)):
            draws = torch.stack([one.train()(image) for _ in range(200)])
            spread.append(float(draws.var(0).mean().detach()))
        assert (spread[0] > 1.3 * spread[1]) is apart


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
