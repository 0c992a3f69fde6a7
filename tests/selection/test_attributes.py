"""Attributes against numpy's full decomposition."""

from __future__ import annotations

import numpy as np
import pytest

from prunus.errors import ConfigError
from prunus.selection import latent_factors, principal_components, variance_pixels

RNG = np.random.default_rng(1)
FACTORS = RNG.standard_normal((2000, 5)) * [9, 7, 5, 3, 2]
SAMPLES = (
    (FACTORS @ RNG.standard_normal((5, 24)) + 0.1 * RNG.standard_normal((2000, 24)) + 100)
    .astype(np.float32)
    .reshape(2000, 2, 12)
)


def test_principal_components_are_those_of_the_full_decomposition() -> None:
    flat = SAMPLES.reshape(2000, -1).astype(np.float64)
    scaled = (flat - flat.mean(0)) / flat.std(0)
    left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    wanted, found = left[:, :4] * sizes[:4], principal_components(SAMPLES, 4)
    signs = np.sign((wanted * found).sum(0))
    assert np.abs(found * signs - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_they_do_not_depend_on_the_seed_and_come_out_the_same_every_time() -> None:
    first, again, other = (principal_components(SAMPLES, 3, seed) for seed in (0, 0, 5))
    assert np.array_equal(first, again)
    assert np.allclose(first, other, atol=1e-3 * np.abs(first).max())


def test_an_entry_that_never_changes_does_no_harm() -> None:
    samples = SAMPLES.copy()
    samples[:, 0, 0] = 7
    assert np.isfinite(principal_components(samples, 3)).all()


def test_the_entries_that_vary_most_come_first() -> None:
    samples = RNG.standard_normal((5000, 4)).astype(np.float32) * [1, 5, 3, 0.5] + 1000
    assert np.array_equal(variance_pixels(samples, 2), samples[:, [1, 2]].astype(np.float32))


@pytest.mark.parametrize("count", [0, 25])
def test_counts_out_of_range_are_named(count: int) -> None:
    with pytest.raises(ConfigError, match=str(count)):
        principal_components(SAMPLES, count)
    with pytest.raises(ConfigError, match=str(count)):
        variance_pixels(SAMPLES, count)


def test_latent_factors_explain_what_the_ones_before_left_over() -> None:
    """Of samples made of three factors and a little noise, three are found that explain nearly everything,
    and no more than the best three can.
    """
    rng = np.random.default_rng(1)
    made = (rng.standard_normal((300, 3)) * [3.0, 2.0, 1.0]) @ rng.standard_normal(
        (3, 40)
    ) + 0.05 * rng.standard_normal((300, 40))
    found = latent_factors(made, 3, every=1)
    scaled = (made - made.mean(axis=0)) / made.std(axis=0)
    coefficients, *_ = np.linalg.lstsq(found, scaled, rcond=None)
    left = np.square(scaled - found @ coefficients).sum()
    best = np.square(np.linalg.svd(scaled, compute_uv=False)[3:]).sum()
    assert best <= left <= 1.05 * best + 1e-9
    assert latent_factors(made, 3).shape == (300, 3)
    with pytest.raises(ConfigError, match="41 latent factors"):
        latent_factors(made, 41)
