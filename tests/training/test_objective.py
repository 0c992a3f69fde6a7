"""What a training minimises, and what it asks about outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import ConfigError
from prunus.training import TrainConfig, train
from prunus.training.objective import Objective, told, wide, with_penalty

LOGITS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_by_default_it_is_cross_entropy(smoothing: float) -> None:
    objective = Objective(None, smoothing, 3)
    logs = LOGITS.log_softmax(1)
    wanted = [
        -(1 - smoothing) * float(row[label]) - smoothing * float(row.mean())
        for row, label in zip(logs, LABELS)
    ]
    assert objective.losses(LOGITS, LABELS).tolist() == pytest.approx(wanted)
    assert float(objective.mean(LOGITS, LABELS)) == pytest.approx(sum(wanted) / 5)


def test_a_loss_of_ones_own_is_taken_sample_by_sample_or_as_a_mean() -> None:
    def squares(outputs: Any, targets: Any) -> Tensor:
        return (outputs - targets).square().mean(1)

    targets = torch.randn(5, 4)
    objective = Objective(squares, 0.0, 0)
    assert torch.equal(objective.losses(LOGITS, targets), squares(LOGITS, targets))
    assert torch.equal(objective.mean(LOGITS, targets), squares(LOGITS, targets).mean())
    assert torch.equal(Objective(F.mse_loss, 0.0, 0).mean(LOGITS, targets), F.mse_loss(LOGITS, targets))
    with pytest.raises(ConfigError, match="needs the loss of every sample"):
        Objective(F.mse_loss, 0.0, 0).losses(LOGITS, targets)
    with pytest.raises(ConfigError, match="label_smoothing belongs to the built-in"):
        Objective(squares, 0.1, 0)
    penalised = with_penalty(squares, lambda: torch.tensor(3.0))
    assert float(penalised(LOGITS, targets)) == pytest.approx(float(squares(LOGITS, targets).mean()) + 3)


def test_outputs_are_wide_and_inputs_may_be_several() -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a + b).bfloat16()

    found = Objective(F.mse_loss, 0.0, 0).outputs(Sum(), (torch.ones(2), torch.ones(2)))
    assert found.dtype == torch.float32 and found.tolist() == [2, 2]


def test_right_and_wrong_are_of_classifications_alone() -> None:
    right = Objective.right(LOGITS, LABELS)
    assert right is not None and right.tolist() == [
        int(r.argmax()) == y for r, y in zip(LOGITS, LABELS.tolist())
    ]
    broken = Objective.right(torch.full_like(LOGITS, torch.nan), torch.zeros_like(LABELS))
    assert broken is not None and not broken.any(), "NaN names no class"
    assert Objective.right(LOGITS, LABELS.float()) is None
    assert Objective.right(LOGITS.to(torch.complex64), LABELS) is None
    assert Objective.right(LOGITS[:, :, None], LABELS) is None and Objective.right([LOGITS], LABELS) is None


@pytest.mark.parametrize(
    ("loss", "targets", "said"),
    [
        (F.cross_entropy, torch.full((4,), 9), r"The loss cross_entropy .* \(4, 3\).* out of bounds"),
        (nn.NLLLoss(), torch.zeros(4, 2), r"The loss NLLLoss .* \(4, 3\).* \(4, 2\)"),
        (torch.dist, torch.zeros(4, 2), r"The loss dist "),
        (nn.BCELoss(), None, r"The loss BCELoss .* targets, None"),
    ],
)
def test_what_torch_cannot_compute_is_told(loss: Any, targets: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        told(loss)(torch.zeros(4, 3), targets)
    with pytest.raises(ConfigError, match=said):
        Objective(loss, 0.0, 9).mean(torch.zeros(4, 3), targets)
    with pytest.raises(ConfigError, match=said):
        with_penalty(loss, lambda: torch.zeros(()))(torch.zeros(4, 3), targets)


def test_what_fails_in_a_function_of_ones_own_is_its_own_affair() -> None:
    def own(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    with pytest.raises(IndexError, match="out of bounds"):
        told(own)(torch.zeros(4, 3), torch.full((4,), 9))

    def full(outputs: Tensor, targets: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        told(full)(torch.zeros(4, 3), torch.zeros(4))
    assert told(own).__wrapped__ is own  # type: ignore[attr-defined]


@dataclass
class Found:
    maps: Tensor
    more: tuple[Tensor, ...]
    name: str = "found"


def test_outputs_of_half_precision_are_wide_in_every_container() -> None:
    half = LOGITS.bfloat16()
    found = wide(Found(half, (half, LABELS)))
    assert found.maps.dtype == found.more[0].dtype == torch.float32 and found.more[1] is LABELS
    assert wide({"out": [half]})["out"][0].dtype == torch.float32
    full = Found(LOGITS, ())
    assert wide(full) is full


def test_targets_that_are_no_numbers_are_told_from_losses_that_let_them_in() -> None:
    """The same loss twice: chosen behind the difference, and before it."""
    torch.manual_seed(0)
    targets = torch.randn(8, 2)
    targets[::3] = torch.nan

    def behind(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square()[~targets.isnan()].mean()

    def before(outputs: Tensor, targets: Tensor) -> Tensor:
        there = ~targets.isnan()
        return (outputs[there] - targets[there]).square().mean()

    batches = [(torch.randn(8, 3), targets)] * 2
    config = TrainConfig(epochs=2, lr=0.01)
    assert train(nn.Linear(3, 2), batches, config, loss=before).epochs[-1].loss > 0
    with pytest.raises(
        ConfigError, match=r"step 2 of 2: the targets .* choose the others, .* before it subtracts"
    ):
        train(nn.Linear(3, 2), batches, config, loss=behind)
    with pytest.raises(ConfigError, match=r"step 1 of 2: the targets .* or let the loss leave them out"):
        train(nn.Linear(3, 2), batches, config, loss=F.mse_loss)
    with pytest.raises(ConfigError, match=r"step \d of 2: .* lower the learning rate"):
        train(nn.Linear(3, 2), batches, TrainConfig(epochs=60, lr=1e6), loss=before)
