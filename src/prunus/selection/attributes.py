"""What samples are told apart by before they are aggregated: a few numbers per sample, the most telling
first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus._foundation.arguments import at_least, door
from prunus.errors import ConfigError
from prunus.selection.subsets import check_samples, chunks

Values = NDArray[np.float32]
_OVERSAMPLING = 8
_ROUNDS = 3  # of power iteration


@dataclass(frozen=True, eq=False)
class _Scale:
    """Mean and standard deviation of every entry of a sample, shape (d,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def apply(self, rows: Values) -> Values:
        """Entries minus their mean, divided by their deviation; entries that never change become 0."""
        return np.asarray((rows - self.mean) / np.where(self.std > 0, self.std, 1.0), dtype=np.float32)


@door(ConfigError)
def principal_components(samples: Any, count: int, seed: int = 0) -> Values:
    """The first `count` principal components of the z-scored samples, shape (N, count); largest variance
    first.

    Our choice of attributes: deterministic, and the best linear summary there is. They are found by block
        power iteration, which reads the samples
    five times, a few thousand at a time, and keeps nothing but (d, count) numbers in between.

    Args:
        samples: (N, ...) anything that can be sliced along its first axis.
        count: how many; at most min(N, d).
        seed: of the random start.

    Raises:
        ConfigError: more components than there are samples or entries.
    """
    at_least(0, seed=seed)
    width = _width(samples)
    scale = _scale(samples)
    if not 1 <= count <= min(len(samples), width):
        raise ConfigError(
            f"There are 1 to {min(len(samples), width)} principal components of {len(samples)} samples of"
            f" {width} numbers, not {count}."
        )
    block = min(width, count + _OVERSAMPLING)
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, block)))[0].astype(np.float32)
    for _ in range(_ROUNDS):
        product = np.zeros((width, block))
        for _, rows in chunks(samples):
            scaled = scale.apply(rows)
            product += scaled.T @ (scaled @ basis)
        basis = np.linalg.qr(product)[0].astype(np.float32)
    projected = np.concatenate([scale.apply(rows) @ basis for _, rows in chunks(samples)])
    variances, turn = np.linalg.eigh(projected.astype(np.float64).T @ projected)
    turn = turn[:, np.argsort(-variances)[:count]]
    # the largest loading is positive
    signs = np.sign(np.take_along_axis(basis @ turn, np.abs(basis @ turn).argmax(axis=0)[None], axis=0))
    return np.asarray(projected @ (turn * signs), dtype=np.float32)


@door(ConfigError)
def variance_pixels(samples: Any, count: int) -> Values:
    """The `count` entries of a sample that vary most over the samples, shape (N, count); largest deviation
    first (SlimML's direct attributes).
    """
    width = _width(samples)
    if not 1 <= count <= width:
        raise ConfigError(f"A sample has {width} entries; {count} of them cannot be taken.")
    chosen = np.argsort(-_scale(samples).std, kind="stable")[:count]
    return np.concatenate([rows[:, chosen] for _, rows in chunks(samples)])


@door(ConfigError)
def latent_factors(
    samples: Any, count: int, every: int = 100, rounds: int = 20, penalty: float = 0.015
) -> Values:
    """SlimML's latent attributes: factors v of X ~ v m^T + ..., found one after the other on every hundredth
    entry, shape (N, count).

    Each factor is fitted to what the ones before left over, by `rounds` of alternating least squares with an
    L2 penalty (our choice: the published code takes small gradient steps towards the same). It reads one in
    `every` entries of the z-scored samples, at least `count`.

    Raises ConfigError if there are fewer entries than factors.
    """
    at_least(1, every=every, rounds=rounds)
    width = _width(samples)
    if not 1 <= count <= width:
        raise ConfigError(f"A sample has {width} entries; {count} latent factors cannot be taken from them.")
    chosen = np.linspace(0, width - 1, max(count, width // every)).round().astype(np.int64)
    scale = _scale(samples)
    rest = np.concatenate([scale.apply(rows)[:, chosen] for _, rows in chunks(samples)]).astype(np.float64)
    factors = np.empty((len(rest), count), dtype=np.float32)
    for f in range(count):
        loading = rest[np.square(rest).sum(axis=1).argmax()]  # the sample that is least explained so far
        for _ in range(rounds):
            factor = rest @ loading / (loading @ loading + penalty)
            loading = factor @ rest / (factor @ factor + penalty)
        rest = rest - factor[:, None] * loading
        factors[:, f] = factor * np.linalg.norm(loading)
    return factors


def _width(samples: Any) -> int:
    check_samples(samples)
    return int(np.prod(samples.shape[1:], dtype=np.int64))


def _scale(samples: Any) -> _Scale:
    """Mean and deviation in one pass, in double precision and around the first chunk's mean, so that nothing
    cancels.
    """
    total = squares = shift = np.zeros(_width(samples))
    for start, rows in chunks(samples):
        shift = shift if start else rows.mean(axis=0, dtype=np.float64)
        rest = rows - shift
        total, squares = total + rest.sum(axis=0), squares + (rest**2).sum(axis=0)
    mean = total / len(samples)
    return _Scale(shift + mean, np.sqrt(np.maximum(squares / len(samples) - mean**2, 0.0)))
