"""What removed slots hold where the other operands are unknown, and constants whose
values a forward reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import Net, difference, randomised
from tests.paint.operators import Between, Run, goes, goes_exactly, halved, leaks
from torch import Tensor, nn

import prunus
from prunus.errors import TraceError

EXACT: dict[str, Run] = {
    "one slope for all": lambda m, y: nn.functional.prelu(m.plain(y), m.slope),
    "a slope per channel": lambda m, y: nn.functional.prelu(m.plain(y), m.slopes),
    "a choice between zeros": lambda m, y: torch.where(y.sum(1, keepdim=True) > 1, y, 0.0),
    "a mask of pixels": lambda m, y: y.masked_fill(y.sum(1, keepdim=True) > 1, 0.0),
    "a mask of its own": lambda m, y: y.masked_fill(y < 0.1, 0.0),
    "between two zeros": lambda m, y: torch.lerp(y, y * 2, y.sum(1, keepdim=True).sigmoid()),
    "a remainder of zero": lambda m, y: torch.remainder(y, y.sum(1, keepdim=True) + 1),
    "a sum of products": lambda m, y: torch.addcmul(y, y, y.sum(1, keepdim=True)),
    "plus a tensor that is zero": lambda m, y: y + torch.tensor(0.0, dtype=y.dtype),
    "halves rounded to whole numbers": lambda m, y: y * (m.plain(y) * 0).sigmoid().long(),
    "whether a half is not zero": lambda m, y: y * (y * 0).sigmoid().bool(),
}


@pytest.mark.parametrize("name", EXACT)
def test_zero_stays_zero_whatever_the_other_operands_are(name: str) -> None:
    parts: dict[str, Any] = {
        "plain": nn.Conv2d(8, 8, 1, bias=False),
        "slope": nn.Parameter(torch.zeros(1)),
        "slopes": nn.Parameter(torch.zeros(8)),
    }
    assert goes_exactly(EXACT[name], **parts).mode == "eager"


NOT_ZERO: dict[str, Run] = {
    "a choice of one": lambda m, y: torch.where(y.sum(1, keepdim=True) > 1, y, 1.0),
    "a mask that fills in": lambda m, y: y.masked_fill(y < 0.1, -1.0),
    "plus a tensor that is one": lambda m, y: y + torch.tensor(1.0, dtype=y.dtype),
    "plus a buffer that was zero": lambda m, y: y + m.shift,
    "at least a buffer that was below zero": lambda m, y: torch.maximum(y, m.low),
}


@pytest.mark.parametrize("name", NOT_ZERO)
def test_what_other_operands_put_there_is_not_forgotten(name: str) -> None:
    assert len(leaks(goes(NOT_ZERO[name], shift=torch.zeros(()), low=torch.tensor(-1.0)))) == 8


RECURRENT: dict[str, tuple[nn.Module, int]] = {
    "LSTM": (nn.LSTM(8, 6), 6),
    "two layers, both ways": (nn.LSTM(8, 6, num_layers=2, bidirectional=True), 12),
    "projected": (nn.LSTM(8, 6, proj_size=4), 4),
    "GRU": (nn.GRU(8, 6), 6),
    "RNN": (nn.RNN(8, 6), 6),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_read_channels_and_lose_width_themselves(name: str) -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        return y + m.back(m.layer(y.mean(2).permute(2, 0, 1))[0]).permute(1, 2, 0).unsqueeze(2)

    layer, width = RECURRENT[name]
    result = goes_exactly(run, layer=layer, back=nn.Linear(width, 8))
    assert result.mode == "eager" and result.graph.num_channels > 8


CELLS: dict[str, nn.Module] = {"LSTM": nn.LSTMCell(8, 6), "GRU": nn.GRUCell(8, 6), "RNN": nn.RNNCell(8, 6)}


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_cells_too(name: str) -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        state = m.cell(y.mean((2, 3)))
        return y + m.back(state[0] if isinstance(state, tuple) else state)[:, :, None, None]

    result = goes_exactly(run, cell=CELLS[name], back=nn.Linear(6, 8))
    assert result.mode == "eager" and (
        result.graph.model.cell.input_size,
        result.graph.model.cell.hidden_size,
    ) == (8, 6)


def listed(m: Between, y: Tensor) -> Tensor:
    for scale in m.scales.tolist():
        y = y * scale
    return y * m.scales[1].item() * len(m.scales) * float(m.scales.cpu().numpy()[0])


def added_up(m: Between, y: Tensor) -> Tensor:
    for shift in torch.linspace(0, 1, 3).tolist():
        y = y * (1 + shift)
    return y * int(torch.arange(5).sum()) * float(torch.ones(2).cpu().numpy()[0])


def as_arrays(m: Between, y: Tensor) -> Tensor:
    return y * float(m.scales.numpy()[1]) + float(np.asarray(torch.linspace(0, 1, 3)).sum())


def test_values_of_constants_and_small_buffers_can_be_read() -> None:
    assert goes_exactly(listed, scales=torch.tensor([1.0, 2.0, 3.0])).mode == "eager"
    assert goes_exactly(added_up).mode == "eager"
    assert goes_exactly(as_arrays, scales=torch.tensor([1.0, 2.0, 3.0])).mode == "eager"


def test_values_that_are_read_are_those_of_the_model() -> None:
    """A trace keeps no number of a buffer: the compact module reads its own."""
    model = randomised(
        Net(lambda m, x: m.b(m.a(x).relu() * m.scale.item()), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1))
    )
    model.register_buffer("scale", torch.tensor(2.0, dtype=torch.float64))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    graph = prunus.trace(model, x)
    model.scale.fill_(5.0)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and difference(prunus.mask(model, plan), small, x) < 1e-12


def test_a_buffer_that_loses_slots_is_read_as_what_is_left() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        return y * m.scales.view(1, -1, 1, 1) * len(m.scales.tolist()) * 0.0 + y

    assert halved(run, scales=torch.ones(8)).error < 1e-12


def test_values_of_parameters_and_of_data_cannot_be_read() -> None:
    learned = Net(lambda m, x: m.a(x) * m.a.bias[0].item(), a=nn.Conv2d(3, 4, 1))
    read = Net(lambda m, x: m.a(x) * x.sum().item(), a=nn.Conv2d(3, 4, 1))
    for model in (learned, read):
        with pytest.raises(TraceError, match="reads the value of a tensor"):
            prunus.trace(model, torch.zeros(1, 3, 4, 4))


def test_a_counter_in_a_buffer_counts_in_a_copy() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        m.count.add_(1)
        return m.b(m.a(x) * m.count.item())

    model = randomised(Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1)))
    model.register_buffer("count", torch.zeros((), dtype=torch.float64))
    graph = prunus.trace(model, torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    assert graph.num_channels == 6 and float(model.count) == 0.0
    assert float(graph.twin.numbers["count"]) == 0.0


OTHER_NUMBERS: dict[str, Run] = {
    "rounded to half precision": lambda m, y: (y + 0.1).half().double(),
    "rounded to bfloat16": lambda m, y: (y - 1.3).bfloat16().double(),
    "computed in half precision": lambda m, y: nn.functional.softplus(y.half()).double(),
    "computed in bfloat16": lambda m, y: nn.functional.softplus(y.bfloat16()).double(),
    "beyond 8 bits": lambda m, y: (y.long() + 300).to(torch.uint8).double(),
    "below 8 bits": lambda m, y: (y.long() - 3).to(torch.uint8).double(),
    "out of range": lambda m, y: (y + 300.5).to(torch.int8).double() * 0 + y,
    "bits read as a whole number": lambda m, y: (y + 1.5).view(torch.int64).double() * 1e-18,
    "bits of numbers half as long": lambda m, y: (y + 1.5).view(torch.int32).double() * 1e-9,
    "a gate along a row": lambda m, y: nn.functional.glu(y + 0.5, -1),
}


@pytest.mark.parametrize("name", OTHER_NUMBERS)
def test_what_is_not_zero_becomes_another_number(name: str) -> None:
    """A convolution without padding takes it up in its bias, where it is known."""
    goes(lambda m, y: m.plain(OTHER_NUMBERS[name](m, y)), plain=nn.Conv2d(8, 8, 1))


def test_what_wraps_around_is_known() -> None:
    assert leaks(goes(OTHER_NUMBERS["beyond 8 bits"])).tolist() == [44.0] * 8
    assert (
        leaks(goes(OTHER_NUMBERS["rounded to half precision"])).tolist()
        == [float(torch.tensor(0.1).half())] * 8
    )


def test_channels_read_as_numbers_of_another_length_stay() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        last = y.permute(0, 2, 3, 1).contiguous().view(torch.int32).double() * 1e-9
        return m.narrow(last.permute(0, 3, 1, 2))

    result = halved(run, narrow=nn.Conv2d(16, 8, 1))
    assert "read as numbers of another length" in " ".join(pin.reason for pin in result.graph.pinned)


POLES: dict[str, Run] = {
    "addcdiv": lambda m, y: torch.addcdiv(y + 0.5, y, m.var),
    "addcdiv of named tensors": lambda m, y: torch.addcdiv(y, tensor1=y + 1, tensor2=m.var),
    "acosh": lambda m, y: y * torch.acosh(m.var * 8),
    "polygamma": lambda m, y: y * torch.polygamma(1, m.var),
    "a Bessel function": lambda m, y: y * torch.special.modified_bessel_k0(m.var),
}


@pytest.mark.parametrize("name", POLES)
def test_removed_slots_stay_off_poles(name: str) -> None:
    """The masked network is finite, which `goes` asserts."""
    goes(POLES[name], var=torch.ones(8, 1, 1))
