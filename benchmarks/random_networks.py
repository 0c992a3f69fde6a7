"""Thousands of random networks: is the compact model always exact, and does nothing crash?

    python -m benchmarks.random_networks [--networks 5000] [--processes 2] [--first 0] [--output FILE]

Writes `benchmarks/results/random_networks.json`: counts, the share of networks with each kind of layer, and
every failure with the seed that rebuilds its network (`tests.networks.random_spec(seed)`).
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tests.network_check import check_network
from tests.networks import kinds, random_spec

from benchmarks.environment import RESULTS
from benchmarks.rows import record, signed, write

CHUNK = 25
SAVED = 500  # networks between two writings of the result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
    parser.add_argument("--output", type=Path, default=RESULTS / "random_networks.json")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.networks)
    chunks = [list(seeds[i : i + CHUNK]) for i in range(0, len(seeds), CHUNK)]
    start = time.perf_counter()
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(
        options.processes, initializer=_quiet, maxtasksperchild=20
    ) as pool:
        for done in pool.imap_unordered(check_chunk, chunks):
            rows += done
            failures = sum("failure" in row for row in rows)
            seconds = time.perf_counter() - start
            if len(rows) % SAVED < CHUNK:
                _save(rows, start, options.first, options.output)
            print(f"{len(rows)} of {len(seeds)} networks, {failures} failures, {seconds:.0f} s", flush=True)
    _save(rows, start, options.first, options.output)


def _save(rows: list[dict[str, Any]], start: float, first: int, output: Path) -> None:
    """Write what is known so far."""
    rows = sorted(rows, key=lambda row: row["seed"])
    row = {"first": first, "seconds": round(time.perf_counter() - start, 1), **summary(rows)}
    write(output, [signed(row, record("benchmarks.random_networks", seed=first))])


def _quiet() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def check_chunk(seeds: list[int]) -> list[dict[str, Any]]:
    """One row per network: what came out, or how it failed."""
    return list(_rows(seeds))


def _rows(seeds: list[int]) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        spec = random_spec(seed)
        row = {"seed": seed, "kinds": sorted(kinds(spec))}
        start = time.perf_counter()
        try:
            model, inputs = spec.build()
            outcome = check_network(model, inputs, seed)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            yield {**row, "failure": f"{type(error).__name__}: {str(error)[:300]} ({place})"}
        else:
            yield {**row, **vars(outcome), "seconds": time.perf_counter() - start}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts over all networks, and the failures one by one."""
    fine = [row for row in rows if "failure" not in row]
    exact = [row for row in fine if row["exact"]]
    trained = [row["trained"] for row in exact if row["trained"] is not None]
    shares = Counter(kind for row in rows for kind in row["kinds"])
    return {
        "networks": len(rows),
        "failed": len(rows) - len(fine),
        "exact": len(exact),
        "inexact_with_reason": len(fine) - len(exact),
        "modes": dict(Counter(row["mode"] for row in fine)),
        "nothing_to_remove": sum(row["removed"] == 0 for row in fine),
        "channels": sum(row["channels"] for row in fine),
        "removed": sum(row["removed"] for row in fine),
        "stayed": sum(row["stayed"] for row in fine),
        "largest_relative_error_of_exact": max((row["relative"] for row in exact), default=0.0),
        "trained_alike": len(trained),
        "largest_relative_error_in_training": max(trained, default=0.0),
        "mean_seconds": round(sum(row["seconds"] for row in fine) / max(len(fine), 1), 3),
        "share_with": {kind: round(count / len(rows), 3) for kind, count in sorted(shares.items())},
        "failures": [{key: row[key] for key in ("seed", "failure")} for row in rows if "failure" in row],
    }


if __name__ == "__main__":
    main()
