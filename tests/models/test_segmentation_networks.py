"""U-Net and TernausNet: their published sizes, and that they are pruned exactly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import prunus
from prunus import models, scores
from prunus.errors import ConfigError, FileFormatError


def test_unet_has_the_papers_size() -> None:
    model = models.UNet(num_classes=2, in_channels=1, batch_norm=False)
    # the widths of the paper's figure 1, with biases
    assert sum(p.numel() for p in model.parameters()) == 31_030_658
    assert model(torch.zeros(1, 1, 32, 48)).shape == (1, 2, 32, 48)
    convolutions = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(convolutions) == 23  # as the paper says


def test_ternausnet_has_the_published_layers() -> None:
    model = models.ternausnet()
    assert sum(p.numel() for p in model.parameters()) == 22_927_393
    assert model(torch.zeros(1, 3, 32, 64)).shape == (1, 1, 32, 64)


@pytest.mark.parametrize("name", ["unet", "ternausnet"])
def test_they_are_pruned_exactly(name: str) -> None:
    torch.manual_seed(0)
    model = (models.unet(width=8, depth=3) if name == "unet" else models.ternausnet()).double().eval()
    graph = prunus.trace(model, torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    plan = prunus.plan(graph, scores.norm(graph), macs=0.3)
    small = prunus.compact(model, plan)
    assert plan.exact and small.prunus.mode == "eager"
    image = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    assert torch.allclose(small(image), prunus.mask(model, plan)(image), rtol=1e-9, atol=1e-12)


def test_the_encoder_is_filled_from_vgg11(tmp_path: Path) -> None:
    model = models.ternausnet()
    widths = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    state = {}
    for position, (a, b) in zip((0, 3, 6, 8, 11, 13, 16, 18), pairwise(widths)):
        state[f"features.{position}.weight"], state[f"features.{position}.bias"] = (
            torch.randn(b, a, 3, 3),
            torch.randn(b),
        )
    save_file(state, tmp_path / "vgg11.safetensors")
    models.load_encoder(model, tmp_path / "vgg11.safetensors")
    assert torch.equal(model.encoder[7].weight, state["features.18.weight"]) and torch.equal(
        model.encoder[0].bias, state["features.0.bias"]
    )
    state["features.6.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "other.pt")
    before = model.encoder[0].weight.clone()
    with pytest.raises(FileFormatError, match=r"no features\.6\.weight of shape \(256, 128, 3, 3\)"):
        models.load_encoder(model, tmp_path / "other.pt")
    assert torch.equal(model.encoder[0].weight, before)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1, not 0 and 4"):
        models.unet(width=0)
    with pytest.raises(ConfigError, match="an even width of at least 2, not 7"):
        models.ternausnet(width=7)


def test_a_signal_comes_through_ternausnet_with_random_weights() -> None:
    torch.manual_seed(0)
    model = models.ternausnet(width=16)
    out = model(torch.randn(4, 3, 32, 32))
    assert out.shape == (4, 1, 32, 32) and 0.01 < float(out.detach().std()) < 30
    assert model.encoder[7].out_channels == 128 and model.head.in_channels == 8
