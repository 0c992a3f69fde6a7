"""What networks count in plain numbers: a resumed training goes on from there, also with filters gone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import FileFormatError
from prunus.methods.soft import SoftPruning
from prunus.storage import read_tree, write_tree
from prunus.training import TrainConfig, train
from prunus.training.counts import numbers_of

IMAGES = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BATCHES = [
    (images, images.mean((2, 3)).argmax(1)) for images in IMAGES.split(8)
]  # of three classes, by the brightest plane
CONFIG = TrainConfig(epochs=4, lr=0.05)


class BrokenOffError(Exception):
    """Ends a training."""


class Warm(nn.Module):
    """Its noise fades with every pass in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.passes, self.last = 0, math.nan

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.passes += 1
        self.last = 1 / self.passes
        return x + self.last * torch.rand_like(x[:, :1])


class Scaled(nn.Module):
    """Scales as the first batch that it sees wants it (an activation norm)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.ready = False

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.ready:
            with torch.no_grad():
                self.scale.copy_(1 / x.std((0, 2, 3), keepdim=True))
            self.ready = True
        return x * self.scale


def network(part: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 3, 3),
        part(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).double()


def outcome(
    model: nn.Module, file: Path, pruned: bool, until: int | None = None, resume: bool = False
) -> dict[str, Any]:
    """The weights, and what was counted."""

    def stop(record: Any) -> None:
        if record.epoch == until:
            raise BrokenOffError

    pruning = SoftPruning(IMAGES[:2], rate=0.5, freeze=0.9) if pruned else None
    try:
        train(
            model,
            BATCHES,
            CONFIG,
            loss=F.cross_entropy,
            pruning=pruning,
            checkpoint=file,
            on_epoch=stop,
            resume=resume,
        )
    except BrokenOffError:
        return {}
    return dict(model.state_dict()) | {"counted": numbers_of(model[3])}  # type: ignore[index]


@pytest.mark.parametrize("pruned", [False, True], ids=["whole", "pruned"])
@pytest.mark.parametrize("part", [Warm, lambda: Scaled(3)], ids=["passes", "the first batch"])
def test_networks_go_on_from_what_they_counted(
    part: Callable[[], nn.Module], pruned: bool, tmp_path: Path
) -> None:
    """Numbers of Python's began anew, so that what depends on them was other than without the break."""
    whole = outcome(network(part), tmp_path / "whole.safetensors", pruned)
    broken = tmp_path / "broken.safetensors"
    for until, resume in ((1, False), (2, True)):  # broken off twice, by different objects
        outcome(network(part), broken, pruned, until, resume)
        torch.manual_seed(99)
    again = outcome(network(part), broken, pruned, resume=True)
    assert again["counted"] == whole["counted"] and whole["counted"]
    assert all(torch.equal(again[name], whole[name]) for name in network(part).state_dict())
    if part is Warm:
        assert whole["counted"]["passes"] == CONFIG.epochs * len(BATCHES)


def test_a_file_reaches_nothing_but_what_a_network_counts(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    outcome(network(Warm), file, False, until=2)
    tree = cast(Any, read_tree(file))
    assert tree["counts"] == {"3": {"passes": 6, "last": 1 / 6}}
    for forged, said in (
        ({"3": {"forward": 1}}, "'forward' is no number that Warm counts"),
        ({"3": {"training": 1}}, "'training' is no number that Warm counts"),
        ({"3": {"passes": "many"}}, "'passes' is no number that Warm counts"),
        ({"9": {"passes": 1}}, "there is no '9' that counts"),
        ([1], "is not the checkpoint of a training"),
    ):
        write_tree(file, tree | {"counts": forged})
        with pytest.raises(FileFormatError, match=said):
            outcome(network(Warm), file, False, resume=True)
    write_tree(file, {name: value for name, value in tree.items() if name != "counts"})
    outcome(network(Warm), file, False, resume=True)  # of an earlier version
