"""Regression, and any loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunus.errors import ConfigError
from prunus.tasks import Regression, Task, squared_error
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
