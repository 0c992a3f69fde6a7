"""Gates in a file of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from prunus.dynamic import DynamicNetwork, attach, load_gates, save_gates
from prunus.errors import FileFormatError
from tests.dynamic.nets import network

KINDS = ["activation", "winners", "widths"]


def gated(kind: str, name: str = "vgg", batch: int = 24) -> tuple[DynamicNetwork, Tensor]:
    """Gates that tell inputs apart."""
    model, x = network(name, batch)
    dynamic = attach(model, x[:1], kind=kind).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(4)
    for gate in dynamic.gates.values():
        nn.init.normal_(gate.last.weight, std=0.2, generator=generator)
        nn.init.normal_(gate.last.bias, std=0.2, generator=generator)
    return dynamic, x


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_gates_come_back_from_their_file(kind: str, tmp_path: Path) -> None:
    dynamic, x = gated(kind, batch=6)
    dynamic.calibrate([x])
    dynamic.budget = 0.5 * (dynamic.knob[0][1] + dynamic.knob[-1][1])
    save_gates(dynamic, tmp_path / "gates.safetensors")
    again = load_gates(dynamic.plain(), x[:1], tmp_path / "gates.safetensors")
    assert again.knob == dynamic.knob and again.budget == dynamic.budget and again.form == dynamic.form
    assert torch.equal(again(x), dynamic(x))


def test_files_that_hold_no_gates_for_a_network(tmp_path: Path) -> None:
    dynamic, x = gated("activation")
    path = tmp_path / "gates.safetensors"
    save_gates(dynamic, path)
    other, y = network("lenet5")
    with pytest.raises(FileFormatError, match="do not fit LeNet5"):
        load_gates(other, y, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileFormatError, match=r"gates\.safetensors"):
        load_gates(dynamic.plain(), x[:1], path)
