"""One-shot pruning of pretrained networks: every score with every compensation, at the same rates, without
and with equal fine-tuning.

    python -m benchmarks.methods --data DIR --network resnet20 --weights FILE [--rates 0.3 0.5] [--seeds
        3] [--epochs 0] [--only PATTERN ...]

Of every block the inner filters go, the same fraction in each, as in the papers. The seeds choose the
calibration samples (and the order of the fine-tuning). Accuracies are on the test set, by which nothing is
chosen: with --validation a tenth of the training samples is held out, and the accuracies are those on it. A
row is written as soon as it is there; rows that exist are not measured again. With `--network
torchvision/mobilenet_v2` DIR holds one image of every class of ImageNet.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import prunus
from benchmarks.environment import RESULTS, precision
from benchmarks.methods_subjects import IMAGENET, Subject, subject
from benchmarks.methods_table import table
from benchmarks.rows import add, kept, measured_before, record
from prunus import scores
from prunus.compensation import merge, refit, restore_means
from prunus.paint.graph import ChannelGraph
from prunus.tasks.inputs import Inputs
from prunus.training import Calibration, TrainConfig, evaluate, recalibrate, train

RESULT = RESULTS / "methods.json"
Score = Callable[[ChannelGraph, Calibration | Inputs, int], Tensor]

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10, or with the images")
    parser.add_argument(
        "--called",
        default="CIFAR-10",
        help="what the tables call the data, for files that are not the originals",
    )
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--weights", type=Path, default=Path(), help="of the network")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="of fine-tuning")
    parser.add_argument(
        "--only", nargs="+", default=["*"], help="'score + compensation' to run, with wildcards"
    )
    parser.add_argument("--untimed", action="store_true", help="keep no times: other work runs beside")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    parser.add_argument(
        "--validation", action="store_true", help="measure on a tenth of the training samples, for choices"
    )
    options = parser.parse_args()
    result = kept(RESULT)
    if not options.table:
        what = subject(options)
        dense = evaluate(what.model, what.measured, IMAGENET).accuracy
        for seed, rate, name, compensation in product(
            range(options.seeds), options.rates, SCORES, COMPENSATIONS
        ):
            if any(fnmatch.fnmatch(f"{name} + {compensation}", pattern) for pattern in options.only):
                run(result, options, what, dense, name, compensation, rate, seed)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def run(
    result: dict[str, Any],
    options: argparse.Namespace,
    what: Subject,
    dense: float,
    name: str,
    compensation: str,
    rate: float,
    seed: int,
) -> None:
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
    row = key | measured(what, options.epochs, name, compensation, rate, seed)
    row["accuracy"] = {"dense": round(dense, 2)} | row["accuracy"]
    if options.untimed:
        del row["seconds"]
    add(RESULT, result, row, record("benchmarks.methods", "numpy", "scipy", "scikit-learn", seed=seed))
    print(
        f"{options.network}, {rate:.0%}, {name} + {compensation}, seed {seed}: {row['accuracy']}", flush=True
    )


def measured(
    what: Subject, epochs: int, name: str, compensation: str, rate: float, seed: int
) -> dict[str, Any]:
    """Prune, and measure accuracy at every step."""
    inputs = Calibration(what.calibration, IMAGENET, seed=seed)

    def accuracy(network: nn.Module) -> float:
        return round(evaluate(network, what.measured, IMAGENET).accuracy, 2)

    graph = prunus.trace(what.model, what.example)
    start = time.perf_counter()
    plan = prunus.plan(
        graph, SCORES[name](graph, inputs, seed), rate=0.0, rates=dict.fromkeys(what.inner, rate)
    )
    small = prunus.compact(compensated(compensation, what.model, plan, graph, inputs), plan)
    seconds = time.perf_counter() - start
    held = evaluate(small, what.held, IMAGENET).accuracy
    steps = {"compensated" if compensation != "none" else "removed": accuracy(small)}
    compensated_only = copy.deepcopy(small)
    recalibrate(small, what.calibration, IMAGENET, seed=seed)
    steps["recalibrated"] = accuracy(small)
    better = evaluate(small, what.held, IMAGENET).accuracy >= held  # as `prunus prune` decides
    steps["by held-out"] = steps["recalibrated"] if better else next(iter(steps.values()))
    small = small if better else compensated_only
    if epochs:
        config = TrainConfig(
            epochs=epochs,
            batch_size=128,
            lr=0.01,
            schedule="onecycle",
            precision=precision(),
            channels_last=True,
            augment="crop-flip",
            seed=seed,
        )
        train(small, what.calibration, config, normalise=IMAGENET)
        steps["tuned"] = accuracy(small)
    return {"accuracy": steps, "macs_left": plan.after.macs / plan.before.macs, "seconds": seconds}


def compensated(
    kind: str, model: nn.Module, plan: prunus.Plan, graph: ChannelGraph, inputs: Calibration | Inputs
) -> nn.Module:
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
