"""One contract for all methods, called alike and without adapters, on classifiers, a segmentation network and
a detector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from prunus import data, models
from prunus.dynamic import DynamicNetwork, load_gates, save_gates
from prunus.errors import ConfigError, PlanError, PrunusError, TargetError
from prunus.methods import METHODS, Outcome
from prunus.surgery.parts import is_core
from prunus.tasks import MeanIoU, Task
from prunus.training import TrainConfig

DIGITS = data.load("digits")
SHORT = TrainConfig(epochs=1, batch_size=32, lr=0.01)
SETTINGS: dict[str, dict[str, Any]] = {  # so that something goes in a training of a few steps
    "one-shot": {"rate": 0.5},
    "soft": {"rate": 0.5, "config": TrainConfig(epochs=2, batch_size=32, lr=0.01)},
    "history": {"rate": 0.5, "rounds": 1, "pull_epochs": 1, "tolerance": 100.0},
    "importance": {"tolerance": 100.0, "step": 0.5, "least_step": 0.5, "most": 1},
    "selective-decay": {"last": 1.0},
    "channels-and-layers": {"strength": 1000.0},
    "adversarial": {"strength": 120.0, "every": 1},
    "autoprune": {"strength": 20.0, "gate_lr": 0.05},
    "play-and-prune": {"tolerance": 90.0, "delta": 0.011, "rounds": 1},
    "thresholds": {"strength": 2000.0},
    "dynamic": {"budget": 0.8},
}


class Block(nn.Module):
    """Adds to what it gets."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.norm(self.first(x)).relu())


class Residual(nn.Module):
    """Two blocks and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = (
            nn.Conv2d(1, 6, 3),
            nn.Sequential(Block(6), Block(6)),
            nn.Linear(6, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Detector(nn.Module):
    """One box per picture, called as torchvision's detectors are: losses in training, boxes otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 4),
        )

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        found = self.features(torch.stack(list(images)))
        if self.training:
            assert targets is not None
            wanted = torch.stack([target["boxes"][0] for target in targets]) / 16
            return {"boxes": F.smooth_l1_loss(found, wanted), "size": 0 * found.sum()}
        return [{"boxes": 16 * box[None]} for box in found]


def squares(count: int, seed: int) -> list[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        corners = torch.randint(8, (4, 2), generator=draw).tolist()
        images = [torch.zeros(1, 16, 16, dtype=torch.float64) for _ in corners]
        for image, (left, top) in zip(images, corners, strict=True):
            image[:, top : top + 8, left : left + 8] = 1
        boxes = [torch.tensor([[left, top, left + 8, top + 8]], dtype=torch.float64) for left, top in corners]
        found.append((images, [{"boxes": box} for box in boxes]))
    return found


def nearness(outputs: Any, targets: Any) -> Tensor:
    return torch.stack(
        [
            100 / (1 + (found["boxes"] - there["boxes"]).abs().mean())
            for found, there in zip(outputs, targets, strict=True)
        ]
    )


def stripes(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        masks = torch.zeros(2, 16, 16, dtype=torch.int64)
        masks[:, int(torch.randint(8, (), generator=draw)) :] = 1
        found.append((torch.rand(2, 1, 16, 16, generator=draw, dtype=torch.float64) + masks[:, None], masks))
    return found


def of_pixels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none").mean((1, 2))


@dataclass(frozen=True)
class Subject:
    """A network and what it is for."""

    build: Callable[[], nn.Module]
    task: Task


TRAIN, HELD, TEST = (DIGITS.train.subset(torch.arange(first, first + 64)) for first in (0, 64, 128))
CLASSES = Task(TRAIN, HELD, TEST, normalise=DIGITS.normalise)
PIXELS = Task(stripes(6, 0), stripes(4, 1), stripes(4, 2), loss=of_pixels, metric=MeanIoU())
BOXES = Task(squares(6, 0), squares(4, 1), squares(4, 2), loss="model", metric=nearness)
SUBJECTS = {
    "LeNet-5": Subject(lambda: models.lenet5(image_size=8), CLASSES),
    "residual": Subject(Residual, CLASSES),
    "U-Net": Subject(lambda: models.unet(2, 1, width=4, depth=2), PIXELS),
    "detector": Subject(Detector, BOXES),
}
REFUSED: dict[tuple[str, str], tuple[type[PrunusError], str]] = {  # what a method is not for, it says
    ("slimming", "LeNet-5"): (PlanError, "no batch norm with a scale"),
    ("snip", "detector"): (ConfigError, 'with the loss "model" only the model knows it'),
    ("adversarial", "detector"): (ConfigError, "must return logits"),
    ("dynamic", "detector"): (ConfigError, 'with the loss "model" only the model knows it'),
    **{("fewer-blocks", name): (TargetError, "0 residual blocks") for name in SUBJECTS if name != "residual"},
}
ONCE_MORE = {"residual", "detector"}  # where the same seed must give the same


@cache
def made(subject: str) -> nn.Module:
    torch.manual_seed(0)
    model = SUBJECTS[subject].build().double()
    return (
        prunus.core(model, lambda model, images: model.features(images)) if subject == "detector" else model
    )


def called(method: str, subject: str) -> Outcome:
    function = METHODS[method].function
    config = {} if method in ("one-shot", "fewer-blocks", "greedy-norm") else {"config": SHORT}
    return function(made(subject), SUBJECTS[subject].task, **config | SETTINGS.get(method, {}))


@torch.no_grad()
def outputs(model: nn.Module, subject: str) -> list[Tensor]:
    inputs = next(SUBJECTS[subject].task.batches("test", model=model))[0]
    found = model.eval()(inputs)
    return [found] if isinstance(found, Tensor) else [one["boxes"] for one in found]


def itself(model: nn.Module) -> nn.Module:
    return prunus.whole(model) if is_core(model) else model


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_gives_a_smaller_network_that_is_verified_runs_and_is_read_back(
    method: str, subject: str, tmp_path: Path
) -> None:
    if (method, subject) in REFUSED:
        kind, text = REFUSED[method, subject]
        with pytest.raises(kind, match=text):
            called(method, subject)
        return
    model, task = made(subject), SUBJECTS[subject].task
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    out = called(method, subject)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert out.verification.exact and out.verification.relative < 1e-8
    assert out.steps and out.metric == pytest.approx(task.value(itself(out.model)))
    if isinstance(out.model, DynamicNetwork):
        assert out.found["expected"] < 0.95
        save_gates(out.model, tmp_path / "gates.safetensors")
        again: nn.Module = load_gates(
            out.model.plain(), task.example_inputs().double(), tmp_path / "gates.safetensors"
        ).eval()
    else:
        assert out.plan.after.params < out.before.params and out.plan.after.macs < out.before.macs
        assert out.dense is not None
        wanted = prunus.compact(out.dense, out.plan, check=False)
        assert [p.shape for p in out.model.parameters()] == [p.shape for p in wanted.parameters()]
        prunus.save(itself(out.model), tmp_path / "small.safetensors")
        again = prunus.load(tmp_path / "small.safetensors", lambda: SUBJECTS[subject].build().double())
    assert all(
        torch.equal(a, b)
        for a, b in zip(outputs(itself(out.model), subject), outputs(again, subject), strict=True)
    )
    if subject in ONCE_MORE:
        torch.manual_seed(1)
        second = called(method, subject)
        assert second.plan.groups == out.plan.groups and second.metric == out.metric
        assert all(
            torch.equal(a, b)
            for a, b in zip(out.model.state_dict().values(), second.model.state_dict().values(), strict=True)
        )
