"""A training loop of one's own: the weakest filters are zero while it learns, and go for good half way, where
the same optimiser trains the compact network on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import prunus
from prunus.methods.soft import SoftPruning

BATCH = 64


def digits() -> list[tuple[Tensor, Tensor]]:
    """Images (n, 1, 8, 8) from 0 to 1 and their classes, to train on and to report on."""
    known = prunus.data.load("digits")
    return [(part.images.float() / 255, part.labels) for part in (known.train, known.test)]


def network() -> nn.Module:
    """Images (batch, 1, 8, 8) to logits (batch, 10)."""
    sizes = ((1, 24), (24, 48), (48, 48))
    steps = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in sizes]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    pruning: SoftPruning | None = None,
) -> None:
    """One pass in a new order; the pruning hears of every step."""
    for part in torch.randperm(len(labels)).split(BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
        optimizer.step()
        if pruning is not None:
            pruning.after_step(model)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent, in evaluation mode; the model is in train mode afterwards."""
    right = model.eval()(images).argmax(1) == labels
    model.train()
    return 100 * float(right.float().mean())


def main(epochs: int = 12) -> nn.Module:
    """Train softly pruned, compact, and train on."""
    (images, labels), test = digits()
    model, soft = network(), epochs // 2
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    pruning = SoftPruning(images[:1], rate=0.5, freeze=0.0)
    pruning.before_training(model, soft)
    for epoch in range(soft):
        train_epoch(model, optimizer, images, labels, pruning)
        pruning.after_epoch(model, epoch, soft)
        regrown = pruning.record[-1].regrown
        print(f"Epoch {epoch + 1}: {accuracy(model, *test):.1f} %, {regrown} filters grew back")
    assert pruning.plan is not None
    small = prunus.compact(model, pruning.plan, optimizer=optimizer)  # momentum comes along
    for epoch in range(soft, epochs):
        train_epoch(small, optimizer, images, labels)
        print(f"Epoch {epoch + 1}: {accuracy(small, *test):.1f} % with the compact network")
    print(prunus.trace(small, images[:1]).cost())
    return small


if __name__ == "__main__":
    main()
