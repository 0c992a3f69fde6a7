"""History-based filter pruning of LeNet-5 on MNIST: training, rounds of pairing, pulling, pruning and
retraining, down to 2 and 3 filters.

    python -m benchmarks.history_lenet --data DIR [--seeds 5] [--only PATTERN ...] [--models DIR]

A tenth of the training samples is held out, by which the tolerance of every round is kept, and by which this
recipe was chosen; the test error is looked at once, at the end. FLOPs are counted over the whole network and,
as in the paper, over its convolutions.

The last widths and the tolerance are those of the authors' code (2 and 3 filters, 1 point); our choices are
fewer epochs on one-cycle schedules, and images that are shifted by up to a pixel in the last round.

Beside it stand its controls, on the same samples and with the same seeds: the same rounds without the
regulariser; a LeNet-5 of the same 2, 3 and 128 with new weights, trained by the last recipe for as many
epochs as HBFP had in all (what somebody without a trained network would otherwise do), and for those of the
last retraining alone (what somebody with one would); and the dense network trained for as many epochs in all,
by the last recipe at the rate of its own first training. A row is written as soon as it is there; with
--models, trainings that were broken off go on.
"""

from __future__ import annotations

import argparse
import fnmatch
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.environment import RESULTS, precision
from benchmarks.history_lenet_table import HBFP, table
from benchmarks.rows import add, kept, measured_before, record
from prunus import data, models, trace
from prunus.methods.common import Journal
from prunus.methods.history import Regulariser, Round, history_pruning
from prunus.models.lenet import KERNEL
from prunus.tasks import Task
from prunus.training import TrainConfig, evaluate

RESULT = RESULTS / "history_lenet.json"
LAYERS = ("conv1", "conv2", "fc1")
START = (20, 50, 500)
TOLERANCE = 1.0  # points, as in the authors' code
WIDE: dict[str, Any] = {"precision": precision(), "channels_last": True}  # of no use to a few filters
FIRST: dict[str, Any] = {"epochs": 3, "lr": 2e-3} | WIDE
STEPS: tuple[
    tuple[tuple[int, int, int], dict[str, Any], dict[str, Any]], ...
] = (  # widths that are left, how to pull, how to retrain
    ((10, 25, 250), {"epochs": 1} | WIDE, {"epochs": 2, "lr": 3e-3} | WIDE),
    ((5, 12, 128), {"epochs": 1} | WIDE, {"epochs": 3, "lr": 3e-3} | WIDE),
    ((3, 6, 128), {"epochs": 1}, {"epochs": 4, "lr": 5e-3}),
    (
        (2, 3, 128),
        {"epochs": 2},
        {"epochs": 30, "lr": 1e-2, "batch_size": 256, "augment": "crop", "shift": 1},
    ),
)


LAST, _, RETRAIN = STEPS[-1]
ALL_EPOCHS = FIRST["epochs"] + sum(pull["epochs"] + again["epochs"] for _, pull, again in STEPS)
WAYS = (
    HBFP,
    "from scratch, all epochs",
    "from scratch, epochs of the last retraining",
    f"{HBFP} without its regulariser",
    "dense, all epochs",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["*"], help="ways to run, with wildcards")
    parser.add_argument("--models", type=Path, help="folder for trainings that are not finished")
    parser.add_argument("--limit", type=int, default=0, help="samples of each part, to try it (0: all)")
    parser.add_argument("--result", type=Path, default=RESULT, help="file of the rows")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed, way in product(range(0 if options.table else options.seeds), WAYS):
        result, key = kept(options.result), {"seed": seed, "way": way}
        if measured_before(result, key) or not any(fnmatch.fnmatch(way, one) for one in options.only):
            continue
        row = key | measured(options, way, seed)
        add(options.result, result, row, record("benchmarks.history_lenet", "numpy", seed=seed))
        print(f"{way}, seed {seed}: {row['test_error']:.2f} %, {row['cpu_seconds']:.0f} s", flush=True)
    text = table(kept(options.result))
    options.result.with_suffix(".md").write_text(text)
    print(text)


def measured(options: argparse.Namespace, way: str, seed: int) -> dict[str, Any]:
    """One run."""
    images = data.load("mnist", options.data)
    kept, held = images.hold_out(0.1, seed)
    train, held, test = (
        part.subset(torch.arange(options.limit or len(part))) for part in (kept, held, images.test)
    )
    task = Task(train, held, test, normalise=images.normalise)
    spoken = "".join(one if one.isalnum() else "-" for one in way)
    journal = Journal(options.models and options.models / f"{spoken}-{seed}.checkpoint", resume=True)
    if options.models:
        options.models.mkdir(parents=True, exist_ok=True)
    if way.startswith(HBFP):
        row = in_rounds(task, seed, "exp" if way == HBFP else "none", journal)
    else:
        row = trained(task, seed, way, journal)
    for left in options.models.glob(f"{spoken}-{seed}*") if options.models else ():
        left.unlink()
    return row


def trained(task: Task, seed: int, way: str, journal: Journal) -> dict[str, Any]:
    """A network with new weights, by the last recipe."""
    torch.manual_seed(seed)
    small = narrow() if way.startswith("from scratch") else models.lenet5()
    how = RETRAIN | ({} if way.startswith("from scratch") else {"lr": FIRST["lr"]} | WIDE)
    start, last = time.process_time(), config(how, seed)
    task.fit(
        small,
        last if "retraining" in way else replace(last, epochs=ALL_EPOCHS),
        validation=None,
        **journal.options("training", lambda step, done, total: None),
    )
    seconds = time.process_time() - start
    return {
        "test_error": error(small, task, "test"),
        "held_out_error": error(small, task, "validation"),
        **sizes(models.lenet5(), small),
        "epochs": RETRAIN["epochs"] if "retraining" in way else ALL_EPOCHS,
        "cpu_seconds": seconds,
    }


def narrow() -> nn.Module:
    """A LeNet-5 of the last widths, with new weights."""
    network, (first, second, hidden) = models.lenet5(), LAST
    side = network.fc1.in_features // network.conv2.out_channels  # pixels of a map
    network.conv1 = nn.Conv2d(1, first, KERNEL)
    network.conv2 = nn.Conv2d(first, second, KERNEL)
    network.fc1 = nn.Linear(second * side, hidden)
    network.fc2 = nn.Linear(hidden, network.fc2.out_features)
    return network


def error(network: nn.Module, task: Task, part: Any) -> float:
    """In percent."""
    return 100 - evaluate(network, task.samples(part), task.normalisation).accuracy


def in_rounds(task: Task, seed: int, regulariser: Regulariser, journal: Journal) -> dict[str, Any]:
    """HBFP."""
    torch.manual_seed(seed)
    model = models.lenet5()
    start = time.process_time()
    outcome = history_pruning(
        model,
        task,
        rounds=rounds(seed),
        config=config(FIRST, seed),
        tolerance=TOLERANCE,
        regulariser=regulariser,
        journal=journal,
    )
    assert outcome.dense is not None and outcome.limit is not None
    seconds = time.process_time() - start
    return {
        "test_error_before": error(outcome.dense, task, "test"),
        "test_error": error(outcome.model, task, "test"),
        "held_out_error_before": 100 - outcome.limit.baseline,
        "held_out_error": (
            100 - [outcome.limit.baseline, *(trial.metric for trial in outcome.trials if trial.accepted)][-1]
        ),
        **sizes(outcome.dense, outcome.model),
        "rounds": [
            [trial.metric, trial.accepted, *distances]
            for trial, distances in zip(outcome.trials, outcome.found["distances"], strict=True)
        ],
        "epochs": ALL_EPOCHS,
        "cpu_seconds": seconds,
    }


def sizes(dense: nn.Module, small: nn.Module) -> dict[str, Any]:
    """Widths, and the MACs that are gone."""
    before, after = (trace(network, torch.zeros(1, 1, 28, 28)).layers() for network in (dense, small))
    macs = {"all": _left(before, after, ""), "convolutions": _left(before, after, "conv")}
    return {
        "widths": [small.get_submodule(name).weight.shape[0] for name in LAYERS],
        "macs_removed": {what: 1 - left for what, left in macs.items()},
    }


def rounds(seed: int) -> list[Round]:
    """What goes in every round, as numbers of filters."""
    result, widths = [], START
    for target, pull, retrain in STEPS:
        going = {name: before - after for name, before, after in zip(LAYERS, widths, target)}
        result.append(Round(0.0, config({"lr": 5e-4} | pull, seed), config(retrain, seed), going))
        widths = target
    return result


def config(settings: dict[str, Any], seed: int) -> TrainConfig:
    """Adam as in the authors' code, on a one-cycle schedule."""
    adam: dict[str, Any] = {"batch_size": 128, "weight_decay": 0, "optimizer": "adam", "schedule": "onecycle"}
    return TrainConfig(**(adam | {"seed": seed} | settings))


def _left(before: Any, after: Any, prefix: str) -> float:
    """MACs left, of the layers whose names begin like this."""
    sums = [
        sum(layer.macs_before for layer in layers if layer.name.startswith(prefix))
        for layers in (before, after)
    ]
    return float(sums[1] / sums[0])


if __name__ == "__main__":
    main()
