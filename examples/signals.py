"""Signals of one's own: three kinds of waves under noise, in an `.npz` file, told apart by a network with one
axis of places.

From the command line, once this file has been run (it writes the data and the trained network):

    prunus prune signals:network --weights dense.safetensors --data signals.npz --tolerance 3 \
        --confidence 0.9 --trial-epochs 1 --epochs 3 --optimizer adam --lr 0.005 --batch-size 32 -o out/
"""

from __future__ import annotations

import numpy as np
from torch import nn

import prunus
from prunus.runs import Delivery, Provenance, deliver
from prunus.tasks import npz_task
from prunus.training import TrainConfig

LENGTH = 64  # places of a signal


def write_data(path: str, count: int, seed: int = 0) -> None:
    """Two planes of noise, the first with a wave of two, five or nine periods in it."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    places = np.arange(LENGTH) / LENGTH
    waves = np.sin(
        2 * np.pi * places * np.array([2, 5, 9])[labels, None] + draw.uniform(0, 2 * np.pi, (count, 1))
    )
    inputs = draw.normal(0, 0.5, (count, 2, LENGTH))
    inputs[:, 0] += waves
    np.savez(path, inputs=inputs.astype(np.float32), targets=labels)


def network() -> nn.Module:
    """Signals (batch, 2, places) to logits (batch, 3)."""
    first = nn.Conv1d(2, 24, 7, padding=3), nn.BatchNorm1d(24), nn.ReLU()
    second = nn.Conv1d(24, 24, 5, padding=2), nn.BatchNorm1d(24), nn.ReLU()
    return nn.Sequential(*first, *second, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, 3))


def main(count: int = 2100, delivery: Delivery | None = None) -> None:
    """Train, make as small as three points of accuracy allow, and write model, ONNX file and report, as
    `delivery` says.
    """
    write_data("signals.npz", count)
    task = npz_task("signals.npz")
    print(task)
    model = network()
    task.fit(model, TrainConfig(epochs=6, batch_size=32, lr=0.01, optimizer="adam"))
    prunus.save(model, "dense.safetensors")
    outcome = prunus.shrink(
        model,
        task,
        tolerance=3.0,
        confidence=0.9,
        config=TrainConfig(epochs=3, batch_size=32, lr=0.005, optimizer="adam"),
        trial_config=TrainConfig(epochs=1, batch_size=32, lr=0.005, optimizer="adam"),
    )
    about = Provenance({"name": "signals"}, "reconstruction", task=task)
    deliver("out-python", model, outcome, task.example_inputs(), about, delivery or Delivery())
    print(
        f"{outcome.before.macs:,} MACs before, {outcome.plan.after.macs:,} after, with"
        f" {outcome.steps[-1].value:.1f} % accuracy"
    )


if __name__ == "__main__":
    main()
