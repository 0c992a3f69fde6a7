"""One-shot pruning without training, at equal MACs: which layers become how narrow, beside scores and
compensations.

    python -m benchmarks.one_shot --data DIR --network resnet56 --weights FILE [--macs 0.5 0.25] [--seeds 3]
        [--only PATTERN ...] [--cache DIR]

The seeds choose the calibration samples. Batch norms are estimated anew where held-out training samples
agree, as `prunus prune` does it; nothing else is chosen by them, and nothing by the test samples. Beside our
ways stand the field's (`benchmarks.folding`): clusters of filters folded into their means, and variances
repaired channel by channel. "reconstruction, global, refit" is the optimal brain surgeon for channels, whose
errors are compared over the whole network. A row is written as soon as it is there; rows that exist are not
measured again. With `--network torchvision/mobilenet_v2` DIR holds one image of every class of ImageNet; with
`--network unet` pictures and masks, and FILE is the base.safetensors of a fold of `benchmarks.segmentation`.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prunus
from benchmarks.environment import RESULTS
from benchmarks.folding import clustered, folded, repaired
from benchmarks.methods import SCORES, compensated
from benchmarks.methods_subjects import Subject, subject
from benchmarks.one_shot_pictures import UNET, PictureSubject, unet
from benchmarks.one_shot_table import table
from benchmarks.rows import Row, add, kept, measured_before, record
from prunus.methods.sensitivity import sensitivity_of
from prunus.paint.graph import ChannelGraph
from prunus.planning.targets import Scope
from prunus.tasks.inputs import Inputs
from prunus.tasks.task import Part
from prunus.training import Calibration, recalibrate

RESULT = RESULTS / "one_shot.json"
Network = Subject | PictureSubject
FOLDING = "folding"


@dataclass(frozen=True)
class Way:
    """A score, how much goes of which layer, and what makes up for it."""

    score: str
    scope: Scope
    compensation: str

    def __str__(self) -> str:
        return f"{self.score}, {self.scope}, {self.compensation}"


WAYS = [
    Way("reconstruction", "measured", "refit"),
    Way("reconstruction", "uniform", "refit"),
    Way("reconstruction", "global", "refit"),
    Way("l1 norm", "measured", "refit"),
    Way("l1 norm", "uniform", "refit"),
    Way("l1 norm", "global", "refit"),
    Way("l1 norm", "uniform", "means"),
    Way("l1 norm", "uniform", "none"),
    Way("similarity", "uniform", "merge"),
    Way("similarity", "measured", "merge"),
    Way("reconstruction", "measured", "none"),
    # the field's: variances repaired, and folding, whose widths are those of the l1 norm
    Way("l1 norm", "uniform", "none, repaired"),
    Way("reconstruction", "uniform", "refit, repaired"),
    Way("reconstruction", "measured", "refit, repaired"),
    Way("similarity", "uniform", "merge, repaired"),
    Way(FOLDING, "uniform", "fold"),
    Way(FOLDING, "uniform", "fold, repaired"),
    Way(FOLDING, "measured", "fold, repaired"),
]
REPAIRED = ", repaired"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10, or with the images")
    parser.add_argument("--called", default="CIFAR-10", help="what the tables call the data")
    parser.add_argument("--network", default="resnet56")
    parser.add_argument("--weights", type=Path, default=Path(), help="of the network")
    parser.add_argument("--macs", type=float, nargs="+", default=[0.5], help="shares that are left")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=["*"], help="'score, scope, compensation', wildcards")
    parser.add_argument("--cache", type=Path, help="folder for scores and losses, which several rows share")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = parser.parse_args()
    options.validation = False
    result = kept(RESULT)
    if not options.table:
        torch.set_num_threads(options.threads)
        what = unet(options) if options.network == UNET else subject(options)
        for seed, macs, way in product(options.seeds, options.macs, WAYS):
            if any(fnmatch.fnmatch(str(way), pattern) for pattern in options.only):
                run(result, options, what, way, macs, seed)
    result = kept(RESULT)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def run(result: Row, options: argparse.Namespace, what: Network, way: Way, macs: float, seed: int) -> None:
    """One row, unless it is there already."""
    where = {"data": options.called, "network": options.network, "weights": options.weights.name}
    key = where | {
        "macs": macs,
        "score": way.score,
        "scope": way.scope,
        "compensation": way.compensation,
        "seed": seed,
    }
    if measured_before(kept(RESULT), key):
        return
    row = key | measured(options, what, way, macs, seed)
    row["accuracy"] = {"dense": dense_accuracy(kept(RESULT), where, what)} | row["accuracy"]
    add(RESULT, result, row, record("benchmarks.one_shot", "numpy", "scikit-learn", seed=seed))
    print(f"{options.network}, {macs:.0%}, {way}, seed {seed}: {row['accuracy']}", flush=True)


def dense_accuracy(result: Row, where: Row, what: Network) -> float:
    """Of the network before, from an earlier row if there is one."""
    for row in result["rows"]:
        if all(row[name] == value for name, value in where.items()):
            return float(row["accuracy"]["dense"])
    return accuracy(what.model, what)


def accuracy(network: nn.Module, what: Network, part: Part = "test") -> float:
    """On the samples that are reported on, in percent."""
    return round(what.task.value(network, part), 2)


def recalibrated(network: nn.Module, what: Network, seed: int) -> nn.Module:
    """A copy with batch-norm statistics of training samples."""
    again = copy.deepcopy(network)
    if isinstance(what, Subject):
        recalibrate(again, what.calibration, what.task.normalisation, seed=seed)
    else:
        replace(what.task, validation=None).recalibrate(again)
    return again


def measured(options: argparse.Namespace, what: Network, way: Way, macs: float, seed: int) -> Row:
    """Prune, and measure."""
    graph, task = prunus.trace(what.model, what.example), what.task
    inputs = task.calibration(seed=seed)
    started = time.process_time()
    score = "l1 norm" if way.score == FOLDING else way.score
    worth = cached(options, score, seed, lambda: SCORES[score](graph, inputs, seed))
    scored = time.process_time()
    losses = None
    if way.scope == "measured":
        losses = cached(options, f"{score}-losses", seed, lambda: sensitivity_of(task, graph, worth, seed))
    planned = time.process_time()
    plan = prunus.plan(graph, worth, macs=macs, scope=way.scope, losses=losses)
    small, plan = made(what, way, plan, graph, inputs, seed)
    fitted = time.process_time()
    again = recalibrated(small, what, seed)
    held = {
        name: accuracy(one, what, "validation")
        for name, one in (("compensated", small), ("recalibrated", again))
    }
    better = held["recalibrated"] >= held["compensated"]
    return {
        "macs_left": plan.after.macs / plan.before.macs,
        "params_left": plan.after.params / plan.before.params,
        "held_out": held,
        "recalibrated": better,
        "samples": task.count("test"),
        "metric": task.metric_name,
        "cpu_seconds": {  # next to none of what was in the cache
            "scores": round(scored - started, 1),
            "losses": round(planned - scored, 1),
            "plan and compensation": round(fitted - planned, 1),
        },
        "accuracy": {"small": accuracy(again if better else small, what)},
    }


def made(
    what: Network, way: Way, plan: prunus.Plan, graph: ChannelGraph, inputs: Calibration | Inputs, seed: int
) -> tuple[nn.Module, prunus.Plan]:
    """The small network, and which channels went, where that is not the plan's choice but its number."""
    base, clusters = way.compensation.removesuffix(REPAIRED), None
    if way.score == FOLDING:
        clusters = clustered(graph, plan, seed)
        plan = clusters.plan
        fitted = folded(what.model, graph, clusters)
    else:
        fitted = compensated(base, what.model, plan, graph, inputs)
    if way.compensation.endswith(REPAIRED):
        fitted = repaired(what.model, fitted, plan, inputs, clusters)
    return prunus.compact(fitted, plan).eval(), plan


def cached(options: argparse.Namespace, name: str, seed: int, make: Callable[[], Any]) -> Any:
    """What was made before of the same network, calibration samples and name."""
    if options.cache is None:
        return make()
    options.cache.mkdir(parents=True, exist_ok=True)
    spoken = f"{options.network.replace('/', '-')}-{seed}-{name.replace(' ', '-')}.pt"
    file: Path = options.cache / spoken
    if not file.exists():
        torch.save(make(), file)
    return torch.load(file, weights_only=False)  # written here


if __name__ == "__main__":
    main()
