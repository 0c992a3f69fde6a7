"""How fast the training engine is: an epoch of ResNet-20 on CIFAR-shaped images against the best plain
PyTorch loop that we can write.

    python -m benchmarks.training_speed [--images 10000] [--rounds 5]

Both train in bfloat16 and channels-last, on images that lie in memory as bytes, with random shifts and
mirroring. They take turns; the result is the median over the rounds of the ratio of their times. So it is for
the second epoch of the engine's own, compiled by `torch.compile` and not; what compiling takes, where
nothing is kept of an earlier run, is told besides. Images are random: speed does not depend on what they
show.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.environment import RESULTS
from benchmarks.rows import middle, record, signed, write
from prunus.data import Split
from prunus.models import resnet20
from prunus.training import TrainConfig, train

BATCH = 128
CONFIG = TrainConfig(
    epochs=1, batch_size=BATCH, lr=0.1, precision="bfloat16", channels_last=True, augment="crop-flip"
)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (options.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.randint(10, (options.images,), generator=generator))
    engine(split), plain(split)  # whatever is loaded on first use
    rounds = [(engine(split), plain(split)) for _ in range(options.rounds)]
    ratios = [theirs / ours for ours, theirs in rounds]
    both = [(two_epochs(split, compiled=False), two_epochs(split, compiled=True)) for _ in rounds]
    result: dict[str, Any] = {
        "images": options.images,
        "engine_seconds": [round(ours, 3) for ours, _ in rounds],
        "plain_seconds": [round(theirs, 3) for _, theirs in rounds],
        "plain_over_engine": middle(ratios),
        "not_compiled_over_compiled": middle([once[1] / other[1] for once, other in both]),
        "seconds_to_compile": round(max(first - second for _, (first, second) in both), 1),
        "seconds_for_50000": round(median(ours for ours, _ in rounds) * 50_000 / options.images, 1),
    }
    write(RESULTS / "training_speed.json", [signed(result, record("benchmarks.training_speed", seed=0))])
    print(result["plain_over_engine"], result["seconds_for_50000"], "s for an epoch of 50,000 images")
    print(result["not_compiled_over_compiled"], result["seconds_to_compile"], "s to compile")


def network() -> nn.Module:
    torch.manual_seed(0)
    return resnet20()


def engine(split: Split) -> float:
    """Seconds of one epoch of ours."""
    model = network()
    start = time.perf_counter()
    train(model, split, CONFIG, normalise=(MEAN, STD))
    return time.perf_counter() - start


def two_epochs(split: Split, compiled: bool) -> tuple[float, float]:
    """Seconds of the first epoch, in which a network is compiled, and of the second."""
    torch.compiler.reset()
    history = train(network(), split, replace(CONFIG, epochs=2, compile=compiled), normalise=(MEAN, STD))
    first, second = (epoch.seconds for epoch in history.epochs)
    return first, second


def plain(split: Split) -> float:
    """Seconds of one epoch of a loop without anything that is not needed."""
    model = network().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scale, shift = (
        (1 / (255 * torch.tensor(STD))).view(3, 1, 1),
        (-torch.tensor(MEAN) / torch.tensor(STD)).view(3, 1, 1),
    )
    start = time.perf_counter()
    for part in torch.randperm(len(split)).split(BATCH):
        images = (moved(split.images[part]).float() * scale + shift).contiguous(
            memory_format=torch.channels_last
        )
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), split.labels[part])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def moved(images: Tensor) -> Tensor:
    """Each image shifted by up to four pixels over black and mirrored by chance: one gather."""
    count = len(images)
    padded = F.pad(images, (4, 4, 4, 4)).permute(0, 2, 3, 1)
    rows = torch.randint(9, (count, 1)) + torch.arange(32)
    columns = torch.randint(9, (count, 1)) + torch.arange(32)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


if __name__ == "__main__":
    main()
