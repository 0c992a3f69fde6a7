"""Accelerate: a loop of one's own on whatever devices there are, pruned softly while it trains.

Needs `accelerate`. With several processes (`accelerate launch examples/accelerate_loop.py`) each of them
chooses the same filters, as each has the same weights.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prunus
from prunus.methods.soft import SoftPruning


def loader(part: str) -> DataLoader[Any]:
    """Batches of digits (batch, 1, 8, 8) and their classes."""
    split = getattr(prunus.data.load("digits"), part)
    data = TensorDataset(split.images.float() / 255, split.labels)
    return DataLoader(data, batch_size=32, shuffle=part == "train")


def network() -> nn.Module:
    """Images (batch, 1, 8, 8) to logits (batch, 10)."""
    sizes = ((1, 24), (24, 48), (48, 48))
    steps = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in sizes]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))


@torch.no_grad()
def accuracy(model: nn.Module, batches: DataLoader[Any], device: torch.device) -> float:
    """Percent, in evaluation mode."""
    right = torch.cat([model.eval()(x.to(device)).argmax(1) == y.to(device) for x, y in batches])
    return 100 * float(right.float().mean())


def main(epochs: int = 8, mixed_precision: str = "no") -> nn.Module:
    """Train with accumulated gradients while filters are softly pruned, and compact."""
    accelerator = Accelerator(gradient_accumulation_steps=2, mixed_precision=mixed_precision)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    wrapped, optimizer, batches = accelerator.prepare(model, optimizer, loader("train"))
    pruning = SoftPruning(torch.zeros(1, 1, 8, 8), rate=0.5)
    pruning.before_training(model, epochs)  # the network itself, not what is wrapped around it
    for epoch in range(epochs):
        wrapped.train()
        for images, labels in batches:
            with accelerator.accumulate(wrapped):
                accelerator.backward(nn.functional.cross_entropy(wrapped(images), labels))
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:  # a step was really done
                pruning.after_step(model)
        pruning.after_epoch(model, epoch, epochs)
    network_itself = accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    assert pruning.plan is not None
    small = prunus.compact(network_itself, pruning.plan)
    figures = [accuracy(one, loader("test"), accelerator.device) for one in (network_itself, small)]
    accelerator.print("{:.1f} % softly pruned, {:.1f} % without the filters".format(*figures))
    accelerator.print(prunus.trace(small, torch.zeros(1, 1, 8, 8)).cost())
    return small


if __name__ == "__main__":
    main()
