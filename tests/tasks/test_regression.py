"""Regression, and any loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunus.errors import ConfigError, DataError
from prunus.tasks import Regression, Task, squared_error
from prunus.tasks.regression import regression
from prunus.training import TrainConfig

SHORT = TrainConfig(epochs=1, batch_size=50, lr=0.05)


# -- regression, and what is refused -------------------------------------------------------------------------


def test_regression_and_any_loss() -> None:
    draw = torch.Generator().manual_seed(0)
    signals = [
        (x := torch.randn(10, 2, 16, generator=draw), x.mean((1, 2), keepdim=False)[:, None])
        for _ in range(12)
    ]
    task = Task(signals, signals[:4], signals[4:8], loss=F.mse_loss, metric=squared_error)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 1)
    )
    before = task.value(model)
    task.fit(model, TrainConfig(epochs=10, batch_size=10, lr=0.02, optimizer="adam"))
    value, loss = task.figures(model)
    assert before < value < 0 and loss == pytest.approx(-value, rel=1e-5)
    rest = [0.0]
    task.fit(model, SHORT, besides=lambda: rest.append(1.0) or 0.0 * next(model.parameters()).sum())  # type: ignore[func-returns-value]
    assert sum(rest) == 12


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.float16, torch.float64])
def test_the_variance_keeps_its_numbers_whatever_the_targets_are(kind: torch.dtype) -> None:
    """That of whole targets was 0, and all losses infinite."""
    judge = Regression(torch.tensor([0.25, 1e-9], dtype=torch.float64))
    targets = torch.tensor([[1, 2], [3, 4]]).to(kind)
    found = judge.loss(torch.tensor([[2.0, 2.0], [3.0, 4.0]]), targets)
    assert found.tolist() == [2.0, 0.0]
    for wrong, told in ((torch.zeros(2), "must be above 0"), ("x", "must be a tensor")):
        with pytest.raises(ConfigError, match=told):
            Regression(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="numbers of the targets' shape"):
        judge.loss(torch.zeros(2, 2), {"a": targets})  # type: ignore[arg-type]


def test_units_are_those_of_the_targets_however_small_or_large() -> None:
    """Variances below 1e-12 were taken for that, and squares that 32 bits do not hold for 0 or infinity."""
    numbers = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    wanted = regression(numbers).loss(torch.zeros(50, 3), numbers)
    for unit in (1e-9, 1e-25, 1e25):
        found = regression(unit * numbers).loss(torch.zeros(50, 3), unit * numbers)
        assert torch.allclose(found, wanted, rtol=1e-4)


def test_places_of_maps_share_the_variance_of_their_plane() -> None:
    """Every place had its own, and the tails of a bump, where nothing happens, outweighed the bump."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(20, 2, 4, 4, generator=draw) * torch.tensor([1.0, 10.0]).view(2, 1, 1)
    maps[:, :, 0] = 0.0  # a border
    judge = regression(maps)
    assert judge.variance.shape == (2, 1, 1)
    wrong = torch.randn(20, 2, 4, 4, generator=draw)
    slow = torch.zeros(20)
    for plane in range(2):
        every = [maps[:, plane, y, x].double().var(correction=0) for y in range(4) for x in range(4)]
        spread = sum(every) / 16
        slow += ((wrong - maps)[:, plane].double() ** 2 / spread).mean((1, 2)).float() / 2
    assert torch.allclose(judge.loss(wrong, maps), slow, rtol=1e-5)
    alone = regression(maps[:, 0], places=True)
    assert torch.allclose(alone.variance, judge.variance[:1].flatten())
    assert alone.loss(wrong[:, 0], maps[:, 0]).shape == (20,)


@pytest.mark.parametrize(
    ("targets", "which"),
    [
        (torch.tensor([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]]), r"target 1 \(from 0\)"),
        (torch.full((5,), 0.1), "the target"),
        (torch.stack([torch.randn(5, 4, 4), torch.zeros(5, 4, 4)], 1), r"target 1 \(from 0\)"),
    ],
)
def test_what_never_changes_is_told(targets: torch.Tensor, which: str) -> None:
    with pytest.raises(DataError, match=f"In all training samples {which} is the same"):
        regression(targets)
