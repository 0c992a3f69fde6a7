"""Time and memory of scoring by reconstruction error and of refitting, for networks of ImageNet's size and
for networks on signals whose kernels are long.

    python -m benchmarks.compensation [--network torchvision/resnet50] [--rate 0.5] [--samples N]

`--network signals-48` has four convolutions of 48 channels and 64 taps on signals of 512 places. Weights are
random, and pictures and signals are noise: neither changes how long it takes. Wants a quiet machine.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import torch
from torch import Tensor, nn

import prunus
from benchmarks.environment import RESULTS
from benchmarks.rows import Row, add, kept, page, record
from prunus import models, scores
from prunus.compensation import refit
from prunus.data import Split
from prunus.training import Calibration

RESULT = RESULTS / "compensation.json"
SIDE, PICTURES = 224, 256  # pixels
SIGNALS, PLANES, PLACES, TAPS = "signals-", 14, 512, 64


def main() -> None:
    from tests.torchvision_shim import missing

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="torchvision/resnet50")
    parser.add_argument("--rate", type=float, default=0.5, help="fraction of the channels that goes")
    parser.add_argument(
        "--samples",
        type=int,
        help="calibration inputs; if left out the library's number, or 128 signals",
    )
    options = parser.parse_args()
    if options.network.startswith("torchvision/") and (reason := missing("torchvision")):
        raise SystemExit(reason)
    result = kept(RESULT)
    add(RESULT, result, measured(options), record("benchmarks.compensation", "numpy", seed=0))
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each step, and the largest memory of the whole process."""
    torch.manual_seed(0)
    long = options.network.startswith(SIGNALS)
    model, inputs = signals(options) if long else pictures(options)
    graph = prunus.trace(model.eval(), next(iter(inputs))[:1])
    before = memory()
    start = time.perf_counter()
    found = scores.reconstruction(graph, inputs)
    scored = time.perf_counter()
    plan = prunus.plan(graph, found, rate=options.rate)
    fitted = refit(model, plan, inputs)
    refitted = time.perf_counter()
    prunus.compact(fitted, plan)
    return {
        "network": options.network,
        "rate": options.rate,
        "samples": sum(map(len, inputs)),
        "threads": torch.get_num_threads(),
        "seconds": {"scoring": scored - start, "refitting": refitted - scored},
        "gibibytes": {"before": before, "peak": memory()},
    }


def pictures(options: argparse.Namespace) -> tuple[nn.Module, Calibration]:
    """A network of ImageNet's, and what it is calibrated on."""
    noise = torch.randint(0, 256, (PICTURES, 3, SIDE, SIDE), dtype=torch.uint8)
    split = Split(noise, torch.zeros(len(noise), dtype=torch.int64))
    return models.build(options.network), Calibration(
        split, ((0.5,) * 3, (0.25,) * 3), samples=options.samples
    )


def signals(options: argparse.Namespace) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Four convolutions of so many channels, and batches of signals."""
    width = int(options.network.removeprefix(SIGNALS))
    layers: list[nn.Module] = []
    for before in (PLANES, width, width, width):
        layers += [nn.Conv1d(before, width, TAPS), nn.BatchNorm1d(width), nn.ReLU()]
    head = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, 10)]
    noise = torch.randn(options.samples or 128, PLANES, PLACES)
    return nn.Sequential(*layers, *head), torch.split(noise, 32)


def memory() -> float:
    """The most that this process has held so far [GiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def table(result: Row) -> str:
    """One line per run."""
    about = "Pictures of 224 x 224, signals of 14 x 512; random weights."
    return page(
        "Scoring by reconstruction error, and refitting",
        result["rows"],
        about,
        lambda: _runs(result["rows"]),
        lambda row: row["network"],
    )


def _runs(rows: list[Row]) -> list[str]:
    lines = [
        (
            "| network | channels removed | inputs | threads | scoring [s] | refitting [s] | peak memory"
            " [GiB] |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds, size = row["seconds"], row["gibibytes"]
        lines.append(
            f"| {row['network']} | {row['rate']:.0%} | {row['samples']} | {row['threads']} |"
            f" {seconds['scoring']:.0f} | {seconds['refitting']:.0f} | {size['peak']:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
