"""The same random numbers for all who ask for them, and everybody else's as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from prunus._foundation.seeds import drawn_alike, seeded
from prunus.tasks.own import First


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_inside_they_repeat_and_outside_they_go_on() -> None:
    with seeded(1):
        first = drawn()
    outside = drawn()
    with seeded(1):
        assert drawn() == first
    with seeded(2):
        assert all(a != b for a, b in zip(drawn(), first))
    assert all(a != b for a, b in zip(drawn(), outside))


def test_what_is_drawn_inside_changes_nothing_outside() -> None:
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    wanted = drawn()
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    with seeded():
        drawn()
    assert drawn() == wanted


class Drawing:
    """Draws from everybody's generators."""

    def __iter__(self) -> Iterator[tuple[float, float, float]]:
        return (drawn() for _ in range(3))


def test_passes_draw_alike_and_nobody_else_notices() -> None:
    inside = []
    for seed in (4, 5):
        outside = []
        for passes in (drawn_alike(Drawing()), iter(())):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            outside.append([(drawn(), next(passes, None)) for _ in range(4)])
        assert [one for one, _ in outside[0]] == [one for one, _ in outside[1]]
        inside.append([one for _, one in outside[0]])
    assert inside[0] == inside[1] and inside[0][3] is None and len(set(inside[0])) == 4


@pytest.mark.parametrize("own", [False, True])
def test_loaders_that_shuffle_give_the_same_order(own: bool) -> None:
    generator = torch.Generator().manual_seed(5) if own else None
    loader = DataLoader(TensorDataset(torch.arange(20)), batch_size=3, shuffle=True, generator=generator)
    passes = [torch.cat([batch[0] for batch in drawn_alike(loader)]).tolist() for _ in range(2)]
    assert passes[0] == passes[1] != list(range(20)) and sorted(passes[0]) == list(range(20))
    broken_off = drawn_alike(loader)
    next(broken_off)
    broken_off.close()  # type: ignore[attr-defined]
    assert torch.cat([batch[0] for batch in drawn_alike(loader)]).tolist() == passes[0]
    others = [torch.cat([batch[0] for batch in loader]).tolist() for _ in range(2)]
    assert others[0] != others[1], "everybody else's passes are drawn anew"


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_workers_that_persist_and_batches_that_are_given_away_come_in_one_order(
    own: bool, away: bool, workers: int
) -> None:
    """Samples are compared in pairs, so that another order in the first pass is another result."""
    generator = torch.Generator().manual_seed(5) if own else None
    loader = DataLoader(
        TensorDataset(torch.arange(20)),
        batch_size=3,
        shuffle=True,
        generator=generator,
        num_workers=workers,
        persistent_workers=bool(workers),
    )
    first: Any = First(loader, 4) if away else loader
    state = torch.get_rng_state()
    passes = [torch.cat([batch[0] for batch in drawn_alike(first)]).tolist() for _ in range(3)]
    assert passes[0] == passes[1] == passes[2] and torch.equal(torch.get_rng_state(), state)
    assert not own or torch.equal(loader.generator.get_state(), torch.Generator().manual_seed(5).get_state())
