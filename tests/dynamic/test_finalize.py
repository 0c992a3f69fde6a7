"""Channels that never open and gates that never close: gone, and nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from prunus.dynamic import DynamicNetwork, activity, attach, load_gates, save_gates, skipping
from prunus.dynamic.finalize import settle
from prunus.errors import PlanError
from tests.dynamic.nets import network


def gated(name: str, hidden: int = 0, block: int = 1) -> tuple[DynamicNetwork, Tensor]:
    """Gates some of whose switches never open or never close; those of one layer never close."""
    model, x = network(name, 16)
    dynamic = attach(model, x[:1], hidden=hidden, block=block).eval()
    generator = torch.Generator().manual_seed(4)
    for number, gate in enumerate(dynamic.gates.values()):
        nn.init.normal_(gate.last.weight, std=0.3, generator=generator)
        bias = torch.randn(len(gate.last.bias), dtype=torch.float64, generator=generator)
        gate.last.bias.data = (
            bias.sign() * bias.abs().clamp(0.1, 3) if number else torch.full_like(bias, 100.0)
        )
    return dynamic, x


@pytest.mark.parametrize(
    ("name", "hidden", "block"),
    [("vgg", 0, 1), ("vgg", 5, 1), ("vgg", 0, 4), ("resnet14", 0, 1), ("projected", 3, 1)],
)
@torch.no_grad()
def test_nothing_changes_for_what_was_seen(name: str, hidden: int, block: int, tmp_path: Path) -> None:
    dynamic, x = gated(name, hidden, block)
    seen = activity(dynamic, [x])
    never = sum(int((opened == 0).sum()) for opened in seen.opened.values())
    assert never > 0
    settled = settle(dynamic, seen, x[:1])
    assert torch.allclose(settled(x), dynamic(x), rtol=0, atol=1e-9)
    assert len(settled.gates) < len(dynamic.gates)
    left = sum(gate.channels for gate in settled.gates.values())
    gone = sum(int((seen.opened[group] == 0).sum()) for group in settled.gates)
    assert left == sum(dynamic.gates[group].channels for group in settled.gates) - gone
    assert settled.graph.cost().macs < dynamic.graph.cost().macs and settled.dense_macs == dynamic.dense_macs
    assert activity(settled, [x]).macs.mean() < seen.macs.mean()  # as many channels, and smaller gates
    again = settle(settled, activity(settled, [x[:6]]), x[:1])
    assert torch.allclose(again(x[:6]), dynamic(x[:6]), rtol=0, atol=1e-9)
    fast = skipping(settled, x[:1])
    assert torch.allclose(fast(x[:1]), dynamic(x[:1]), rtol=0, atol=1e-9)
    save_gates(settled, tmp_path / "gates.safetensors")
    loaded = load_gates(settled.plain(), x[:1], tmp_path / "gates.safetensors")
    assert (
        torch.equal(loaded(x), settled(x))
        and loaded.dense_macs == dynamic.dense_macs == skipping(loaded, x[:1]).dense_macs
    )


def test_what_cannot_settle() -> None:
    model, x = network("vgg", 4)
    with pytest.raises(PlanError, match="choose among all channels"):
        winners = attach(model, x[:1], kind="winners")
        settle(winners, activity(winners, [x]), x[:1])
    dynamic = attach(model, x[:1])
    with pytest.raises(PlanError, match="prune the network instead"):
        settle(dynamic, activity(dynamic, [x]), x[:1])
