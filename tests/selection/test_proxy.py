"""A proxy learns beside the network, and what it finds hard is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.breaks import StopError, stopping
from torch import nn

from prunus.data import load
from prunus.errors import ConfigError
from prunus.selection import Filtered, Proxy
from prunus.selection.proxy import small_network
from prunus.training import TrainConfig, train

DIGITS = load("digits")
SPLIT = DIGITS.train.subset(torch.arange(0, 1442, 3))


def proxy(lr: float = 0.1) -> Proxy:
    torch.manual_seed(1)
    return Proxy(small_network(1, 10), SPLIT.images, SPLIT.labels, DIGITS.normalise, lr)


def test_its_losses_are_those_of_the_samples() -> None:
    torch.manual_seed(1)
    network = small_network(1, 10).eval()
    found = proxy().losses()
    for i in range(0, len(SPLIT), 97):
        image = (SPLIT.images[i : i + 1].float() / 255 - DIGITS.normalise[0][0]) / DIGITS.normalise[1][0]
        assert found[i] == pytest.approx(
            F.cross_entropy(network(image), SPLIT.labels[i : i + 1]).item(), abs=1e-5
        )


def test_it_learns_and_keeps_what_it_finds_hard() -> None:
    one = proxy()
    curriculum, before = Filtered(one, len(SPLIT), 0.5, batch=60), one.losses().mean()
    first = curriculum.choose(nn.Identity(), 0, 8)
    assert first is not None and first.kept.all()
    for epoch in range(1, 8):
        losses = one.losses()
        chosen = curriculum.choose(nn.Identity(), epoch, 8)
        assert chosen is not None and chosen.fraction == pytest.approx(0.5, abs=0.02)
        assert losses[chosen.kept].mean() > losses[~chosen.kept].mean()
    assert one.losses().mean() < before
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter that requires a gradient"):
        Proxy(frozen, SPLIT.images, SPLIT.labels, DIGITS.normalise)


def test_it_goes_on_after_a_break_and_draws_nothing_from_torch(tmp_path: Path) -> None:
    def once(stop: int, path: Path | None) -> nn.Module:
        torch.manual_seed(0)
        model: nn.Module = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10))
        curriculum = Filtered(proxy(), len(SPLIT), 0.5, batch=100)
        kept: dict[str, Any] = {
            "checkpoint": path,
            "checkpoint_seconds": 0.0,
            "resume": True,
            "on_step": stopping(stop),
        }
        config = TrainConfig(epochs=4, lr=0.05, batch_size=80)
        train(model, SPLIT, config, normalise=DIGITS.normalise, curriculum=curriculum, **kept)
        return model

    whole, path = once(-1, None), tmp_path / "checkpoint"
    for stop in (4, 5, 2):
        with pytest.raises(StopError):
            once(stop, path)
    for mine, theirs in zip(whole.parameters(), once(-1, path).parameters(), strict=True):
        assert torch.equal(mine, theirs)
    curriculum, state = Filtered(proxy(), len(SPLIT)), torch.get_rng_state()
    for epoch in range(2):
        curriculum.choose(nn.Identity(), epoch, 4)
    assert torch.equal(torch.get_rng_state(), state)
