"""Paper A on CIFAR-10: training time and accuracy with critical data, with soft filter pruning, with both, and with their controls.

    python -m benchmarks.twofold --data DIR [--network resnet20] [--epochs 16] [--seeds 3] [--only PATTERN] [--table]

Every variant is trained from scratch with every seed; a row is written as soon as it is there, and a run that is broken off
goes on where it was. Accuracies are of the last epoch on the test set, by which nothing is chosen. The defaults are for two
cores without a GPU; with one, `--network resnet56 --epochs 200` and so on.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import RESULTS, command, describe, save
from benchmarks.twofold_table import table
from prunus import data, models
from prunus.data import ImageData
from prunus.methods.one_shot import Material
from prunus.methods.soft import SoftPruning
from prunus.methods.twofold import twofold
from prunus.selection import (
    Aggregated,
    EasyDropped,
    Points,
    Random,
    Scheduled,
    aggregate,
    area,
    critical,
    fixed_ratio,
    mean_division,
    principal_components,
)
from prunus.training import Curriculum, TrainConfig, evaluate

RESULT = RESULTS / "twofold.json"
RATE = 0.3
CLASSES = 10


@dataclass(frozen=True)
class Variant:
    """A way to train: the part of the full number of epochs, what chooses the samples, and the pruning rate."""

    epochs: float = 1.0
    curriculum: Callable[[Selected], Curriculum] | None = None
    rate: float = 0.0


class Selected:
    """What the curricula of one training are made of; the time for aggregated points counts to it."""

    def __init__(self, images: ImageData, seed: int) -> None:
        self.images, self.seed, self.seconds = images, seed, 0.0
        self.labels = images.train.labels.numpy()
        self._points: Points | None = None

    def points(self) -> Points:
        """Coarse and fine points as in the paper: subsets of 100, 30 % fine points."""
        if self._points is None:
            start = time.perf_counter()
            samples = self.images.train.images.numpy()
            subsets = aggregate(self.labels, principal_components(samples, 16))
            self._points = Points(samples, subsets, self.images.normalise)
            self.seconds = time.perf_counter() - start
        return self._points


def by_points(rule: Any, selected: Selected, **options: Any) -> Curriculum:
    """Aggregated points under a rule."""
    return Scheduled(Aggregated(selected.points(), rule), selected.labels, seed=selected.seed, **options)


def by_chance(keep: float, selected: Selected, **options: Any) -> Curriculum:
    """The control: a part of the samples by chance."""
    return Scheduled(Random(len(selected.labels), keep, selected.seed), selected.labels, **options)


def by_loss(drop: float, selected: Selected, **options: Any) -> Curriculum:
    """In the manner of InfoBatch."""
    return Scheduled(EasyDropped(len(selected.labels), drop, selected.seed), selected.labels, **options)


def half(effects: Any, subsets: Any, fine: Any) -> Any:
    """SlimML's fixed ratio at one half."""
    return fixed_ratio(effects, subsets, 0.5)


def above_mean(effects: Any, subsets: Any, fine: Any) -> Any:
    """SlimML's mean division."""
    return mean_division(effects, subsets, 1.0)


def half_area(effects: Any, subsets: Any, fine: Any) -> Any:
    """SlimML's area rule at one half."""
    return area(effects, subsets, 0.5)


VARIANTS: dict[str, Variant] = {
    "all data": Variant(),
    "all data, half the epochs": Variant(epochs=0.5),
    "random half": Variant(curriculum=partial(by_chance, 0.5, warmup=1)),
    "paper's rule": Variant(curriculum=partial(by_points, critical, warmup=1)),
    "fixed ratio 0.5": Variant(curriculum=partial(by_points, half, warmup=1)),
    "mean division": Variant(curriculum=partial(by_points, above_mean, warmup=1)),
    "area 0.5": Variant(curriculum=partial(by_points, half_area, warmup=1)),
    "easy dropped 0.5": Variant(curriculum=partial(by_loss, 0.5, annealing=0.125)),
    "easy dropped 0.5, half the epochs": Variant(epochs=0.5, curriculum=partial(by_loss, 0.5, annealing=0.125)),
    "soft pruning": Variant(rate=RATE),
    "soft pruning, half the epochs": Variant(epochs=0.5, rate=RATE),
    "soft pruning, paper's rule": Variant(curriculum=partial(by_points, critical, warmup=1), rate=RATE),
    "soft pruning, easy dropped 0.5": Variant(curriculum=partial(by_loss, 0.5, annealing=0.125), rate=RATE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="*", help="variants to run, with wildcards")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = parser.parse_args()
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": []}
    if not options.table:
        images = data.load("cifar10", options.data)
        chosen = [name for name in VARIANTS if fnmatch.fnmatch(name, options.only)]
        for seed in range(options.seeds):
            for name in chosen:
                run(result, images, name, seed, options.network, options.epochs)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def run(result: dict[str, Any], images: ImageData, name: str, seed: int, network: str, epochs: int) -> None:
    """One training, unless it has a row already."""
    key = {"variant": name, "network": network, "epochs": epochs, "seed": seed}
    if any(all(row[k] == v for k, v in key.items()) for row in result["rows"]):
        return
    row = key | measured(images, VARIANTS[name], seed, network, epochs)
    result["rows"].append(row)
    result |= {"command": command("benchmarks.twofold"), "environment": describe("numpy")}
    save(RESULT, result)
    print(f"{name}, seed {seed}: {row['accuracy']:.2f} % in {row['seconds']:.0f} s, {row['samples']:.0%} of the samples", flush=True)


def measured(images: ImageData, variant: Variant, seed: int, network: str, epochs: int) -> dict[str, Any]:
    """Train, and measure time and accuracy."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    model = models.build(network, num_classes=CLASSES).to(device)
    config = TrainConfig(
        epochs=max(1, round(variant.epochs * epochs)),
        batch_size=128,
        lr=0.1,
        weight_decay=5e-4,
        schedule="onecycle",
        precision="bfloat16",
        channels_last=True,
        augment="crop-flip",
        seed=seed,
    )
    example = torch.zeros(1, *images.image_shape, device=device)
    selected = Selected(images, seed)
    start = time.perf_counter()
    trained = twofold(
        model,
        Material(images.train, images.test, images.normalise),
        config,
        pruning=SoftPruning(example, variant.rate) if variant.rate else None,
        curriculum=variant.curriculum(selected) if variant.curriculum else None,
    )
    seconds = trained.seconds["training"] + selected.seconds
    history, outcome = trained.history, trained.outcome
    final = outcome.steps[-1].value if outcome else evaluate(model, images.test, images.normalise).accuracy
    return {
        "accuracy": final,
        "steps": [[step.step, step.value] for step in outcome.steps] if outcome else [],
        "relative_error": outcome.verification.relative if outcome else None,
        "macs_left": outcome.plan.after.macs / outcome.plan.before.macs if outcome else 1.0,
        "seconds": seconds,
        "choosing_seconds": sum(epoch.choosing_seconds for epoch in history.epochs) + selected.seconds,
        "samples": float(np.mean([epoch.samples for epoch in history.epochs])) / len(images.train),
        "trained_epochs": len(history.epochs),
        "wall_seconds": time.perf_counter() - start,
    }


if __name__ == "__main__":
    main()
