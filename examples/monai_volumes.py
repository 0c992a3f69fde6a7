"""MONAI: prune a 3-D U-Net of theirs on volumes, with its Dice loss.

Needs `monai`.
"""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor, nn

import prunus
from prunus.tasks import MeanIoU
from prunus.training import TrainConfig

SIDE, BATCH = 16, 4  # voxels, volumes


def volumes(batches: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Noise (batch, 1, SIDE, SIDE, SIDE) with a bright ball, and where that is (batch, SIDE, SIDE, SIDE)."""
    draw = torch.Generator().manual_seed(seed)
    places = torch.stack(torch.meshgrid(*[torch.arange(SIDE)] * 3, indexing="ij"))
    found = []
    for _ in range(batches):
        middle = torch.randint(5, SIDE - 5, (BATCH, 3, 1, 1, 1), generator=draw)
        masks = (places - middle).float().norm(dim=1) < 4
        images = torch.randn(BATCH, SIDE, SIDE, SIDE, generator=draw) * 0.3 + masks
        found.append((images[:, None], masks.long()))
    return found


def network() -> nn.Module:
    """A residual U-Net in three dimensions."""
    return UNet(3, 1, 2, channels=(16, 32, 64), strides=(2, 2), num_res_units=1, norm="batch")


def loss_of() -> nn.Module:
    """Their loss, of masks without an axis for the classes."""
    theirs = DiceCELoss(to_onehot_y=True, softmax=True)

    class Loss(nn.Module):
        """(outputs, masks) -> mean loss."""

        def forward(self, outputs: Tensor, masks: Tensor) -> Tensor:
            """Of outputs (batch, classes, D, H, W) and masks (batch, D, H, W)."""
            found: Tensor = theirs(outputs, masks[:, None])
            return found

    return Loss()


def main(batches: int = 20, epochs: int = 6) -> nn.Module:
    """Train, prune to half the MACs, tune, save and load again."""
    torch.manual_seed(0)
    parts = [volumes(max(batches // n, 1), n) for n in (1, 4, 5)]
    task = prunus.Task(*parts, loss=loss_of(), metric=MeanIoU(), classes=("ground", "ball"))
    model = network()
    config = TrainConfig(epochs=epochs, lr=0.005, optimizer="adam")
    task.fit(model, config)
    outcome = prunus.shrink(model, task, macs=0.5, config=config)
    for step in outcome.steps:
        print(f"{step.step}: {step.value:.1f} % mean IoU")
    print(f"{outcome.before.macs:,} MACs before, {outcome.plan.after.macs:,} after")
    prunus.save(outcome.model, "small.safetensors")
    return prunus.load("small.safetensors", network)


if __name__ == "__main__":
    main()
