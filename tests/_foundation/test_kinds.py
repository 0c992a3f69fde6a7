"""What values of files and of callers stand for, by annotations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from prunus._foundation.kinds import ODD, MisfitError, fit


@pytest.mark.parametrize(
    ("hint", "value", "found"),
    [
        (int, np.int64(3), 3),
        (float, torch.tensor(0.5), 0.5),
        (int | None, None, None),
        (tuple[int, ...], [1, 2], (1, 2)),
        (list[float], [1, np.float32(2)], [1, 2.0]),
    ],
)
def test_a_value_is_what_its_annotation_says(hint: Any, value: Any, found: Any) -> None:
    assert fit(hint, value) == found and type(fit(hint, value)) is type(found)


@pytest.mark.parametrize(
    ("hint", "value"),
    [(int, True), (int, 1.5), (float, "1"), (str, 3), (Tensor, "a"), (list[int], "ab")],
)
def test_other_values_are_misfits(hint: Any, value: Any) -> None:
    with pytest.raises(MisfitError):
        fit(hint, value)


def state_of_another() -> Any:
    return ("MT19937", [2**70] * 624)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: dict[str, int]()["a"],
        lambda: float(10**400),
        lambda: torch.zeros(2).view(3),
        lambda: np.random.RandomState().set_state(state_of_another()),
        lambda: getattr(3, "items")(),  # noqa: B009 (mypy knows that there is none)
        lambda: int("a"),
    ],
)
def test_what_odd_values_make_of_others_is_known(wrong: Any) -> None:
    with pytest.raises(ODD):
        wrong()
