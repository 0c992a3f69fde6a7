"""One-shot pruning of pretrained networks: every score with every compensation, at the same rates, without and with equal fine-tuning.

    python -m benchmarks.methods --data DIR --network resnet20 --weights FILE [--rates 0.3 0.5] [--seeds 3] [--epochs 0] [--only PATTERN]

Of every block the inner filters go, the same fraction in each, as in the papers. The seeds choose the calibration samples (and the order of the
fine-tuning). Accuracies are on the test set, by which nothing is chosen: with --validation a tenth of the training samples is held out, and the
accuracies are those on it. A row is written as soon as it is there; rows that exist are not measured again.
"""

from __future__ import annotations

import argparse
import fnmatch
import math
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import prunus
from benchmarks.environment import RESULTS
from benchmarks.methods_table import table
from benchmarks.rows import add, kept, measured_before
from benchmarks.twofold import IMAGENET
from prunus import data, models, scores
from prunus.channels import ChannelGraph
from prunus.compensation import merge, refit, restore_means
from prunus.data import Split
from prunus.models import load_weights
from prunus.training import Calibration, TrainConfig, evaluate, recalibrate, train

RESULT = RESULTS / "methods.json"
INNER = "*.conv1"  # the first convolution of every block of a CIFAR ResNet
Score = Callable[[ChannelGraph, Calibration, int], Tensor]

SCORES: dict[str, Score] = {
    "l1 norm": lambda graph, inputs, seed: scores.norm(graph, 1, "producer"),
    "batch-norm scale": lambda graph, inputs, seed: scores.bn_scale(graph),
    "geometric median": lambda graph, inputs, seed: scores.geometric_median(graph),
    "Taylor": lambda graph, inputs, seed: scores.taylor(graph, inputs.pairs(), nn.functional.cross_entropy),
    "mean activation": lambda graph, inputs, seed: scores.activation_mean(graph, inputs),
    "ThiNet": lambda graph, inputs, seed: scores.thinet(graph, inputs),
    "LASSO": lambda graph, inputs, seed: scores.lasso(graph, inputs),
    "similarity": lambda graph, inputs, seed: scores.similarity(graph).scores,
    "similarity of inputs": lambda graph, inputs, seed: scores.similarity(graph, "empirical", inputs).scores,
    "reconstruction": lambda graph, inputs, seed: scores.reconstruction(graph, inputs),
    "random": lambda graph, inputs, seed: scores.random(graph, seed),
}
COMPENSATIONS = ("none", "means", "merge", "refit")
_DENSE: dict[str, float] = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument("--called", default="CIFAR-10", help="what the tables call the data, for files that are not the originals")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--weights", type=Path, default=Path(), help="of the network")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="of fine-tuning")
    parser.add_argument("--only", default="*", help="'score + compensation' to run, with wildcards")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    parser.add_argument("--validation", action="store_true", help="measure on a tenth of the training samples, for choices")
    options = parser.parse_args()
    result = kept(RESULT)
    if not options.table:
        images = data.load("cifar10", options.data)
        held = images.hold_out(0.1) if options.validation else (images.train, images.test)
        for seed, rate, name, compensation in product(range(options.seeds), options.rates, SCORES, COMPENSATIONS):
            if fnmatch.fnmatch(f"{name} + {compensation}", options.only):
                run(result, options, held, name, compensation, rate, seed)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def run(result: dict[str, Any], options: argparse.Namespace, held: tuple[Split, Split], name: str, compensation: str, rate: float, seed: int) -> None:
    """One row, unless it is there already."""
    key = {
        "data": options.called,
        "network": options.network,
        "weights": options.weights.name,
        "rate": rate,
        "epochs": options.epochs,
        "measured_on": "validation" if options.validation else "test",
        "score": name,
        "compensation": compensation,
        "seed": seed,
    }
    if measured_before(result, key):
        return
    row = key | measured(options, held, name, compensation, rate, seed)
    add(RESULT, result, row, "benchmarks.methods", "numpy", "scipy", "scikit-learn")
    print(f"{options.network}, {rate:.0%}, {name} + {compensation}, seed {seed}: {row['accuracy']}, {row['seconds']:.0f} s", flush=True)


def measured(options: argparse.Namespace, held: tuple[Split, Split], name: str, compensation: str, rate: float, seed: int) -> dict[str, Any]:
    """Prune, and measure accuracy at every step."""
    train_split, measured_on = held
    model = models.build(options.network, num_classes=10)
    load_weights(model, options.weights)
    model.eval()
    inputs = Calibration(train_split, IMAGENET, seed=seed)

    def accuracy(network: nn.Module) -> float:
        return evaluate(network, measured_on, IMAGENET).accuracy

    graph = prunus.trace(model, torch.zeros(1, 3, 32, 32))
    start = time.perf_counter()
    plan = prunus.plan(graph, SCORES[name](graph, inputs, seed), rate=0.0, rates={INNER: rate})
    small = prunus.compact(compensated(compensation, model, plan, graph, inputs), plan)
    seconds = time.perf_counter() - start
    if options.network not in _DENSE:
        _DENSE[options.network] = accuracy(model)
    removed = accuracy(prunus.compact(model, plan)) if compensation == "none" else math.nan  # the same for all compensations of a score
    steps = {"dense": _DENSE[options.network], "removed": removed, "compensated": accuracy(small) if compensation != "none" else removed}
    recalibrate(small, train_split, IMAGENET, seed=seed)
    steps["recalibrated"] = accuracy(small)
    if options.epochs:
        config = TrainConfig(
            epochs=options.epochs, batch_size=128, lr=0.01, schedule="onecycle", precision="bfloat16", channels_last=True,
            augment="crop-flip", seed=seed,
        )  # fmt: skip
        train(small, train_split, config, normalise=IMAGENET)
        steps["tuned"] = accuracy(small)
    return {
        "accuracy": {step: round(value, 2) for step, value in steps.items() if not math.isnan(value)},
        "macs_left": plan.after.macs / plan.before.macs,
        "seconds": seconds,
    }


def compensated(kind: str, model: nn.Module, plan: prunus.Plan, graph: ChannelGraph, inputs: Calibration) -> nn.Module:
    """The model that is compacted."""
    match kind:
        case "means":
            return restore_means(model, plan, inputs)
        case "merge":
            into, scales = scores.similarity(graph).representatives(plan, graph)
            return merge(model, plan, into, scales)
        case "refit":
            return refit(model, plan, inputs)
    return model


if __name__ == "__main__":
    main()
