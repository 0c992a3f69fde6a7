"""What a condition on the data picks, changes and puts back leaves channels free; anything else that reads
it pins them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.paint.operators import Between, goes_exactly, halved
from torch import Tensor, nn

import prunus

Way = Callable[[Between, Tensor], Tensor]


def _scaled_in_place(net: Between, y: Tensor) -> Tensor:
    z, condition = y * 1.0, (y > 0.5) & (y < 1)
    z[condition] *= 0.5
    return z


def _read_by_an_equal_condition(net: Between, y: Tensor) -> Tensor:
    z = y - 0.3
    z[z < 0] = torch.exp(z[z < 0]) - 1
    return z


def _put_into_another(net: Between, y: Tensor) -> Tensor:
    z = y.clone()
    z[y > 0.5] = (y * 2)[y > 0.5] + (y + 1)[y > 0.5]
    return z


def _put_back_later(net: Between, y: Tensor) -> Tensor:
    z, condition = y.clone(), y > 0.5
    picked = z[condition]
    z.zero_()
    z[condition] = picked.sqrt()
    return z


def _in_another_type(net: Between, y: Tensor) -> Tensor:
    z = y.clone()
    z[y > 0.5] = y[y > 0.5].float().exp().clone().to(y.dtype)
    return z


def _scattered(net: Between, y: Tensor) -> Tensor:
    return y.masked_scatter(y > 0.5, (y * 2).masked_select(y > 0.5))


def _tokens(net: Between, y: Tensor) -> Tensor:
    z = y.movedim(1, -1).clone()
    condition = z.mean(-1) > 0.4
    z[condition] = z[condition].tanh()
    return z.movedim(-1, 1)


def _tokens_through_a_layer(net: Between, y: Tensor) -> Tensor:
    z = y.movedim(1, -1).clone()
    condition = z.mean(-1) > 0.4
    z[condition] = net.layer(z[condition])
    return z.movedim(-1, 1)


@pytest.mark.parametrize(
    "way",
    [
        _scaled_in_place,
        _read_by_an_equal_condition,
        _put_into_another,
        _put_back_later,
        _in_another_type,
        _scattered,
        _tokens,
        _tokens_through_a_layer,
    ],
)
def test_what_is_put_back_leaves_channels_free(way: Way) -> None:
    """The trace was refused, since nobody knows how many places there are."""
    assert goes_exactly(way, layer=nn.Linear(8, 8)).mode == "eager"


def _averaged(net: Between, y: Tensor) -> Tensor:
    return y * y[y > 0.5].mean()


def _put_where_another_condition_holds(net: Between, y: Tensor) -> Tensor:
    z = y.clone()
    z[y > 0.5] = y[(y > 0.4) & (y > 0.5)]
    return z


def _changed_in_between(net: Between, y: Tensor) -> Tensor:
    z = y.clone()
    picked = z[z > 0]
    z.mul_(2)
    z[z > 0] = picked
    return z


def _in_another_order(net: Between, y: Tensor) -> Tensor:
    z, condition = y.clone(), y > 0.5
    z[condition] = z[condition].sort()[0]
    return z


@pytest.mark.parametrize(
    "way", [_averaged, _put_where_another_condition_holds, _changed_in_between, _in_another_order]
)
def test_whatever_else_reads_it_pins(way: Way) -> None:
    result = halved(way)
    assert result.asked == 0
    assert any(pin.reason == "picked by a boolean mask" for pin in result.graph.pinned)


class LossInside(nn.Module):
    """Places of the outputs are compared inside the forward; channels in front of them are none of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.last(self.first(x).relu())
        return y, (y[x > 0] - x[x > 0]).square().mean()


def test_a_loss_over_places_of_the_outputs() -> None:
    torch.manual_seed(0)
    model, x = LossInside().double().eval(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    graph = prunus.trace(model, x)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    assert plan.removed == 4 and plan.exact
    small, masked = prunus.compact(model, plan), prunus.mask(model, plan)
    for one, other in zip(small(x), masked(x)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
