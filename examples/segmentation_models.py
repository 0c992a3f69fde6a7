"""segmentation-models-pytorch: prune a U-Net of theirs, encoder and decoder, for masks of one's own.

Needs `segmentation-models-pytorch`.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

import prunus
from prunus.tasks import MeanIoU
from prunus.training import TrainConfig

SIDE, BATCH = 64, 8  # pixels, pictures


def pictures(batches: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Noisy pictures (batch, 3, SIDE, SIDE) with a red disc and a green square, and their masks (batch, SIDE,
    SIDE): 1 is the disc, 2 the square.
    """
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    found = []
    for _ in range(batches):
        images = torch.randn(BATCH, 3, SIDE, SIDE, generator=draw) * 0.2
        masks = torch.zeros(BATCH, SIDE, SIDE, dtype=torch.int64)
        for label in (1, 2):
            y, x = torch.randint(12, SIDE - 12, (2, BATCH, 1, 1), generator=draw)
            apart = torch.stack([(rows - y).abs(), (columns - x).abs()]).float()
            inside = (apart.norm(dim=0) if label == 1 else apart.amax(0)) < 10
            masks[inside] = label
            images[:, label - 1][inside] += 1
        found.append((images, masks))
    return found


def network() -> nn.Module:
    """Their U-Net; with `encoder_weights="imagenet"` its encoder is a trained one."""
    return smp.Unet("resnet18", encoder_weights=None, decoder_channels=(64, 48, 32, 16, 16), classes=3)


def main(batches: int = 24, epochs: int = 6) -> nn.Module:
    """Train, prune to half the MACs, tune, save and load again."""
    torch.manual_seed(0)
    parts = [pictures(max(batches // n, 1), n) for n in (1, 4, 5)]
    names = ("ground", "disc", "square")
    task = prunus.Task(*parts, loss=nn.functional.cross_entropy, metric=MeanIoU(), classes=names)
    model = network()
    config = TrainConfig(epochs=epochs, lr=0.002, optimizer="adam")
    task.fit(model, config)
    # the usual score looks at what layers compute, which takes minutes where they have 512 channels
    outcome = prunus.shrink(model, task, macs=0.5, score="norm-l2", config=config)
    for step in outcome.steps:
        print(f"{step.step}: {step.value:.1f} % mean IoU")
    print(f"{outcome.before.macs:,} MACs before, {outcome.plan.after.macs:,} after")
    prunus.save(outcome.model, "small.safetensors")
    return prunus.load("small.safetensors", network)


if __name__ == "__main__":
    main()
