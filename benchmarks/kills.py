"""Ten random kills in one training: SIGKILL at any moment, resume, and the weights at the end are those of a training that nobody touched.

    python -m benchmarks.kills [--kills 10] [--epochs 40] [--seed 0]

The training is two-fold (samples dropped, filters softly pruned, weights averaged, images that grow) on the embedded digits, with a checkpoint
several times a second, so that kills meet it in the middle of epochs, of writing and of starting up.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import RESULTS
from benchmarks.rows import record, signed, write
from prunus.data import load
from prunus.methods.soft import SoftPruning
from prunus.models import resnet20
from prunus.selection import EasyDropped, Scheduled
from prunus.storage import read_tree, write_tree
from prunus.training import TrainConfig, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.epochs)
        return
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        start = time.perf_counter()
        launched(whole, options.epochs).wait()
        seconds = time.perf_counter() - start
        kills: list[dict[str, Any]] = []
        while len(kills) < options.kills:
            process = launched(broken, options.epochs)
            after = 3 + rng.uniform(0, 2) * (seconds - 3) / (options.kills + 5)  # importing alone takes 3 s
            try:
                process.wait(after)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            kills.append(state(broken))
            print(f"kill {len(kills)} after {after:.1f} s: {kills[-1]}", flush=True)
        launched(broken, options.epochs).wait()
        first, second = read_tree(whole / "end"), read_tree(broken / "end")
    equal = sum(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    result = {
        "seconds_unbroken": round(seconds, 1),
        "kills": kills,
        "tensors": len(first["weights"]),
        "tensors_equal": equal,
        "losses_equal": first["losses"] == second["losses"],
    }
    write(RESULTS / "kills.json", [signed(result, record("benchmarks.kills", seed=options.seed))])
    print(f"{len(kills)} kills: {equal} of {len(first['weights'])} tensors equal to the last bit, losses equal: {result['losses_equal']}")


def launched(folder: Path, epochs: int) -> subprocess.Popen[bytes]:
    """A process that trains, or goes on training, in a folder."""
    return subprocess.Popen([sys.executable, "-m", "benchmarks.kills", "--worker", str(folder), "--epochs", str(epochs)])


def state(folder: Path) -> dict[str, Any]:
    """Where the killed training will go on."""
    path = folder / "checkpoint"
    if not path.exists():
        return {"epoch": 0, "step": 0}
    progress = read_tree(path)["progress"]
    return {"epoch": progress["epoch"], "step": progress["step"] if progress["order"] is not None else 0}


def work(folder: Path, epochs: int) -> None:
    """The training."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    digits, model = load("digits"), resnet20(in_channels=1)
    split = digits.train
    config = TrainConfig(epochs=epochs, batch_size=16, lr=1e-3, ema=0.99, augment="crop", first_size=0.5, optimizer="adamw")
    history = train(
        model,
        split,
        config,
        normalise=digits.normalise,
        curriculum=Scheduled(EasyDropped(len(split), 0.5), split.labels.numpy(), warmup=2, annealing=0.1, least=0.2),
        pruning=SoftPruning(torch.zeros(1, 1, 8, 8), 0.3, growth="asymptotic"),
        checkpoint=folder / "checkpoint",
        checkpoint_seconds=0.1,
        resume=True,
    )
    write_tree(folder / "end", {"weights": model.state_dict(), "losses": [epoch.loss for epoch in history.epochs]})


if __name__ == "__main__":
    main()
