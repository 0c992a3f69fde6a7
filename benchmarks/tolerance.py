"""How often a tolerance that was kept on held-out samples is exceeded on the test set.

    python -m benchmarks.tolerance --data DIR [--runs 20] [--tolerance 0.5] [--confidence 0.95]

Every run trains LeNet-5 on MNIST for two epochs with another seed and other held-out samples, and prunes it
to the tolerance with the default one-shot pipeline. The test set is looked at once per run, at the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.environment import RESULTS, precision
from benchmarks.rows import Row, add, kept, measured_before, page, record
from prunus import data, models, scores
from prunus.compensation import refit
from prunus.methods.common import Target
from prunus.methods.one_shot import one_shot
from prunus.tasks import Task
from prunus.training import Calibration, TrainConfig, train

RESULT = RESULTS / "tolerance.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=0.5)
    parser.add_argument("--confidence", type=float, default=0.95)
    options = parser.parse_args()
    result = kept(RESULT)
    images = data.load("mnist", options.data)
    for seed in range(options.runs):
        key = {"seed": seed, "tolerance": options.tolerance, "confidence": options.confidence}
        if measured_before(result, key):
            continue
        row = key | measured(images, options, seed)
        add(RESULT, result, row, record("benchmarks.tolerance", "numpy", seed=seed))
        print(
            f"run {seed}: {row['macs_left']:.1%} of the MACs left, {row['lost_held_out']:+.2f} held out,"
            f" {row['lost_test']:+.2f} on the test set",
            flush=True,
        )
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def measured(images: data.ImageData, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run."""
    kept, held = images.hold_out(0.1, seed)
    task = Task(kept, held, images.test, normalise=images.normalise)
    torch.manual_seed(seed)
    model = models.lenet5()
    config = TrainConfig(
        epochs=2,
        batch_size=128,
        lr=0.05,
        schedule="onecycle",
        precision=precision(),
        channels_last=True,
        seed=seed,
    )
    train(model, kept, config, normalise=images.normalise)
    inputs = Calibration(kept, images.normalise, samples=256, seed=seed)
    outcome = one_shot(
        model,
        task,
        score=lambda graph: scores.reconstruction(graph, inputs),
        target=Target("tolerance", options.tolerance, confidence=options.confidence),
        compensate=lambda network, plan, on_step: refit(network, plan, inputs, on_step=on_step),
    )
    assert outcome.limit is not None
    accepted = [trial.metric for trial in outcome.trials if trial.accepted]
    return {
        "macs_left": outcome.plan.after.macs / outcome.plan.before.macs,
        "lost_held_out": outcome.limit.baseline - (accepted[-1] if accepted else outcome.limit.baseline),
        "lost_test": outcome.steps[0].value - outcome.steps[-1].value,
        "held_out": len(held),
        "test": len(images.test),
    }


def table(result: Row) -> str:
    """One line per tolerance and confidence."""
    about = "LeNet-5 on MNIST; losses in points of accuracy, means over the runs."
    return page(
        "Kept tolerances",
        result["rows"],
        about,
        lambda: _lines(result["rows"]),
        lambda row: f"seed {row['seed']}",
    )


def _lines(everything: list[Row]) -> list[str]:
    lines = [
        (
            "| tolerance | confidence | runs | held-out samples | lost there | lost on the test set |"
            " exceeded on the test set | MACs left |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in sorted({(row["tolerance"], row["confidence"]) for row in everything}):
        rows = [row for row in everything if (row["tolerance"], row["confidence"]) == kind]
        exceeded = sum(row["lost_test"] > row["tolerance"] for row in rows)
        lines.append(
            f"| {kind[0]:g} | {kind[1]:.0%} | {len(rows)} | {rows[0]['held_out']:,} |"
            f" {mean(r['lost_held_out'] for r in rows):.2f} | {mean(r['lost_test'] for r in rows):.2f} |"
            f" {exceeded} of {len(rows)} | {mean(r['macs_left'] for r in rows):.1%} |"
        )
    return lines


if __name__ == "__main__":
    main()
