"""Every convolutional architecture of timm and torchvision: pruned by half, exact, how fast; beside
Torch-Pruning.

    python -m benchmarks.coverage [--only PATTERN] [--again] [--processes 2]
    python -m benchmarks.coverage --seconds [--only PATTERN] [--again]
    python -m benchmarks.coverage --table

Each model has a process of its own with one thread. What comes out does not depend on what else the machine
does, and several may run at a time; `--seconds` times both tools one after the other on each model, on a
machine that does nothing else. Results are kept in `benchmarks/results/coverage.json` as they come, and
models that are there already are skipped; the table `coverage.md` is made from that file.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import logging
import multiprocessing
import tempfile
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from benchmarks.architectures import ARCHITECTURES, Architecture
from benchmarks.coverage_table import summary, table
from benchmarks.environment import RESULTS, save
from benchmarks.rows import Row, kept, record, signed

RESULT = RESULTS / "coverage.json"
TIMED = ["prunus_seconds", "torch_pruning"]
LIMIT = 1800  # seconds for the whole process, model building and measuring included
README = RESULTS.parent.parent / "README.md"
START, END = "<!-- coverage: written by benchmarks.coverage -->", "<!-- end of coverage -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="names to run, with wildcards")
    parser.add_argument("--again", action="store_true", help="also run what has a result already")
    parser.add_argument("--seconds", action="store_true", help="time prunus and Torch-Pruning")
    parser.add_argument("--without-peer", action="store_true", help="leave Torch-Pruning out")
    parser.add_argument("--processes", type=int, default=1, help="models at a time")
    parser.add_argument(
        "--since",
        default="",
        help="with --again: leave out what was measured on this day (YYYY-MM-DD) or later",
    )
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = parser.parse_args()
    chosen = [a for a in ARCHITECTURES if fnmatch.fnmatch(a.name, options.only)]
    if not options.table:
        prepare()
        timed = TIMED[:1] if options.without_peer else TIMED
        tools = timed if options.seconds else ["prunus"]
        run(chosen, options.again, tools, options.processes, options.since)
    result = kept(RESULT)
    RESULT.with_suffix(".md").write_text(table(result))
    README.write_text(with_summary(README.read_text(), result))
    print(table(result))


def with_summary(readme: str, result: Row) -> str:
    """The README with the table's summary between its two marks."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    rows = [row for row in result["rows"] if "prunus" in row]
    intro = (
        f"Half of the channels of {len(rows)} timm and torchvision architectures ([every"
        " one](benchmarks/results/coverage.md)):"
    )
    return "\n".join([before + START, intro, "", *[f"* {line}" for line in summary(rows)], END + after])


def run(chosen: list[Architecture], again: bool, tools: list[str], processes: int, since: str) -> None:
    """Run what is missing, keeping every result as soon as it is there."""
    result = kept(RESULT)
    by_name = {row["name"]: row for row in result["rows"]}
    for architecture in chosen:
        if architecture.name not in by_name:
            by_name[architecture.name] = {}
            result["rows"].append(by_name[architecture.name])
        by_name[architecture.name] |= asdict(architecture)

    def missing(row: Row) -> list[str]:
        new = {
            tool for tool in tools if since and row.get("measured", {}).get(tool, {}).get("date", "") >= since
        }
        if since and "torch_pruning" in row and row["torch_pruning"]["status"] != "ok":
            new.add("torch_pruning")  # the peer's version is pinned: what it could not do, it cannot
        return [tool for tool in tools if tool not in new and (again or tool not in row.get("measured", {}))]

    jobs = [
        (architecture, names)
        for architecture in sorted(chosen, key=_turn)
        if (names := missing(by_name[architecture.name]))
    ]
    with ThreadPoolExecutor(processes) as pool:
        for number, (architecture, names, found) in enumerate(
            pool.map(lambda job: (*job, in_process(job[1], job[0])), jobs), 1
        ):
            row = by_name[architecture.name]
            if found.get("prunus_seconds", {}).get("status") == "ok":
                row["prunus"] |= found["prunus_seconds"]
            row |= {tool: found[tool] for tool in names if tool != "prunus_seconds"}
            for tool in names:
                row |= signed(row, how(), tool)
            save(RESULT, result)
            words = [
                f"{tool} {found[tool]['status']} {found[tool].get('message', '')[:90]}" for tool in names
            ]
            print(f"{number}/{len(jobs)} {architecture.name}: {'; '.join(words)}", flush=True)


def how() -> Row:
    """The record of a worker, which has one thread."""
    found = record("benchmarks.coverage", "timm", "torchvision", "torch-pruning", "numpy", seed=0)
    found["environment"]["threads"] = "1"
    return found


def _turn(architecture: Architecture) -> int:
    """One network of every family comes first."""
    family = [a.name for a in ARCHITECTURES if a.family == architecture.family and a.name.startswith("timm")]
    return family.index(architecture.name) if architecture.name in family else 0


def in_process(tools: list[str], architecture: Architecture) -> Row:
    """Run the tools one after the other on one model in a process of its own, with one thread: forked, so
    that packages are imported once.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.jsonl"
        child = multiprocessing.get_context("fork").Process(target=work, args=(tools, architecture, found))
        child.start()
        child.join(LIMIT)
        late = child.is_alive()
        if late:
            child.kill()
            child.join()
        message = f"the process was stopped after {LIMIT} s" if late else f"code {child.exitcode}"
        rows: Row = {tool: {"status": "timeout" if late else "raises", "message": message} for tool in tools}
        for line in found.read_text().splitlines() if found.exists() else ():
            rows |= json.loads(line)
    return rows


def prepare() -> None:
    """What every worker needs, before the first one is forked."""
    import torch

    from benchmarks.coverage_workers import warm_up

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    warm_up()


def work(tools: list[str], architecture: Architecture, found: Path) -> None:
    """The worker process: one line of JSON per tool."""
    from benchmarks.coverage_workers import WORKERS

    for tool in tools:
        try:
            row = {"status": "ok", **WORKERS[tool](architecture)}
        except TimeoutError as error:
            row = {"status": "timeout", "message": str(error)}
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            row = {"status": "raises", "message": f"{type(error).__name__}: {str(error)[:300]} ({place})"}
        with found.open("a") as file:
            print(json.dumps({tool: row}), file=file)


if __name__ == "__main__":
    main()
