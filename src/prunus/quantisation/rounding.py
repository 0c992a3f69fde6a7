"""The grid of one layer: its step, its integers, and the shift of its outputs that goes with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from prunus.compensation.least_squares import Fit, KeptSamples, SummedProducts
from prunus.compensation.refit import RIDGE
from prunus.quantisation.feedback import feedback_factors, output_error, round_with_feedback
from prunus.quantisation.shrinkage import shrinkage, shrunk
from prunus.quantisation.trellis import FINER, Walking, prices_of, round_on_trellis

TRIES = 6  # of steps, until the error is near enough
NEAR = 0.02  # relative
MOST_SHRUNK = 1e-3  # of the squares is left at least
BLOCK = 2048  # columns among which errors are fed back, where there are too many for all
CLIPPED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # shares of the largest weight that the largest integer may be


@dataclass(frozen=True)
class Wanted:
    """What is asked of a layer: `error` or `bits`, and how; see `quantise`."""

    error: float | None
    bits: int | None
    refit: bool
    feedback: bool
    trellis: bool = False


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """What a layer becomes.

    Attributes:
        integers: (groups, outputs, columns), float64.
        step: of the grid, of single precision.
        trellis: whether rows are walks of a trellis.
        shift: of the outputs, float64 (channels,); zeros where there is no place for one.
        spread: the mean variance of an input that other inputs do not tell.
        error: of the outputs, as a share of their variance.
    """

    integers: Tensor
    step: float
    trellis: bool
    shift: Tensor
    spread: float
    error: float

    @property
    def plain_step(self) -> float:
        """Of one grid with the same error."""
        return self.step / FINER if self.trellis else self.step


def grid_of_layer(weight: Tensor, fits: list[Fit], wanted: Wanted, centred: bool) -> LayerGrid:
    """A layer's grid.

    Args:
        weight: (groups, outputs, columns).
        fits: of every group, samples of its inputs and of the outputs that are wanted.
        wanted: what is asked for.
        centred: whether outputs may be shifted.
    """
    groups, _, columns = weight.shape
    weight = weight.detach().double().cpu()
    kept = weight != 0
    found, rows = zip(*(input_squares(fit, centred) for fit in fits))
    squares = torch.cat(found)
    share = shrinkage(squares, rows[0])  # every group sees as many
    squares = shrunk(squares, share)
    if wanted.refit:
        weight = refitted(weight, kept, fits, squares, share.view(groups, -1).mean(1), centred)
    weight, kept = blocks(weight, squares.shape[-1]), blocks(kept, squares.shape[-1])
    factors = feedback_factors(squares)
    scale = output_error(weight, squares)
    masks = None if kept.all() else kept

    trellis = wanted.trellis and wanted.feedback and wanted.bits is None
    walks = Walks(weight, factors, masks, groups) if trellis else None

    def integers_at(step: float, most: float = math.inf) -> Tensor:
        if walks is not None:
            return walks.integers_at(step)
        if wanted.feedback:
            return round_with_feedback(weight, factors, step, most, masks)
        return (weight / step).round().clamp(-most, most)

    def error_at(step: float, most: float = math.inf) -> tuple[float, Tensor]:
        integers = integers_at(step, most)
        return output_error(weight - step * integers, squares) / max(scale, 1e-30), integers

    spread = float(factors.diagonal(dim1=-2, dim2=-1).square().reciprocal().mean())
    if wanted.bits is not None:
        step, error, integers = fitting_step(weight, 2 ** (wanted.bits - 1) - 1, error_at)
    else:
        first = first_step(wanted.error or 0, weight, scale, spread)
        if walks is not None:
            first = single(FINER * first or 1.0)
            walks.learn_prices(first, lambda n: output_error(weight - first * n, squares))
        step, error, integers = step_with_error(wanted.error or 0, first, error_at)
    integers = from_blocks(integers, groups, columns)
    shift = [fit.solve(step * n, 0.0, centred)[1] for fit, n in zip(fits, integers)]
    return LayerGrid(integers, step, trellis, torch.cat(shift), spread, error)


class Walks:
    """A layer's rows on a trellis, each walking through one block of columns after the other.

    Args:
        weight: in blocks of columns, (groups * blocks, rows, columns of a block).
        factors: of the error feedback.
        kept: which weights may be other than zero; None = all.
        groups: of the layer.
    """

    def __init__(self, weight: Tensor, factors: Tensor, kept: Tensor | None, groups: int) -> None:
        apart = [one.reshape(groups, -1, *one.shape[1:]).unbind(1) for one in (weight, factors)]
        some = [None] * len(apart[0]) if kept is None else kept.reshape(groups, -1, *kept.shape[1:]).unbind(1)
        self._parts = [Walking(*part) for part in zip(*apart, some)]
        self._prices: Tensor | None = None
        self._step = 1.0

    def integers_at(self, step: float) -> Tensor:
        """What costs little and errs little at a step, of the weight's shape."""
        prices = None if self._prices is None else self._prices * (step / self._step) ** 2
        found, state = list[Tensor](), None
        for part in self._parts:
            integers, state = round_on_trellis(part, step, prices, state)
            found.append(integers)
        return torch.stack(found, 1).flatten(0, 1)

    def learn_prices(self, step: float, error_at: Callable[[Tensor], float]) -> None:
        """From what is taken where all integers cost the same; `error_at`: how far off outputs are then."""
        integers = self.integers_at(step)
        rows = from_blocks(integers, len(self._parts[0].weight), integers.shape[-1] * len(self._parts))
        self._prices = prices_of(rows.flatten(0, 1), error_at(integers) / integers.numel())
        self._step = step


def input_squares(fit: Fit, centred: bool) -> tuple[Tensor, int]:
    """E[x x^T] of a fit's inputs, or their covariances, float64 (1, columns, columns); where there are too
    many columns for that, those of blocks of them, (blocks, BLOCK, BLOCK). And of how many samples.
    """
    if isinstance(fit, SummedProducts):
        return fit.inputs.products(centred)[None], fit.inputs.count
    assert isinstance(fit, KeptSamples)
    inputs = fit.inputs()
    parts = blocks((inputs - inputs.mean(0) * centred)[None], BLOCK)
    return parts.mT @ parts / len(inputs), len(inputs)


def blocks(matrices: Tensor, size: int) -> Tensor:
    """Columns of (groups, rows, columns) in blocks, (groups * blocks, rows, size); the last one is filled up
    with zeros.
    """
    matrices = F.pad(matrices, (0, -matrices.shape[-1] % size))
    return matrices.reshape(*matrices.shape[:2], -1, size).transpose(1, 2).flatten(0, 1)


def from_blocks(parts: Tensor, groups: int, columns: int) -> Tensor:
    """What `blocks` cut."""
    parts = parts.reshape(groups, -1, *parts.shape[1:])
    return parts.transpose(1, 2).flatten(2)[..., :columns]


def refitted(
    weight: Tensor, kept: Tensor, fits: list[Fit], squares: Tensor, share: Tensor, centred: bool
) -> Tensor:
    """The weights with which the outputs are nearest to those that are wanted; zeros stay zero. The share of
    every group by which its squares are shrunk holds the weights to where they were.
    """
    ridges = ((RIDGE + share) / (1 - share).clamp(min=MOST_SHRUNK)).tolist()
    full = torch.stack([fit.solve(w, r, centred)[0] for fit, w, r in zip(fits, weight, ridges)])
    if kept.all():
        return full
    if squares.shape[-1] != weight.shape[-1]:  # blocks know nothing of each other
        return weight
    return on_support(full, weight, kept, squares, RIDGE)


def on_support(full: Tensor, prior: Tensor, kept: Tensor, squares: Tensor, ridge: float) -> Tensor:
    """The best weights with given zeros, from the best ones without: conjugate gradients, all rows at once.

    With H = squares + ridge * mean diagonal, a row minimises (w - full) H (w - full)^T over its support.
    """
    strength = ridge * squares.diagonal(dim1=-2, dim2=-1).mean(-1)
    hessian = squares + strength[:, None, None] * torch.eye(squares.shape[-1], dtype=squares.dtype)
    weight = prior * kept
    residual = ((full - weight) @ hessian) * kept
    direction, size = residual.clone(), residual.square().sum(-1, keepdim=True)
    first = size.clone()
    for _ in range(min(64, squares.shape[-1])):
        product = (direction @ hessian) * kept
        length = size / (direction * product).sum(-1, keepdim=True).clamp(min=1e-300)
        weight = weight + length * direction
        residual = residual - length * product
        new = residual.square().sum(-1, keepdim=True)
        if bool((new <= 1e-16 * first).all()):
            break
        direction = residual + new / size.clamp(min=1e-300) * direction
        size = new
    return weight


def first_step(error: float, weight: Tensor, scale: float, spread: float) -> float:
    """The step with an error if every weight is off by a twelfth of its square, on average; of layers whose
    inputs do not vary, with that error of the weights themselves.
    """
    if scale <= 0 or spread <= 0:
        scale, spread = float(weight.square().sum()), 1.0
    return math.sqrt(12 * error * scale / (spread * max(weight.numel(), 1)))


def step_with_error(
    wanted: float, first: float, error_at: Callable[[float], tuple[float, Tensor]]
) -> tuple[float, float, Tensor]:
    """A step whose error is what is wanted, by secants of the logarithms; (step, error, integers).

    Errors grow like the square of the step while it is small, and level off when everything is zero.
    """
    step = single(first or 1.0)
    error, integers = error_at(step)
    slope, tries = 2.0, 1
    while error > 0 and abs(error / wanted - 1) > NEAR and tries < TRIES:
        previous = (math.log(step), math.log(error))
        step = single(step * math.exp(max(-1.5, min(1.5, math.log(wanted / error) / slope))))
        error, integers = error_at(step)
        moved = math.log(step) - previous[0]
        if error > 0 and moved:
            slope = max(0.5, min(3.0, (math.log(error) - previous[1]) / moved))
        tries += 1
    return step, error, integers


def fitting_step(
    weight: Tensor, most: int, error_at: Callable[[float, float], tuple[float, Tensor]]
) -> tuple[float, float, Tensor]:
    """The step with the least error of some where the largest integer is a share of the largest weight."""
    largest = float(weight.abs().max()) or 1.0
    tried = [(single(share * largest / most)) for share in CLIPPED]
    found = [(*error_at(step, most), step) for step in tried]
    error, integers, step = min(found, key=lambda one: one[0])
    return step, error, integers


def single(step: float) -> float:
    """A step of 8 binary digits, half of single precision: two bytes less in a file, which does not show in
    what a layer makes.
    """
    bits = np.float32(step).view(np.uint32).astype(np.uint64)
    return float(np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32))


__all__ = ["LayerGrid", "Wanted", "grid_of_layer", "single"]
