"""What the aggregation of samples costs: seconds and memory for data sets up to a million samples that are
read from disk.

    python -m benchmarks.aggregation [--largest 1000000] [--folder /tmp]

The samples are random CIFAR-sized images in a memory map. Attributes (principal components), bisection, the
coarse points, and the fine points of every tenth subset (they are made when a rule asks for them) are timed
apart. Memory is what the process holds beside the mapped file, looked at fifty times a second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.environment import RESULTS
from benchmarks.rows import record, signed, write
from prunus.selection import Points, aggregate, principal_components

SHAPE = (3, 32, 32)
CLASSES = 10
COMPONENTS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    counts = [n for n in (10_000, 50_000, 200_000, 1_000_000) if n <= options.largest]
    rows = []
    for count in counts:
        path = options.folder / f"aggregation-{count}.bytes"
        try:
            write_samples(path, count)
            with multiprocessing.get_context("spawn").Pool(
                1
            ) as pool:  # a process of its own, whose peak memory is this run's
                rows.append(
                    signed(
                        pool.apply(measure, (str(path), count)),
                        record("benchmarks.aggregation", "numpy", seed=0),
                    )
                )
        finally:
            path.unlink(missing_ok=True)
        print(rows[-1], flush=True)
    write(RESULTS / "aggregation.json", rows)


def write_samples(path: Path, count: int) -> None:
    """Random bytes with some structure: every class has a mean image."""
    rng = np.random.default_rng(0)
    centres = rng.integers(64, 192, (CLASSES, *SHAPE))
    samples = np.memmap(path, dtype=np.uint8, mode="w+", shape=(count, *SHAPE))
    for start in range(0, count, 10_000):
        part = samples[start : start + 10_000]
        labels = np.arange(start, start + len(part)) % CLASSES
        part[:] = np.clip(centres[labels] + rng.normal(0, 30, part.shape), 0, 255).astype(np.uint8)
    samples.flush()


def measure(name: str, count: int) -> dict[str, Any]:
    """Aggregate once."""
    samples, labels = (
        np.memmap(name, dtype=np.uint8, mode="r", shape=(count, *SHAPE)),
        np.arange(count) % CLASSES,
    )
    memory, done = [anonymous_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            memory.append(anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    times = [time.perf_counter()]
    attributes = principal_components(samples, COMPONENTS)
    times.append(time.perf_counter())
    subsets = aggregate(labels, attributes)
    times.append(time.perf_counter())
    points = Points(
        samples, subsets, ((0.5,) * 3, (0.25,) * 3), effect=lambda model, images, labels: images[:, 0, 0, 0]
    )
    times.append(time.perf_counter())
    fine = np.flatnonzero(subsets.subset_of_fine % 10 == 0)
    points.fine_effects(nn.Identity(), fine)
    times.append(time.perf_counter())
    done.set()
    watcher.join()
    names = ("attributes_seconds", "bisection_seconds", "coarse_seconds", "tenth_of_fine_seconds")
    seconds = {name: round(b - a, 2) for name, a, b in zip(names, times, times[1:])}
    gib = {"memory_before_gib": round(memory[0] / 2**30, 3), "peak_memory_gib": round(max(memory) / 2**30, 3)}
    return {
        "samples": count,
        "subsets": len(subsets),
        "fine_points": len(subsets.fine) - 1,
        **seconds,
        "seconds": round(times[3] - times[0], 2),
        **gib,
    }


def anonymous_memory() -> int:
    """Bytes of this process that are no mapped files (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
