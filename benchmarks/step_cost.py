"""What a step costs after filters were removed in the middle of a training, beside a network that was built
with these widths, and beside the dense one.

    python -m benchmarks.step_cost [--networks lenet5 resnet20] [--images 12800] [--rounds 5]

Each round trains the dense network for two epochs, removes filters to half of its MACs, and trains what is
left for two more, in one training; then a network of the same shape for two epochs from new weights. Times
are of the process, on one thread, of the second epoch of each; the result is the median of their ratios over
the rounds. Images are random: speed does not depend on what they show. Rows of other networks stay.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.environment import RESULTS
from benchmarks.frontier_training import Subject, softly
from benchmarks.recipe import settings
from benchmarks.rows import Row, kept, middle, record, signed, write
from prunus.data import Split
from prunus.methods.common import Journal
from prunus.methods.twofold import twofold
from prunus.tasks import Task
from prunus.training import EpochRecord

RESULT = RESULTS / "step_cost.json"
SHAPES = {"lenet5": (1, 28, 28), "resnet20": (3, 32, 32)}
EACH = 2  # epochs on either side of the removal: the first warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for row in kept(RESULT)["rows"] if row["network"] not in options.networks]
    for name in options.networks:
        rows.append(signed(measured(name, options), record("benchmarks.step_cost", seed=0)))
        write(RESULT, rows)
        print(name, rows[-1]["after_over_small"], rows[-1]["small_over_dense"], flush=True)


def measured(network: str, options: argparse.Namespace) -> Row:
    """Rounds of one network."""
    subject = made(network, options.images)
    rounds = [(*removed(subject), built(subject)) for _ in range(options.rounds)]
    return {
        "network": network,
        "images": options.images,
        "macs_left": round(subject.small(0)[1], 4),
        "dense_seconds": [round(dense, 3) for dense, _, _ in rounds],
        "after_seconds": [round(after, 3) for _, after, _ in rounds],
        "small_seconds": [round(small, 3) for _, _, small in rounds],
        "after_over_small": middle([after / small for _, after, small in rounds]),
        "small_over_dense": middle([small / dense for dense, _, small in rounds]),
    }


def made(network: str, count: int) -> Subject:
    """Random images, and what is trained on them."""
    shape, generator = SHAPES[network], torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.randint(10, (count,), generator=generator))
    normalise = ((0.5,) * shape[0], (0.25,) * shape[0])
    task = Task(split, test=split.subset(torch.arange(min(count, 128))), normalise=normalise)
    return Subject(task, network, "crop", shape, 2 * EACH)


def removed(subject: Subject) -> tuple[float, float]:
    """Seconds of an epoch before and after the removal."""
    seconds = trained(subject, subject.dense(0), 2 * EACH, pruned=True)
    return seconds[EACH - 1], seconds[-1]


def built(subject: Subject) -> float:
    """Seconds of an epoch of a network that is small from the start."""
    return trained(subject, subject.small(0)[0], EACH, pruned=False)[-1]


def trained(subject: Subject, network: torch.nn.Module, epochs: int, *, pruned: bool) -> list[float]:
    """Seconds of the process for each epoch."""
    moments = [time.process_time()]

    def told(step: str, epoch: EpochRecord) -> None:
        moments.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        twofold(
            network,
            subject.task,
            pruning=softly(subject) if pruned else None,
            config=settings(epochs, 0.05, 0, augment=subject.augment),
            journal=Journal(Path(folder) / "training", math.inf, on_epoch=told),
        )
    return [after - before for before, after in itertools.pairwise(moments)]


if __name__ == "__main__":
    main()
