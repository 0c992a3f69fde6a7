"""Lightning: a callback prunes the network of a LightningModule while it trains, and leaves the compact one.

Needs the extra `lightning` (either `lightning` or `pytorch-lightning`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

try:
    import lightning.pytorch as pl
except ImportError:
    import pytorch_lightning as pl

import prunus
from prunus.integrations.lightning import PruningCallback
from prunus.methods.soft import SoftPruning


def loader(part: str) -> DataLoader[Any]:
    """Batches of digits (batch, 1, 8, 8) and their classes."""
    split = getattr(prunus.data.load("digits"), part)
    data = TensorDataset(split.images.float() / 255, split.labels)
    return DataLoader(data, batch_size=64, shuffle=part == "train")


class Digits(pl.LightningModule):
    """An ordinary module of Lightning: it knows nothing of pruning."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((1, 24), (24, 48), (48, 48))
        steps = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in sizes]
        self.net = nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:  # noqa: D102
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # noqa: D102
        right = self.net(batch[0]).argmax(1) == batch[1]
        self.log("accuracy", 100 * right.float().mean(), batch_size=len(right))

    def configure_optimizers(self) -> torch.optim.Optimizer:  # noqa: D102
        return torch.optim.Adam(self.parameters(), 0.005)


def main(epochs: int = 8, **options: Any) -> Digits:
    """Train softly pruned, take the compact network, test it, and train it on."""
    pl.seed_everything(0, verbose=False)
    module = Digits()
    callback = PruningCallback(SoftPruning(torch.zeros(1, 1, 8, 8), rate=0.5), "net")
    trainer = pl.Trainer(max_epochs=epochs, callbacks=[callback], **options)
    trainer.fit(module, loader("train"))
    (before,) = trainer.test(module, loader("test"), verbose=False)
    module.net = callback.small  # from here on the module is smaller; nothing else about it is new
    (after,) = trainer.test(module, loader("test"), verbose=False)
    print(f"{before['accuracy']:.1f} % softly pruned, {after['accuracy']:.1f} % without the filters")
    pl.Trainer(max_epochs=max(epochs // 4, 1), **options).fit(module, loader("train"))
    print(prunus.trace(module.net, torch.zeros(1, 1, 8, 8)).cost())
    return module


if __name__ == "__main__":
    main()
