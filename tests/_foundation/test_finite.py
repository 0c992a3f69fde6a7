"""Weights that are no numbers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import prunus
from prunus._foundation.finite import named_class, warn_of_nonfinite
from prunus.models import lenet5
from prunus.models.weights import load_weights

# -- weights that are no numbers -----------------------------------------------------------------------------


def broken() -> Any:
    model = lenet5()
    with torch.no_grad():
        model.conv1.weight.view(-1)[:3] = torch.nan
        list(model.parameters())[-1][0] = -torch.inf
    return model


def test_loading_weights_that_are_no_numbers_says_so(tmp_path: Path) -> None:
    torch.save(broken().state_dict(), tmp_path / "a.pth")
    with pytest.warns(
        UserWarning, match=r"a\.pth holds 4 values that are NaN or infinite, in conv1\.weight and 1 more"
    ) as caught:
        load_weights(lenet5(), tmp_path / "a.pth")
    assert len(caught) == 1 and caught[0].filename == __file__
    prunus.save(broken(), tmp_path / "b")
    with pytest.warns(UserWarning, match=r"b holds 4 values .* conv1\.weight"):
        prunus.load(tmp_path / "b", lenet5)


FINE = (
    torch.ones(3),
    torch.tensor([0.0, -torch.inf]),
    torch.full((2,), -torch.inf),
    torch.tensor([1]),
    torch.zeros(0),
    torch.ones(2, dtype=torch.bool),
)


@pytest.mark.parametrize("fine", FINE)
def test_numbers_and_masks_are_fine(fine: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_nonfinite({"a": fine}, "It")


@pytest.mark.parametrize(
    "bad",
    [
        torch.tensor([0.0, torch.inf]),
        torch.tensor([1.0, -torch.inf]),
        torch.tensor(torch.nan, dtype=torch.bfloat16),
    ],
)
def test_other_infinities_are_told(bad: Tensor) -> None:
    with pytest.warns(UserWarning, match="It holds 1 value that are NaN or infinite, in a;"):
        warn_of_nonfinite({"a": bad}, "It")


def test_outputs_that_are_no_numbers_name_no_class() -> None:
    nan = float("nan")
    logits = torch.tensor([[nan, nan], [0.0, nan], [nan, 0.0], [0.0, 1.0], [float("-inf"), 0.0]])
    assert named_class(logits).tolist() == [-1, -1, -1, 1, 1]
