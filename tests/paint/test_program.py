"""Whether two forwards are the same program, heard without paint."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.paint.program import same_program

trace = importlib.import_module("prunus.paint.trace")


class Net(nn.Module):
    """Sizes, constants, indices from a buffer, in-place changes, random numbers: all that
    operators may read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.register_buffer("order", torch.randperm(8))
        self.register_buffer("scale", torch.tensor([0.5]))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.norm(self.conv(x)))[:, self.order].relu_()
        y = (
            y * torch.linspace(0, 1, y.shape[-1], device=y.device)
            + self.scale.item()
            + torch.zeros(y.shape[1:], device=y.device)
        )
        y.unsqueeze_(0).squeeze_(0)
        y = y + 0 * torch.randn(1, 1, *y.shape[2:], device=y.device)
        return F.log_softmax(self.head(y.mean((2, 3))), 1)


class Doubled(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 2 if self.training else x)


class Swapped(Net):
    """As many operators of the same names, on other tensors."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x), self.conv(-x)
        return a - b if self.training else b - a


def program(model: nn.Module, batch: int = 2, training: bool = False) -> Any:
    return trace._listen(model, ((torch.randn(batch, 3, 6, 6),), {}), training)


@pytest.mark.parametrize("kind", [Net, Doubled, Swapped])
def test_what_is_heard_is_what_is_painted(kind: Any) -> None:
    model = kind()
    inputs: Any = ((torch.randn(2, 3, 6, 6),), {})
    assert same_program(trace._paint(model, inputs).program, trace._listen(model, inputs))


def test_statistics_of_batch_norms_and_dropout_make_no_other_program() -> None:
    model = Net()
    assert same_program(program(model), program(model, training=True))


@pytest.mark.parametrize("kind", [Doubled, Swapped])
def test_another_operator_or_operand_makes_another_program(kind: Any) -> None:
    model = kind()
    assert not same_program(program(model), program(model, training=True))


def test_listening_leaves_the_model_as_it_is() -> None:
    model = Net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    program(model, training=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
