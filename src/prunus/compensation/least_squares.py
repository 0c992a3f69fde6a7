"""Least squares from streamed samples: a new weight and shift for a layer, so that from the inputs it gets it
makes the outputs it should.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from prunus.observe.moments import InputMoments
from prunus.observe.windows import WindowSums

MOST_COLUMNS = 8192  # of inputs whose products are summed; where there are more, samples are kept instead
MOST_ROWS = 4096  # of samples that are kept


class Fit(Protocol):
    """What samples are given to, and the answer is asked of."""

    def wants(self, count: int) -> slice:
        """Which of so many further samples will be taken: no others need be made."""

    def take(self, inputs: Tensor, outputs: Tensor) -> None:
        """These samples, in portions: inputs (rows, columns) and the outputs (rows, outputs) that are wanted
        for them.
        """

    def solve(self, prior: Tensor, ridge: float, centred: bool) -> tuple[Tensor, Tensor]:
        """The weight (outputs, columns) and the shift (outputs,) that minimise the mean over samples of

            ||y - W x - b||^2 + ridge * mean variance of the inputs * ||W - prior||^2,

        in float64; with `centred` off the shift is zero, and second moments take the place of variances.
        """


def fit_for(columns: int, outputs: int, ridge: float) -> Fit:
    """The cheapest of the ways to the same answer; an infinite ridge needs means only."""
    if math.isinf(ridge):
        return Means(columns, outputs)
    return SummedProducts(columns, outputs) if columns <= MOST_COLUMNS else KeptSamples()


class _Everything:
    """Samples of which none is left out."""

    def wants(self, count: int) -> slice:
        """All."""
        return slice(None)


class Means(_Everything):
    """Keeps the weights, and makes up for the means."""

    def __init__(self, columns: int, outputs: int) -> None:
        self.count = 0
        self._inputs, self._outputs = (
            torch.zeros(columns, dtype=torch.float64),
            torch.zeros(outputs, dtype=torch.float64),
        )

    def take(self, inputs: Tensor, outputs: Tensor) -> None:
        """Sums in float64."""
        self.count += len(inputs)
        self._inputs += inputs.sum(0, dtype=torch.float64).cpu()
        self._outputs += outputs.sum(0, dtype=torch.float64).cpu()

    def solve(self, prior: Tensor, ridge: float, centred: bool) -> tuple[Tensor, Tensor]:
        """The prior, and the shift that goes with it."""
        prior = prior.double().cpu()
        return prior, (self._outputs - prior @ self._inputs) / self.count * centred


class SummedProducts(_Everything):
    """Keeps the sums of products of inputs with inputs and outputs: memory for columns^2 numbers, for any
    number of samples.
    """

    def __init__(self, columns: int, outputs: int) -> None:
        self.inputs = InputMoments(columns)
        self._outputs, self._products = (
            torch.zeros(outputs, dtype=torch.float64),
            torch.zeros(outputs, columns, dtype=torch.float64),
        )

    def take(self, inputs: Tensor, outputs: Tensor) -> None:
        """Sums, as for the inputs alone."""
        self.inputs.add(inputs)
        self._outputs += outputs.sum(0, dtype=torch.float64).cpu()
        self._products += (outputs.T @ inputs).cpu()

    def take_sums(self, sums: WindowSums) -> None:
        """Further samples, whose sums are known."""
        self.inputs.add_sums(sums)
        self._outputs += sums.outputs
        self._products += sums.crossed

    def solve(self, prior: Tensor, ridge: float, centred: bool) -> tuple[Tensor, Tensor]:
        """By the normal equations."""
        prior = prior.double().cpu()
        x, y = self.inputs.mean() * centred, self._outputs / self.inputs.count * centred
        squares = self.inputs.products(centred)
        products = self._products / self.inputs.count - torch.outer(y, x)
        strength = ridge * float(squares.diagonal().mean())
        if not strength:
            return prior, y - prior @ x
        squares.diagonal().add_(strength)
        weight = solved(squares, (products + strength * prior).T).T
        return weight, y - weight @ x


class KeptSamples:
    """Keeps samples, evenly thinned to at most `MOST_ROWS`: memory for rows * columns numbers, for any number
    of columns.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._stride, self._seen = 1, 0

    def wants(self, count: int) -> slice:
        """Of all rows that ever came every `_stride`-th is kept; when they would be too many, every other one
        of these goes.
        """
        before, stride = self._seen, self._stride
        self._seen += count
        while -(-self._seen // self._stride) > MOST_ROWS:
            self._stride *= 2
        if self._stride > stride and self._rows:
            x, y = (torch.cat(parts)[:: self._stride // stride].clone() for parts in zip(*self._rows))
            self._rows = [(x, y)]
        return slice(-before % self._stride, None, self._stride)

    def take(self, inputs: Tensor, outputs: Tensor) -> None:
        """Kept as they are."""
        self._rows.append((inputs.cpu(), outputs.cpu()))

    def inputs(self) -> Tensor:
        """The inputs that were kept, float64 (rows, columns)."""
        return torch.cat([x for x, _ in self._rows]).double()

    def solve(self, prior: Tensor, ridge: float, centred: bool) -> tuple[Tensor, Tensor]:
        """By the equations in the space of samples, which are fewer than the columns."""
        prior = prior.double().cpu()
        inputs, outputs = (_joined(parts) for parts in zip(*self._rows))
        x, y = inputs.mean(0) * centred, outputs.mean(0) * centred
        inputs -= x
        outputs -= y
        damped = inputs @ inputs.T
        strength = ridge * float(damped.diagonal().mean()) / inputs.shape[1]
        if not strength:
            return prior, y - prior @ x
        damped.diagonal().add_(len(inputs) * strength)
        weight = torch.addmm(prior, solved(damped, outputs - inputs @ prior.T).T, inputs)
        return weight, y - weight @ x


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One after the other, in double precision."""
    found = torch.empty(sum(map(len, parts)), *parts[0].shape[1:], dtype=torch.float64)
    for place, part in zip(torch.split(found, [len(part) for part in parts]), parts):
        place.copy_(part)
    return found


def solved(matrix: Tensor, wanted: Tensor) -> Tensor:
    """The solution of a positive definite system; of one that rounding made indefinite, too."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.linalg.solve(matrix, wanted) if failed else torch.cholesky_solve(wanted, factor)


def without(
    weight: Tensor, products: Tensor, means: Tensor, kept: Tensor, ridge: float
) -> tuple[Tensor, Tensor]:
    """A weight that makes do without some inputs, and the shift that goes with it, from moments of the inputs
    alone: the outputs that are wanted are the weight's own.

    Args:
        weight: (outputs, columns), float64.
        products: the inputs' second moments about their `means`, (columns, columns).
        means: (columns,).
        kept: which columns stay, bool.
        ridge: as for `Fit.solve`.

    Returns:
        The weight (outputs, columns), zero where nothing stays, and the shift (outputs,).
    """
    gone = ~kept
    beside = products[kept]
    squares = beside[:, kept]
    strength = ridge * float(squares.diagonal().mean()) if len(squares) else 0.0
    found = torch.zeros_like(weight)
    found[:, kept] = weight[:, kept]
    if strength:
        squares.diagonal().add_(strength)
        found[:, kept] += solved(squares, beside[:, gone] @ weight[:, gone].T).T
    return found, (weight - found) @ means
