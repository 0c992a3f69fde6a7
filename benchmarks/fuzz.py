"""Damaged and forged files for every reader of the package: how many are refused by name, how many read as
before, and whether anything else happens.

    python -m benchmarks.fuzz [--count 100000] [--seed 0]

The mutations are those of `tests/fuzz`, which run a few thousand in every test run; a number and a seed say
all of one. Files are read in child processes: 5 s of work for a file, 1 GB of memory beyond what the process
has once everything is imported. It goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.readers import READERS
from tests.fuzz.worker import FAULTS, OTHER, REFUSED, SAME, Verdict, verdicts

from benchmarks.environment import RESULTS, save
from benchmarks.rows import Row, kept, page, record, signed

FILE = RESULTS / "fuzz.json"
PACKAGES = ("numpy", "safetensors", "pillow", "rasterio", "onnx", "onnxruntime", "pyyaml")
BLOCK = 1000  # mutations between two writings
ABOUT = (
    "Bits flipped, bytes overwritten, cut out, put in and exchanged, files cut short, lengths and offsets "
    "changed; and documents inside files edited, with checksums that fit again. A reader refuses a file by "
    "name, in a sentence, or reads it: as before, where a checksum is promised (✓) and was not forged. "
    "Anything else is a fault: another exception, changed content, 5 s of work, 1 GB of memory, a signal."
)
SHOWN = 5  # faults of a reader that are kept with their texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--again",
        nargs="+",
        default=[],
        metavar="READER",
        help="measure these readers alone: all of their mutations so far anew, or those of a new --seed",
    )
    options = parser.parse_args()
    result = kept(FILE)
    done = result.setdefault("done", {})
    if options.again:
        measure_again(result, options.again, options.seed, options.count)
        return
    with tempfile.TemporaryDirectory() as folder:
        for first in range(done.get(str(options.seed), 0), options.count, BLOCK):
            end = min(first + BLOCK, options.count)
            found = list(verdicts(Path(folder), options.seed, first, end))
            result["rows"] = added(result["rows"], found, options.seed)
            done[str(options.seed)] = end
            save(FILE, result)
            FILE.with_suffix(".md").write_text(table(result))
            print(f"{end:,}: {sum(verdict.kind in FAULTS for verdict in found)} faults", flush=True)


def measure_again(result: Row, readers: list[str], seed: int, count: int) -> None:
    """Put new rows in the place of those of some readers, of as many mutations; of a seed that has none, of
    the part of `count` that falls to these readers.
    """
    count = result["done"].get(str(seed), count)
    with tempfile.TemporaryDirectory() as folder:
        found = list(verdicts(Path(folder), seed, 0, count, readers))
    others = [row for row in result["rows"] if row["seed"] != seed or row["reader"] not in readers]
    result["rows"] = added(others, found, seed)
    save(FILE, result)
    FILE.with_suffix(".md").write_text(table(result))
    print(f"{len(found):,}: {sum(verdict.kind in FAULTS for verdict in found)} faults", flush=True)


def added(rows: list[Row], found: list[Verdict], seed: int) -> list[Row]:
    """One row per reader and seed, with what was found added up."""
    how = record("benchmarks.fuzz", *PACKAGES, seed=seed)
    by_reader = {row["reader"]: row for row in rows if row["seed"] == seed}
    for name in dict.fromkeys(verdict.reader for verdict in found):
        mine = [verdict for verdict in found if verdict.reader == name]
        row = by_reader.setdefault(name, {"reader": name, "seed": seed, "counts": {}, "faults": []})
        row["counts"] = dict(Counter(row["counts"]) + Counter(verdict.kind for verdict in mine))
        faults = [
            {"number": one.number, "change": one.change, "kind": one.kind, "text": one.text}
            for one in mine
            if one.kind in FAULTS
        ]
        row["faults"] = [*row["faults"], *faults][:SHOWN]
        by_reader[name] = signed(row, how)
    order = {reader.name: place for place, reader in enumerate(READERS)}
    return [row for row in rows if row["seed"] != seed] + sorted(
        by_reader.values(), key=lambda row: order.get(row["reader"], len(order))
    )


def table(result: Row) -> str:
    """One line per reader over all seeds, then the faults."""
    rows = result["rows"]
    return page(
        "Damaged and forged files",
        rows,
        ABOUT,
        lambda: _sections(rows),
        lambda row: f"{row['reader']}, seed {row['seed']}",
    )


def _sections(rows: list[Row]) -> list[str]:
    checked = {reader.name for reader in READERS if reader.checked}
    lines = [
        f"{sum(sum(row['counts'].values()) for row in rows):,} mutations:",
        "",
        f"| reader | checksum | mutations | {REFUSED} | {SAME} | {OTHER} | faults |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["reader"] for row in rows):
        counts = sum((Counter(row["counts"]) for row in rows if row["reader"] == name), Counter[str]())
        figures = (
            counts.total(),
            counts[REFUSED],
            counts[SAME],
            counts[OTHER],
            sum(counts[kind] for kind in FAULTS),
        )
        lines.append(
            f"| {name} | {'✓' if name in checked else ''} | "
            + " | ".join(f"{figure:,}" for figure in figures)
            + " |"
        )
    faults = [(row, fault) for row in rows for fault in row["faults"]]
    if faults:
        lines += ["", "## Faults", ""]
        lines += [
            f"* {row['reader']}, seed {row['seed']}, mutation {one['number']} ({one['change']}): {_told(one)}"
            for row, one in faults
        ]
    return lines


def _told(fault: Row) -> str:
    return str(fault["kind"]) + (f": `{' '.join(fault['text'].split())}`" if fault["text"] else "")


if __name__ == "__main__":
    main()
