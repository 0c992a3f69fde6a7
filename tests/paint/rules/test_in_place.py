"""Operators that give a tensor another shape in place: what was recorded of it before keeps the shape that it
had.
"""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import random_plan, randomised
from tests.paint.operators import WIDTH, Run, goes_exactly
from torch import Tensor, nn

import prunus

SHAPES: dict[str, Run] = {
    "transpose_": lambda m, y: (y + 0).transpose_(2, 3),
    "transpose_ of the channels": lambda m, y: m.w((y + 0).transpose_(1, 3)).transpose_(1, 3),
    "swapaxes_": lambda m, y: m.w((y * 1).swapaxes_(1, -1)).swapaxes_(-1, 1),
    "t_": lambda m, y: y * m.w(y.mean((2, 3)).t_().t_())[:, :, None, None],
    "unsqueeze_ and squeeze_": lambda m, y: (y + 0).unsqueeze_(1).squeeze_(1),
    "squeeze_ of pixels": lambda m, y: (
        y
        * m.w(y.mean((2, 3), keepdim=True).squeeze_(-1).squeeze_(-1)).sigmoid().unsqueeze_(-1).unsqueeze_(-1)
    ),
    "written into afterwards": lambda m, y: m.w((y * 2).transpose_(1, 3).mul_(0.5)).transpose_(1, 3),
    "detach_": lambda m, y: y + (y * 1).detach_(),
    "a view of it": lambda m, y: (lambda z: z.relu() + z.unsqueeze_(1).squeeze(1))(y + 0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_reshaping_in_place_is_reshaping(name: str) -> None:
    result = goes_exactly(SHAPES[name], w=nn.Linear(WIDTH, WIDTH))
    assert result.mode == "eager"


def test_a_constant_that_is_reshaped_in_place_keeps_its_values() -> None:
    assert goes_exactly(
        lambda m, y: y.index_select(1, torch.arange(WIDTH).flip(0).unsqueeze_(1).transpose_(0, 1).squeeze_(0))
    ).removed


def test_records_keep_the_shapes_of_their_time() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            y.transpose_(1, 3)
            return self.last(y)

    graph = prunus.trace(randomised(Model()), torch.zeros(2, 3, 5, 7, dtype=torch.float64))
    convolution, transposed = (
        next(r for r in graph.records if r.operator == name) for name in ("convolution", "transpose_")
    )
    assert (
        convolution.outputs[0].shape
        == (2, 4, 5, 7)
        == transposed.tensors[0].shape
        == transposed.args[0].shape
    )
    assert transposed.outputs[0].shape == (2, 7, 5, 4)


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN, nn.LSTM])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_behind_a_convolution_keep_their_class(kind: type[nn.Module], both: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.cell = nn.Conv2d(3, 8, 1), kind(8, 6, batch_first=True, bidirectional=both)
            self.last = nn.Linear(12 if both else 6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.cell(self.first(x).flatten(2).transpose(1, 2))[0])

    model = randomised(Model())
    plan = random_plan(prunus.trace(model, torch.randn(2, 3, 3, 3, dtype=torch.float64)))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and plan.exact and small.prunus.plan.removed == plan.removed == 7
