"""The same random numbers for all who ask for them, and everybody else's as they were."""

from __future__ import annotations

import random

import numpy as np
import torch

from prunus._foundation.seeds import seeded


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
