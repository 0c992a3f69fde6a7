"""Largest values and order: across channels they keep their width or are noted, within one they are exact."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.paint.operators import Run, goes, goes_exactly, halved

LARGEST: dict[str, Run] = {
    "max": lambda m, y: y.max(1, keepdim=True)[0],
    "min": lambda m, y: y.min(1)[0].unsqueeze(1),
    "max of all": lambda m, y: y.max(),
}


@pytest.mark.parametrize("name", LARGEST)
def test_largest_values_across_channels_keep_their_width(name: str) -> None:
    found = halved(lambda m, y: y * LARGEST[name](m, y).sigmoid())
    assert found.exact and found.removed == found.asked == 4 and found.error < 1e-12


ACROSS: dict[str, Run] = {
    "median": lambda m, y: y.median(1, keepdim=True)[0],
    "nanmedian": lambda m, y: y.nanmedian(1, keepdim=True)[0],
    "mode": lambda m, y: y.mode(1, keepdim=True)[0],
    "kthvalue": lambda m, y: y.kthvalue(2, 1, keepdim=True)[0],
    "aminmax": lambda m, y: torch.sub(*torch.aminmax(y, dim=1, keepdim=True)),
    "topk": lambda m, y: y.topk(2, 1)[0].mean(1, keepdim=True),
}


@pytest.mark.parametrize("name", ACROSS)
def test_values_across_channels_whose_indices_nobody_reads_are_noted(name: str) -> None:
    result = goes(lambda m, y: y * ACROSS[name](m, y).sigmoid())
    assert not result.exact and "across the channels" in result.notes and result.mode == "eager"


SPACE: dict[str, Run] = {
    "max": lambda m, y: y * y.flatten(2).max(2)[0][:, :, None, None],
    "argmax by topk": lambda m, y: y.flatten(2).gather(2, y.flatten(2).topk(64, 2)[1]).view_as(y),
    "sort": lambda m, y: y.flatten(2).sort(2)[0].view_as(y),
    "median": lambda m, y: y * y.flatten(2).median(2)[0][:, :, None, None],
    "cummax": lambda m, y: y.cummax(2)[0],
    "cumsum": lambda m, y: y.cumsum(2),
    "resized along other axes alone": lambda m, y: F.interpolate(
        F.interpolate(y.transpose(1, 3), size=(16, y.shape[1])).transpose(1, 3), size=y.shape[2:]
    ),
}


@pytest.mark.parametrize("name", SPACE)
def test_order_within_a_channel_is_exact(name: str) -> None:
    assert goes_exactly(SPACE[name]).mode == "eager"
