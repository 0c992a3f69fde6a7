"""Error feedback along the paths of a trellis: of all walks over two grids (`prunus.coding.trellis`) that one
of every row whose outputs are nearest for what its integers cost.

The error of a row's outputs is a sum over its columns of what each adds when those behind make up for it
(`prunus.quantisation.feedback`), so that Viterbi's algorithm applies, every state holding the errors of its
own best walk. Some columns behind a block the best one is taken, and its state at the end of the block is
where the next begins.

What an integer costs follows from how often each was taken at first, for nothing. A bit's price is in
proportion to the error of a weight then: entropy-constrained trellis-coded quantisation (Fischer and Wang
1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunus.coding.trellis import NEXT, STATES, states_of

BLOCK, AHEAD = 48, 24  # columns that are decided together, and those that are looked at besides
FINER = 0.56  # of the step of one grid: that with the same error
PRICE = 1.2  # of a bit, in errors of a weight
MOST = 511  # larger places cost as much as this one
_RARE = 0.3  # integers of each size, falling with it, are counted besides
_FAR = 1e300

_FROM = [[(a, odd) for a in range(STATES) for odd in (0, 1) if NEXT[a][odd] == b] for b in range(STATES)]
BEFORE = torch.tensor([[state for state, _ in pairs] for pairs in _FROM])  # (states, 2)
PARITY = torch.tensor([[odd for _, odd in pairs] for pairs in _FROM])
SECOND = torch.arange(STATES)[:, None] & 1  # whether a state is of the second grid


@dataclass(frozen=True, eq=False)
class Walking:
    """What walks are looked for in.

    Attributes:
        weight: (groups, outputs, columns), float64.
        factors: of `prunus.quantisation.feedback.feedback_factors`.
        kept: booleans of the weight's shape: what is False is zero; None = all may be anything.
    """

    weight: Tensor
    factors: Tensor
    kept: Tensor | None = None


def round_on_trellis(
    walking: Walking, step: float, prices: Tensor | None = None, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Integers whose walks begin at given states, and the states where they end.

    Args:
        walking: what is rounded.
        step: of the integers; neighbours on one grid are two apart.
        prices: of a place by its size, on the first and on the second grid, (2, `MOST` + 1), in errors of the
            outputs; None = they cost nothing.
        start: states, (groups, outputs); None = 0.
    """
    weight, factors = walking.weight, walking.factors
    left, integers = weight.clone(), torch.empty_like(weight)
    groups, outputs, columns = weight.shape
    state = torch.zeros(groups, outputs, dtype=torch.int64) if start is None else start
    for first in range(0, columns, BLOCK):
        end, seen = min(first + BLOCK, columns), min(first + BLOCK + AHEAD, columns)
        kept = None if walking.kept is None else walking.kept[..., first:seen]
        part = Walking(left[..., first:seen], factors[:, first:seen, first:seen], kept)
        errors = _errors_of_walk(part, step, prices, state)[..., : end - first]
        own = factors[:, first:end, first:end]
        integers[..., first:end] = ((left[..., first:end] - errors @ own) / step).round()
        state = _states(integers[..., first:end], state)[..., -1]
        left[..., end:] -= errors @ factors[:, first:end, end:]
    return integers, state


def prices_of(integers: Tensor, error: float) -> Tensor:
    """Of places, from how often they were taken.

    Args:
        integers: walks, (rows, columns).
        error: of the outputs, of a weight.
    """
    second = (_states(integers)[:, :-1] & 1).bool()
    places = (integers.abs() + second).long() >> 1
    sizes = torch.arange(MOST + 1, dtype=torch.float64)
    rare = _RARE * (-sizes / places.double().mean().clamp(min=_RARE)).exp()
    found = []
    for own in (places[~second], places[second]):
        counts = torch.bincount(own.clamp(max=MOST).long(), minlength=MOST + 1).double()
        counts[1:] /= 2  # of either sign
        counts += rare
        found.append((2 * counts.sum() - counts[0]).log2() - counts.log2())
    return PRICE * error * torch.stack(found)


def _errors_of_walk(part: Walking, step: float, prices: Tensor | None, state: Tensor) -> Tensor:
    """Of the best walk through a block, in units of the factors."""
    block, own = part.weight, part.factors
    groups, outputs, columns = block.shape
    costs = block.new_full((groups, outputs, STATES), _FAR).scatter_(2, state[..., None], 0.0)
    errors = block.new_zeros(groups, outputs, STATES, columns)
    states = torch.arange(STATES)
    for column in range(columns):
        fed = torch.einsum("goci,gi->goc", errors[..., :column], own[:, :column, column])
        wanted = (block[..., column, None] - fed) / step
        found = candidates(wanted)
        if part.kept is not None:
            found = torch.where(part.kept[..., column, None, None], found, 0.0)
        error = (wanted[..., None] - found) * (step / own[:, column, column, None, None, None])
        total = costs[..., None] + error.square()
        if prices is not None:
            places = ((found.abs() + SECOND) / 2).long().clamp(max=MOST)
            total += prices[SECOND.expand_as(places), places]
        if part.kept is not None:  # zero is an even place on both grids
            total[..., 1] = torch.where(part.kept[..., column, None], total[..., 1], _FAR)
        costs, which = total[..., BEFORE, PARITY].min(-1)
        before = BEFORE[states, which]
        at = before[..., None].expand(-1, -1, -1, column)
        errors[..., :column] = errors[..., :column].gather(2, at)
        errors[..., column] = error.flatten(2).gather(2, 2 * before + PARITY[states, which])
    best = costs.argmin(-1)[..., None, None].expand(-1, -1, 1, columns)
    return errors.gather(2, best).squeeze(2)


def _states(integers: Tensor, start: Tensor | None = None) -> Tensor:
    """Of walks of any number of rows, (…, columns): before every integer and behind the last."""
    rows = integers.flatten(0, -2).to(torch.int32).numpy()
    states = states_of(rows, None if start is None else start.flatten().numpy())
    return torch.from_numpy(states).reshape(*integers.shape[:-1], -1)


def candidates(wanted: Tensor) -> Tensor:
    """The nearest integers whose place is even, and odd, on the grid of each state, (…, states, 2): of what
    the states (…, states) want.
    """
    first, second = wanted[..., 0::2], wanted[..., 1::2]
    size, sign = second.abs(), torch.where(second < 0, -1.0, 1.0)
    even = sign * torch.where(size < 1.5, 0.0, (4 * ((size - 3) / 4).round() + 3).clamp(min=3))
    odd = sign * (4 * ((size - 1) / 4).round() + 1).clamp(min=1)
    on_first = torch.stack((4 * (first / 4).round(), 4 * ((first - 2) / 4).round() + 2), -1)
    return torch.stack((on_first, torch.stack((even, odd), -1)), -2).flatten(-3, -2)


__all__ = ["FINER", "Walking", "candidates", "prices_of", "round_on_trellis"]
