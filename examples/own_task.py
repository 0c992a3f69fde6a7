"""A task of one's own: where is the bright spot? Samples, loss and metric are the user's.

From the command line, once this file has been run (it writes the trained network):

    prunus prune own_task:network --weights dense.safetensors --data own_task:task --macs 0.5 --epochs 2 \
        --optimizer adam --lr 0.002 -o out/
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import prunus
from prunus.training import TrainConfig

SIDE, BATCH, NEAR = 24, 32, 1.5  # pixels, pictures, pixels


def pictures(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of noise (batch, 1, SIDE, SIDE) with a spot, and its place (batch, 2) as parts of the side."""
    draw = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 2, generator=draw) * 0.8 + 0.1
    rows, columns = torch.meshgrid(*[(torch.arange(SIDE) + 0.5) / SIDE] * 2, indexing="ij")
    apart = (rows - places[:, 0, None, None]) ** 2 + (columns - places[:, 1, None, None]) ** 2
    images = (-apart * 100).exp() + torch.randn(count, SIDE, SIDE, generator=draw) * 0.1
    return list(zip(images[:, None].split(BATCH), places.split(BATCH)))


def found(outputs: Tensor, places: Tensor) -> Tensor:
    """100 for every spot that is told within a pixel and a half, 0 for the others: the points of each."""
    return 100.0 * ((outputs - places).norm(dim=1) * SIDE < NEAR)


def task(limit: int = 960) -> prunus.Task:
    """Spots to train on, to choose by and to report on."""
    parts = (pictures(limit // n, n) for n in (1, 4, 5))
    return prunus.Task(*parts, loss=nn.functional.smooth_l1_loss, metric=found)


def network() -> nn.Module:
    """Pictures (batch, 1, SIDE, SIDE) to places (batch, 2)."""
    sizes = ((1, 16), (16, 32), (32, 32))
    steps = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in sizes]
    return nn.Sequential(*steps, nn.Flatten(), nn.Linear(32 * 9, 2), nn.Sigmoid())


def main(limit: int = 960, epochs: int = 8) -> prunus.methods.Outcome:
    """Train, prune to half the MACs, make up for it, tune, and say what it cost."""
    spots, model = task(limit), network()
    spots.fit(model, TrainConfig(epochs=epochs, lr=0.005, optimizer="adam"))
    prunus.save(model, "dense.safetensors")
    tuning = TrainConfig(epochs=max(epochs // 3, 1), lr=0.002, optimizer="adam")
    outcome = prunus.shrink(model, spots, macs=0.5, config=tuning)
    for step in outcome.steps:
        print(f"{step.step}: {step.value:.1f} % of the spots found")
    print(f"{outcome.before.macs:,} MACs before, {outcome.plan.after.macs:,} after")
    return outcome


if __name__ == "__main__":
    main()
