"""Paper A on CIFAR-10: training time and accuracy with critical data, with soft filter pruning, with both,
and with their controls.

    python -m benchmarks.twofold --data DIR [--network resnet20] [--epochs 12] [--lr 0.1] [--weights FILE]
        [--seeds 3] [--only PATTERN]

Every variant is trained with every seed, from scratch or from the given weights; a row is written as soon as
it is there, and a run that is broken off goes on at the epoch where it was. Accuracies are of the last epoch
on the test set, by which nothing is chosen: with --validation a tenth of the training samples is held out,
and the accuracies are those on it. The defaults are for two cores without a GPU; with one, `--network
resnet56 --epochs 200` and so on.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import prunus
from benchmarks.environment import RESULTS, describe
from benchmarks.methods_subjects import IMAGENET
from benchmarks.recipe import add_compile, checked_options, settings
from benchmarks.rows import add, kept, measured_before, record
from benchmarks.twofold_table import table
from benchmarks.twofold_variants import VARIANTS, Rival, Selected, Variant
from prunus import data, models, scores
from prunus.data import ImageData
from prunus.methods.common import Journal
from prunus.methods.slimming import slimming_loss
from prunus.methods.soft import SoftPruning
from prunus.methods.twofold import twofold
from prunus.models import load_weights
from prunus.tasks import Task
from prunus.training import evaluate, recalibrate, train

RESULT = RESULTS / "twofold.json"
CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument(
        "--called",
        default="CIFAR-10",
        help="what the tables call the data, for files that are not the originals",
    )
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weights", type=Path, help="begin with these weights instead of random ones")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="*", help="variants to run, with wildcards")
    parser.add_argument(
        "--validation", action="store_true", help="measure on a tenth of the training samples, for choices"
    )
    parser.add_argument("--untimed", action="store_true", help="keep no times: other work runs beside")
    add_compile(parser)
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = checked_options(parser)
    result = kept(RESULT)
    if not options.table:
        task = samples(data.load("cifar10", options.data), options)
        for seed in range(options.seeds):
            for name in fnmatch.filter(VARIANTS, options.only):
                run(result, task, name, seed, options)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def samples(images: ImageData, options: argparse.Namespace) -> Task:
    """What is trained and measured on."""
    normalise = IMAGENET if options.weights else images.normalise
    if options.validation:
        train, held = images.hold_out(0.1)
        return Task(train, test=held, normalise=normalise)
    return Task(images.train, test=images.test, normalise=normalise)


def run(result: dict[str, Any], task: Task, name: str, seed: int, options: argparse.Namespace) -> None:
    """One training, unless it has a row already."""
    environment = describe("numpy")
    where = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{environment['processor']}, {torch.get_num_threads()} threads"
    )
    key = {
        "variant": name,
        "data": options.called,
        "network": options.network,
        "epochs": options.epochs,
        "lr": options.lr,
        "start": options.weights.name if options.weights else "scratch",
        "measured_on": "validation" if options.validation else "test",
        "device": where,
        "seed": seed,
    }
    if measured_before(result, key):
        return
    partial = RESULTS / f"twofold-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]}.checkpoint"
    variant = VARIANTS[name]
    row = key | (
        rivalling(task, variant.rival, seed, options, partial)
        if variant.rival
        else measured(task, variant, seed, options, partial)
    )
    partial.unlink()
    if options.untimed:
        row = {name: value for name, value in row.items() if not name.endswith("seconds")}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add(RESULT, result, row, record("benchmarks.twofold", "numpy", device=device, seed=seed))
    print(
        f"{name}, seed {seed}: {row['accuracy']:.2f} % with {row['samples']:.0%} of the samples", flush=True
    )


def network(options: argparse.Namespace, seed: int) -> nn.Module:
    """A network to train."""
    torch.manual_seed(seed)
    model = models.build(options.network, num_classes=CLASSES)
    if options.weights:
        load_weights(model, options.weights)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def softly(example: Tensor, variant: Variant) -> SoftPruning:
    """The pruning of a variant."""
    return SoftPruning(
        example,
        variant.rate,
        p=variant.p,
        every=variant.every,
        freeze=variant.freeze,
        folded=variant.folded,
        from_start=variant.from_start,
        protect=["*.conv2"] if variant.whole_streams else (),
    )


def rivalling(
    task: Task, rival: Rival, seed: int, options: argparse.Namespace, partial: Path
) -> dict[str, Any]:
    """Two thirds of the epochs, removal, and the others at half of the peak rate; both papers train on with a
    smaller rate.
    """
    model = network(options, seed)
    start, first = time.perf_counter(), round(options.epochs * 2 / 3)
    trained = train(
        model,
        task.train,
        settings(first, options.lr, seed, compile=options.compile),
        normalise=task.normalise,
        loss=slimming_loss(model) if rival.slimming else None,
        checkpoint=partial,
        checkpoint_seconds=math.inf,
        resume=True,
    )
    graph = prunus.trace(
        model.eval(),
        torch.zeros(1, *task.samples("train").images.shape[1:], device=next(model.parameters()).device),
    )
    if rival.slimming:
        plan = prunus.plan(graph, scores.bn_scale(graph), macs=rival.macs, scope="global")
    else:
        plan = prunus.plan(graph, scores.norm(graph, 1, "producer"), macs=rival.macs, protect=["*.conv2"])
    small = prunus.compact(model, plan)
    recalibrate(small, task.samples("train"), task.normalisation, seed=seed)
    accuracies = [evaluate(one, task.samples("test"), task.normalisation).accuracy for one in (model, small)]
    tuned = train(
        small,
        task.train,
        settings(options.epochs - first, options.lr / 2, seed, compile=options.compile),
        normalise=task.normalise,
        checkpoint=partial.with_suffix(".tuned"),
        checkpoint_seconds=math.inf,
        resume=True,
    )
    partial.with_suffix(".tuned").unlink()
    final = evaluate(small, task.samples("test"), task.normalisation).accuracy
    return {
        "accuracy": final,
        "steps": [
            ["before", accuracies[0]],
            ["after recalibration", accuracies[1]],
            ["after fine-tuning", final],
        ],
        "macs_left": plan.after.macs / plan.before.macs,
        "seconds": sum(epoch.seconds for history in (trained, tuned) for epoch in history.epochs),
        "choosing_seconds": 0.0,
        "samples": 1.0,
        "trained_epochs": options.epochs,
        "wall_seconds": time.perf_counter() - start,
    }


def measured(
    task: Task, variant: Variant, seed: int, options: argparse.Namespace, partial: Path
) -> dict[str, Any]:
    """Train, and measure time and accuracy."""
    model = network(options, seed)
    epochs = max(1, round(variant.epochs * options.epochs))
    config = settings(epochs, options.lr, seed, compile=options.compile, **variant.config)
    example = torch.zeros(1, *task.samples("train").images.shape[1:], device=next(model.parameters()).device)
    selected = Selected(task.samples("train"), task.normalisation, seed)
    start = time.perf_counter()
    outcome = twofold(
        model,
        task,
        pruning=softly(example, variant) if variant.rate else None,
        curriculum=variant.curriculum(selected) if variant.curriculum else None,
        config=config,
        # so that every epoch is trained, and timed, in one piece
        journal=Journal(partial, math.inf, resume=True),
    )
    history, pruned = outcome.training, variant.rate > 0
    assert history is not None
    removal = sum(
        seconds
        for step, seconds in outcome.seconds.items()
        if pruned and step in ("compacting", "recalibrating")
    )
    return {
        "accuracy": outcome.metric,
        "steps": [[step.step, step.value] for step in outcome.steps] if pruned else [],
        "relative_error": outcome.verification.relative if pruned else None,
        "macs_left": outcome.plan.after.macs / outcome.plan.before.macs,
        "seconds": sum(epoch.seconds for epoch in history.epochs) + selected.seconds + removal,
        "choosing_seconds": sum(epoch.choosing_seconds for epoch in history.epochs) + selected.seconds,
        "samples": float(np.mean([epoch.samples for epoch in history.epochs])) / len(task.train),
        "trained_epochs": len(history.epochs),
        "wall_seconds": time.perf_counter() - start,
    }


if __name__ == "__main__":
    main()
