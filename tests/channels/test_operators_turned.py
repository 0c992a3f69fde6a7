"""Operators that give a tensor another shape in place: what saw it before goes on seeing the old shape."""

from __future__ import annotations

import pytest
import torch
from tests.channels.nets import Net, pruned, randomised
from tests.channels.operators import Between, Run, goes_exactly
from torch import Tensor, nn

import prunus


def last(m: Between, y: Tensor) -> Tensor:
    """A linear layer over the channels, in their own order, of (N, size, size, 8)."""
    return m.mix(y).permute(0, 3, 1, 2)


TURNED: dict[str, Run] = {
    "transpose_": lambda m, y: last(m, (y * 2).transpose_(1, 3)),
    "swapaxes_": lambda m, y: last(m, (y * 2).swapaxes_(1, -1)),
    "t_": lambda m, y: y * y.mean((2, 3)).t_().sigmoid().t_()[:, :, None, None],
    "unsqueeze_": lambda m, y: y * y.mean((2, 3)).unsqueeze_(2).unsqueeze_(3).sigmoid(),
    "squeeze_": lambda m, y: y + m.mix(y.mean((2, 3), keepdim=True).squeeze_(3).squeeze_(2))[:, :, None, None],
    "and written into": lambda m, y: last(m, (y * 2).transpose_(1, 3).mul_(0.5)),
    "of a view": lambda m, y: last(m, (y * 2)[:].transpose_(1, 3)),
}


@pytest.mark.parametrize("name", TURNED)
def test_shapes_that_change_in_place_carry_channels(name: str) -> None:
    assert goes_exactly(TURNED[name], mix=nn.Linear(8, 8)).mode == "eager"


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_keep_their_class(kind: type[nn.RNNBase], batch_first: bool) -> None:
    layer = kind(8, 6, 2, batch_first=batch_first, bidirectional=True)
    model = randomised(
        Net(lambda m, x: m.head(m.rnn(m.conv(x).relu().mean(2).transpose(1, 2))[0]), conv=nn.Conv2d(3, 8, 3), rnn=layer, head=nn.Linear(12, 4))
    )
    plan, small = pruned(model, torch.randn(2, 3, 7, 7, dtype=torch.float64), prefer="eager")
    assert plan.exact and small.prunus.mode == "eager" and plan.removed == small.prunus.plan.removed >= 7
    assert small.rnn.hidden_size == 3 and small.rnn.input_size == 4


def test_records_show_a_tensor_as_the_operator_saw_it() -> None:
    model = Net(lambda m, x: m.conv(x).transpose_(1, 3).unsqueeze_(0), conv=nn.Conv2d(3, 5, 1))
    records = {record.operator: record for record in prunus.trace(model, torch.zeros(2, 3, 4, 7)).records}
    assert [tuple(one.outputs[0].shape) for one in records.values()] == [(2, 5, 4, 7), (2, 7, 4, 5), (1, 2, 7, 4, 5)]
    assert records["transpose_"].tensors[0] is records["convolution"].outputs[0]
    assert records["unsqueeze_"].tensors[0] is records["transpose_"].outputs[0]
    assert tuple(records["transpose_"].tensors[0].shape) == (2, 5, 4, 7)


def test_constants_that_are_turned_keep_their_values() -> None:
    def order(m: Between, y: Tensor) -> Tensor:
        index = torch.arange(8).flip(0).unsqueeze_(1).transpose_(0, 1).squeeze_(0)
        return y.index_select(1, index.long())

    assert goes_exactly(order).removed >= 4
