"""Time and memory of scoring by reconstruction error and of refitting, for networks of ImageNet's size.

    python -m benchmarks.compensation [--network torchvision/resnet50] [--rate 0.5] [--samples N]

Weights are random and the pictures are noise: neither changes how long it takes. Wants a quiet machine.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import torch

import prunus
from benchmarks.environment import RESULTS
from benchmarks.rows import Row, add, kept, page, record
from prunus import models, scores
from prunus.compensation import refit
from prunus.data import Split
from prunus.training import Calibration

RESULT = RESULTS / "compensation.json"
SIDE = 224  # pixels


def main() -> None:
    from tests.torchvision_shim import missing

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="torchvision/resnet50")
    parser.add_argument("--rate", type=float, default=0.5, help="fraction of the channels that goes")
    parser.add_argument(
        "--samples", type=int, help="calibration pictures; the library's own number if left out"
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
    model = models.build(options.network).eval()
    pictures = torch.randint(0, 256, (128, 3, SIDE, SIDE), dtype=torch.uint8)
    inputs = Calibration(
        Split(pictures, torch.zeros(len(pictures), dtype=torch.int64)),
        ((0.5,) * 3, (0.25,) * 3),
        samples=options.samples,
        batch_size=16,
    )
    graph = prunus.trace(model, torch.zeros(1, 3, SIDE, SIDE))
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


def memory() -> float:
    """The most that this process has held so far [GiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def table(result: Row) -> str:
    """One line per run."""
    about = "Pictures of 224 x 224, random weights."
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
            "| network | channels removed | pictures | threads | scoring [s] | refitting [s] | peak memory"
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
