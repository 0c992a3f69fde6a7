"""History-based filter pruning of LeNet-5 on MNIST: training, rounds of pairing, pulling, pruning and retraining, down to 2 and 3 filters.

    python -m benchmarks.history_lenet --data DIR [--seeds 5] [--epochs 10] [--last 60]

A tenth of the training samples is held out, by which the tolerance of every round is kept; the test error is looked at once, at the end. FLOPs are
counted over the whole network and, as in the paper, over its convolutions.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import RESULTS
from benchmarks.rows import add, heading, kept, measured_before, spread
from prunus import data, models, trace
from prunus.methods.history import Round, history_pruning
from prunus.methods.one_shot import Material
from prunus.training import TrainConfig, evaluate

RESULT = RESULTS / "history_lenet.json"
WIDTHS = ((10, 25, 250), (5, 12, 125), (3, 6, 100), (2, 3, 100))  # of conv1, conv2 and fc1 after every round
LAYERS = ("conv1", "conv2", "fc1")
TOLERANCE = 1.0  # points, as in the authors' code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="of the first training and of every retraining")
    parser.add_argument("--last", type=int, default=60, help="epochs of the last retraining")
    options = parser.parse_args()
    result = kept(RESULT)
    for seed in range(options.seeds):
        key = {"seed": seed, "epochs": options.epochs, "last": options.last}
        if measured_before(result, key):
            continue
        row = key | measured(options, seed)
        add(RESULT, result, row, "benchmarks.history_lenet", "numpy")
        print(f"seed {seed}: error {row['test_error']:.2f} % (before {row['test_error_before']:.2f}), {row['seconds']:.0f} s", flush=True)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def measured(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run."""
    images = data.load("mnist", options.data)
    kept, held = images.hold_out(0.1, seed)
    material = Material(kept, images.test, images.normalise, held)
    torch.manual_seed(seed)
    model = models.lenet5()
    start = time.perf_counter()
    outcome = history_pruning(
        model, torch.zeros(1, 1, 28, 28), material, rounds(options, seed), training=config(options.epochs, 1e-3, seed), tolerance=TOLERANCE
    )  # fmt: skip
    seconds = time.perf_counter() - start
    before, after = (trace(network, torch.zeros(1, 1, 28, 28)).layers() for network in (model, outcome.model))
    macs = {"all": _left(before, after, ""), "convolutions": _left(before, after, "conv")}
    errors = [100 - evaluate(network, images.test, images.normalise).accuracy for network in (model, outcome.model)]
    return {
        "test_error_before": errors[0],
        "test_error": errors[1],
        "widths": [getattr(outcome.model, name).weight.shape[0] for name in LAYERS],
        "macs_removed": {what: 1 - left for what, left in macs.items()},
        "rounds": [[tried.accuracy, tried.accepted, *tried.distance] for tried in outcome.rounds],
        "seconds": seconds,
    }


def rounds(options: argparse.Namespace, seed: int) -> list[Round]:
    """What goes in every round, as numbers of filters."""
    result, widths = [], (20, 50, 500)
    for number, target in enumerate(WIDTHS):
        last = number == len(WIDTHS) - 1
        going = {name: before - after for name, before, after in zip(LAYERS, widths, target)}
        retrain = config(options.last if last else options.epochs, 3e-3, seed)
        result.append(Round(0.0, config(max(1, options.epochs // 2), 3e-4, seed), retrain, going))
        widths = target
    return result


def config(epochs: int, lr: float, seed: int) -> TrainConfig:
    """Adam as in the authors' code, on a one-cycle schedule."""
    return TrainConfig(epochs=epochs, batch_size=128, lr=lr, weight_decay=0, optimizer="adam", schedule="onecycle", seed=seed)


def _left(before: Any, after: Any, prefix: str) -> float:
    """MACs left, of the layers whose names begin like this."""
    sums = [sum(layer.macs_before for layer in layers if layer.name.startswith(prefix)) for layers in (before, after)]
    return float(sums[1] / sums[0])


def table(result: dict[str, Any]) -> str:
    """One row per seed, and their mean."""
    rows = result["rows"]
    lines = heading(
        "History-based filter pruning of LeNet-5 on MNIST",
        result,
        result["environment"]["processor"],
        "",
        "| seed | test error before | test error | filters | FLOPs removed | of the convolutions | seconds |",
        "|---|---|---|---|---|---|---|",
    )
    for row in rows:
        widths = "-".join(map(str, row["widths"]))
        lines.append(
            f"| {row['seed']} | {row['test_error_before']:.2f} % | {row['test_error']:.2f} % | {widths} | {row['macs_removed']['all']:.2%} | "
            f"{row['macs_removed']['convolutions']:.2%} | {row['seconds']:.0f} |"
        )
    lines += ["", f"Mean test error over {len(rows)} seeds: {spread([row['test_error'] for row in rows])} %."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
