"""History-based filter pruning of LeNet-5 on MNIST: training, rounds of pairing, pulling, pruning and
retraining, down to 2 and 3 filters.

    python -m benchmarks.history_lenet --data DIR [--seeds 5]

A tenth of the training samples is held out, by which the tolerance of every round is kept, and by which this
recipe was chosen; the test error is looked at once, at the end. FLOPs are counted over the whole network and,
as in the paper, over its convolutions.

The last widths and the tolerance are those of the authors' code (2 and 3 filters, 1 point); our choices are
fewer epochs on one-cycle schedules, and images that are shifted by up to a pixel in the last round.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import RESULTS, precision
from benchmarks.rows import Row, add, kept, measured_before, page, record, spread
from prunus import data, models, trace
from prunus.methods.history import Round, history_pruning
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    result = kept(RESULT)
    for seed in range(options.seeds):
        key = {"seed": seed}
        if measured_before(result, key):
            continue
        row = key | measured(options.data, seed)
        add(RESULT, result, row, record("benchmarks.history_lenet", "numpy", seed=seed))
        print(
            f"seed {seed}: error {row['test_error']:.2f} % (before {row['test_error_before']:.2f}),"
            f" {row['cpu_seconds']:.0f} s",
            flush=True,
        )
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def measured(folder: Path | None, seed: int) -> dict[str, Any]:
    """One run."""
    images = data.load("mnist", folder)
    kept, held = images.hold_out(0.1, seed)
    task = Task(kept, held, images.test, normalise=images.normalise)
    torch.manual_seed(seed)
    model = models.lenet5()
    start = time.process_time()
    outcome = history_pruning(
        model, task, rounds=rounds(seed), config=config(FIRST, seed), tolerance=TOLERANCE
    )
    assert outcome.dense is not None and outcome.limit is not None
    seconds = time.process_time() - start
    before, after = (
        trace(network, torch.zeros(1, 1, 28, 28)).layers() for network in (outcome.dense, outcome.model)
    )
    macs = {"all": _left(before, after, ""), "convolutions": _left(before, after, "conv")}
    errors = [
        100 - evaluate(network, images.test, images.normalise).accuracy
        for network in (outcome.dense, outcome.model)
    ]
    return {
        "test_error_before": errors[0],
        "test_error": errors[1],
        "held_out_error_before": 100 - outcome.limit.baseline,
        "held_out_error": (
            100 - [outcome.limit.baseline, *(trial.metric for trial in outcome.trials if trial.accepted)][-1]
        ),
        "widths": [getattr(outcome.model, name).weight.shape[0] for name in LAYERS],
        "macs_removed": {what: 1 - left for what, left in macs.items()},
        "rounds": [
            [trial.metric, trial.accepted, *distances]
            for trial, distances in zip(outcome.trials, outcome.found["distances"], strict=True)
        ],
        "cpu_seconds": seconds,
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


def table(result: Row) -> str:
    """One row per seed, and their mean."""
    title = "History-based filter pruning of LeNet-5 on MNIST"
    about = "FLOPs are 2 MACs; seconds are those of one processor core, for the whole run."
    return page(
        title, result["rows"], about, lambda: _runs(result["rows"]), lambda row: f"seed {row['seed']}"
    )


def _runs(rows: list[Row]) -> list[str]:
    lines = [
        (
            "| seed | test error before | test error | held out before | held out | widths | FLOPs removed |"
            " of the convolutions | CPU seconds |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        widths = "-".join(map(str, row["widths"]))
        lines.append(
            f"| {row['seed']} | {row['test_error_before']:.2f} % | {row['test_error']:.2f} % |"
            f" {row['held_out_error_before']:.2f} % | {row['held_out_error']:.2f} % | {widths} |"
            f" {row['macs_removed']['all']:.2%} | {row['macs_removed']['convolutions']:.2%} |"
            f" {row['cpu_seconds']:.0f} |"
        )
    return [
        *lines,
        "",
        f"Mean test error over {len(rows)} seeds: {spread([row['test_error'] for row in rows])} %.",
    ]


if __name__ == "__main__":
    main()
