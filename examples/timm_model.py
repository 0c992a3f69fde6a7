"""timm: prune a network by its name to half the MACs, tune it, and hand it to whoever expects one of timm's.

Needs the extra `timm`. From the command line:

    prunus prune timm/resnet18 --data pictures/ --macs 0.5 --epochs 5 -o out/
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

import prunus
from prunus.training import TrainConfig


def digits(part: str) -> list[tuple[Tensor, Tensor]]:
    """Batches of digits as pictures (batch, 3, 32, 32), and their classes."""
    split = getattr(prunus.data.load("digits"), part)
    images = nn.functional.interpolate(split.images.float() / 255, size=32).expand(-1, 3, -1, -1)
    return list(zip(images.split(64), split.labels.split(64)))


def main(name: str = "mobilenetv3_small_050", epochs: int = 4, batches: int | None = None) -> nn.Module:
    """Train (or give `pretrained=True`), prune, tune, save and load again."""
    torch.manual_seed(0)
    kept, test = digits("train"), digits("test")
    task = prunus.Task(kept[4:batches], kept[:4], test)
    model = timm.create_model(name, pretrained=False, num_classes=10)
    config = TrainConfig(epochs=epochs, lr=0.003, optimizer="adamw")
    task.fit(model, config)
    outcome = prunus.shrink(model, task, macs=0.5, config=config)
    for step in outcome.steps:
        print(f"{step.step}: {step.value:.1f} %")
    print(f"{outcome.before.macs:,} MACs before, {outcome.plan.after.macs:,} after")
    prunus.save(outcome.model, "small.safetensors")
    small = prunus.load("small.safetensors", lambda: timm.create_model(name, num_classes=10))
    assert type(small) is type(model)  # with forward_features, get_classifier and all
    return small


if __name__ == "__main__":
    main()
