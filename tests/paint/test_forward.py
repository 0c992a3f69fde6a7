"""One forward under a painter: whose line is named when it fails, which module runs, and what is left."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Net
from torch import Tensor, nn

from prunus.errors import TraceError
from prunus.paint.forward import run, tell_numbers
from prunus.paint.model_copy import meta_twin
from prunus.paint.painter import Painter

IMAGE = torch.zeros(1, 3, 4, 4, device="meta")


def test_records_name_the_module_that_runs_and_forwards_come_back() -> None:
    twin = meta_twin(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 1))))
    before = [vars(module).get("forward") for module in twin.model.modules()]
    painter = Painter()
    run(painter, twin, (IMAGE,), {})
    assert [record.module for record in painter.records] == ["0", "1.0", "1.1"]
    assert [vars(module).get("forward") for module in twin.model.modules()] == before
    assert painter.running == []


def test_an_error_names_the_users_line() -> None:
    def forward(model: Net, x: Tensor) -> Tensor:
        return x.reshape(5, 7)

    with pytest.raises(TraceError, match=r"Net fails at test_forward\.py:\d+: return x\.reshape\(5, 7\)"):
        run(Painter(), meta_twin(Net(forward)), (IMAGE,), {})


class Scaled(nn.Module):
    """Reads the number in a buffer."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * float(self.scale)


def test_numbers_of_buffers_can_be_read() -> None:
    twin = meta_twin(Scaled())
    with pytest.raises(TraceError, match="reads the value of a tensor"):
        run(Painter(), twin, (IMAGE,), {})
    painter, scale = Painter(), dict(twin.model.named_buffers())["scale"]
    painter.fix(scale)
    tell_numbers(painter, {"scale": torch.tensor(3.0)}, {"scale": scale})
    assert run(painter, twin, (IMAGE,), {}).shape == IMAGE.shape
