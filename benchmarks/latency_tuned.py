"""Plans for a latency judged by accuracy: beside budgets of MACs that are measured to be as quick, refitted,
and after equal tuning.

    python -m benchmarks.latency_tuned plan --data DIR --weights FILE --models DIR [--network resnet56]
        [--share 0.5]
    python -m benchmarks.latency_tuned tune --data DIR --weights FILE --models DIR [--network resnet56]
        [--seeds 3] [--tune-epochs 5]

`plan` fine-tunes the public weights on nine tenths of the training samples (not those of ImageNet's networks,
whose DIR holds one image of every class), makes a plan for a share of the measured latency, and finds
the largest budgets of MACs that are as quick, all in turns on one thread; it wants a quiet machine. What is
left is refitted on training samples, judged on test samples, and kept in --models. `tune` trains all of them
equally, with as many seeds as it is told; nothing is timed then. Channels are ranked by their l2 norms; how
much goes of which layer is chosen by what it loses with each of them narrower, measured, and beside that by
norms that are compared between layers.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import nn

import prunus
from benchmarks import methods_subjects, tuned
from benchmarks.environment import RESULTS
from benchmarks.latency import RIVALS, about, as_quick
from benchmarks.latency_tuned_table import AS_IT_IS, BY_NORMS, MEASURED, PLAN, table
from benchmarks.methods_subjects import IMAGENET, MOBILENET
from benchmarks.rows import Row, add, kept, measured_before, record
from benchmarks.stages import CLASSES, Material, add_training, dense_of, key_of, place
from prunus import models, scores, storage
from prunus.compensation import refit
from prunus.measure.machine import Here
from prunus.measure.shapes import timed_layers
from prunus.methods.sensitivity import sensitivity_of
from prunus.planning.width_search import Clocked
from prunus.plans.plan import Plan
from prunus.tasks import Task
from prunus.training import Calibration, recalibrate_if_better

RESULT = RESULTS / "latency_tuned.json"
KEY = ("called", "network", "epochs", "lr", "share")


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part != "table":
        dense, samples = subject(options)
        if options.part == "plan":
            plan(result, options, dense, samples)
        else:
            tune(result, options, dense, samples)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("plan", "tune", "table"))
    add_training(parser)
    parser.add_argument("--share", type=float, default=0.5, help="of the dense network's latency")
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0")
    parser.add_argument("--tune-epochs", type=int, default=5, help="of every small network")
    parser.add_argument("--tune-lr", type=float, default=0.05, help="peak learning rate of these")
    parser.set_defaults(seed=0, rewind=0, taught=False, choosing=False, validation=False, compile=False)
    parser.set_defaults(network="resnet56", optimizer="sgd")
    return parser.parse_args()


def subject(options: argparse.Namespace) -> tuple[nn.Module, Material]:
    """The dense network and its samples."""
    if options.network != MOBILENET:
        samples = tuned.material(options)
        return dense_of(options, samples).eval(), samples
    options.epochs, options.lr = 0, 0.0  # as it is
    found = methods_subjects.subject(options)
    samples = Material(found.calibration, found.held, found.measured, IMAGENET, "none", found.example)
    return found.model, samples


def plan(result: Row, options: argparse.Namespace, dense: nn.Module, samples: Material) -> None:
    """Rows of what is as quick, before any tuning."""
    key = key_of(options, KEY) | {"training": AS_IT_IS, "seed": 0}
    if measured_before(result, key):
        return
    before = tuned.accuracy(dense, samples, options)
    for way, (found, reached, milliseconds) in as_quick_as_planned(dense, samples, options.share).items():
        graph = prunus.trace(dense, samples.example)
        inputs = Calibration(samples.train, samples.normalise, seed=0)
        network = prunus.compact(refit(dense, found, inputs), found)
        recalibrate_if_better(network, samples.train, samples.normalise, samples.choosing)
        file = place(options, name_of(way, options))
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.save(network.eval(), file)
        row = key | {"way": way, "latency": reached, "dense_ms": milliseconds}
        row |= about(graph, scores.norm(graph), found) | {"samples": len(samples.measuring)}
        row |= {"accuracy": {"dense": before, "after": tuned.accuracy(network, samples, options)}}
        choosing = argparse.Namespace(**vars(options) | {"choosing": True})
        row["held_out"] = tuned.accuracy(network, samples, choosing)
        add(RESULT, result, row, record("benchmarks.latency_tuned", "onnxruntime", seed=0))


def as_quick_as_planned(
    dense: nn.Module, samples: Material, share: float
) -> dict[str, tuple[Plan, float, float]]:
    """The plans for a latency and the budgets of MACs that are as quick, with their measured share of the
    dense network's time, and that time [ms].
    """
    graph = prunus.trace(dense, samples.example)
    worth, machine = scores.norm(graph), Here("onnxruntime")
    losses = sensitivity_of(Task(samples.train, normalise=samples.normalise), graph, worth)
    layers = timed_layers(graph)
    tables = machine.tables(layers.shapes)
    planned = partial(prunus.plan, graph, worth, latency=share, runtime=machine)
    ours, by_norms = planned(scope="measured", losses=losses), planned(scope="global")
    with machine.stopwatch(dense, torch.randn_like(samples.example)) as timed:
        whole, small, other = timed(*(prunus.compact(dense, one) for one in (ours, by_norms)))
        found = {PLAN: (ours, small / whole, whole), BY_NORMS: (by_norms, other / whole, whole)}
        clocked = Clocked(graph, layers, [tables[shape] for shape in layers.shapes], whole)
        for way, multiple, known in ((MEASURED, 1, losses), *((*rival, None) for rival in RIVALS)):
            rival = as_quick(graph, worth, multiple, small / whole, clocked, timed, known)
            if rival is None:
                print(f"{way}: no budget is as quick", flush=True)
            else:
                found[way] = (*rival, whole)
    return found


def tune(result: Row, options: argparse.Namespace, dense: nn.Module, samples: Material) -> None:
    """Rows after tuning."""
    common = key_of(options, KEY)
    training = f"{options.tune_epochs} epochs at {options.tune_lr:g}"
    begun = [row for row in result["rows"] if row["training"] == AS_IT_IS and fits(row, common)]
    for seed in range(options.seeds):
        for row in begun:
            key = common | {"training": training, "way": row["way"], "seed": seed}
            if measured_before(result, key):
                continue
            network = storage.load(place(options, name_of(row["way"], options)), partial(empty, options))
            tuned.tune(options, samples, dense, name_of(row["way"], options), network, seed)
            new = (
                row
                | key
                | {"accuracy": row["accuracy"] | {"after": tuned.accuracy(network, samples, options)}}
            )
            new.pop("measured")
            add(RESULT, result, new, record("benchmarks.latency_tuned", seed=seed))
            print(f"{options.network}, {row['way']}, seed {seed}: {new['accuracy']}", flush=True)


def fits(row: Row, key: Row) -> bool:
    """Whether a row is of these."""
    return all(row[name] == value for name, value in key.items())


def name_of(way: str, options: argparse.Namespace) -> str:
    """Of a small network's file."""
    return f"{way}-{options.share:g}".replace(" ", "-").replace(",", "")


def empty(options: argparse.Namespace) -> nn.Module:
    """The dense network with random weights."""
    return models.build(options.network, num_classes=1000 if options.network == MOBILENET else CLASSES)


if __name__ == "__main__":
    main()
