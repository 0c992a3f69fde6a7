"""How the layers that test one kind of arithmetic each are drawn: made weights, copies, divisors, states,
attention.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.network_choices import Block, Draw, Drawn, Shape, block_of, divisors, yes
from tests.network_copies import COPIES, Copies
from tests.network_divisors import DIVISORS, Divisor
from tests.network_modes import MODES, SCALES, Recurrent, ScaledAttention, Trained
from tests.network_weights import PARAMETRISED, PRODUCTS, LowRankLinear, ParametrisedConv, ProductConv


def _weights(draw: Draw, shape: Shape, depth: int) -> Drawn:
    """Weights that are made in the forward."""
    out, rank = draw.integer(2, 10), draw.integer(2, 6)
    options: list[Callable[[], Block]] = [
        lambda: block_of(ProductConv, shape.channels, out, rank, mode=draw.choice(PRODUCTS)),
        lambda: block_of(LowRankLinear, shape.channels, out, rank),
        lambda: block_of(ParametrisedConv, shape.channels, out, mode=draw.choice(PARAMETRISED)),
    ]
    return draw.choice(options)(), shape._replace(channels=out)


def _copies(draw: Draw, shape: Shape, depth: int) -> Drawn:
    return block_of(Copies, *shape, mode=draw.choice(COPIES)), shape


def _divisors(draw: Draw, shape: Shape, depth: int) -> Drawn:
    return block_of(Divisor, shape.channels, mode=draw.choice(DIVISORS)), shape


def _modes(draw: Draw, shape: Shape, depth: int) -> Drawn:
    return block_of(Trained, shape.channels, mode=draw.choice(MODES)), shape


def _recurrent(draw: Draw, shape: Shape, depth: int) -> Drawn:
    out, both = draw.integer(2, 6), yes(draw)
    cell = draw.choice(["lstm", "gru", "rnn"])
    layer = block_of(Recurrent, shape.channels, out, cell=cell, both=both, layers=draw.integer(1, 2))
    return layer, shape._replace(channels=out * (1 + both))


def _attention(draw: Draw, shape: Shape, depth: int) -> Drawn:
    heads = draw.choice([1, *divisors(shape.channels)])
    return block_of(ScaledAttention, shape.channels, heads=heads, mode=draw.choice(SCALES)), shape


LEAVES = (_weights, _weights, _copies, _copies, _divisors, _divisors, _modes, _recurrent, _attention)
