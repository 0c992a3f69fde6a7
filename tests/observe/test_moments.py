"""Moments that are added up portion by portion are those of all rows at once."""

from __future__ import annotations

import torch

from prunus.observe.moments import InputMoments


def test_portions_give_the_moments_of_the_whole() -> None:
    rows = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3
    moments = InputMoments(4)
    for part in rows.split(13):
        moments.add(part)
    assert moments.count == 50
    torch.testing.assert_close(moments.mean(), rows.mean(0))
    products = sum((torch.outer(row, row) for row in rows), torch.zeros(4, 4, dtype=torch.float64)) / 50
    torch.testing.assert_close(moments.products(centred=False), products)
    torch.testing.assert_close(moments.products(centred=True), torch.cov(rows.T, correction=0))
