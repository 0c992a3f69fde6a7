"""Every convolutional architecture of timm and torchvision: pruned by half, exact, how fast; beside Torch-Pruning.

    python -m benchmarks.coverage [--only PATTERN] [--again] [--table]

Each model and each tool has a process of its own. Results are kept in `benchmarks/results/coverage.json` as they come, and
models that are there already are skipped; the table `coverage.md` is made from that file.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import logging
import os
import subprocess
import sys
import traceback
import warnings
from dataclasses import asdict

from benchmarks.architectures import ARCHITECTURES, Architecture
from benchmarks.coverage_table import summary, table
from benchmarks.environment import RESULTS, save
from benchmarks.rows import Row, kept, record, signed

RESULT = RESULTS / "coverage.json"
TOOLS = ["prunus", "torch_pruning"]
LIMIT = 300  # seconds for the whole process, model building and measuring included
MARK = "RESULT "
README = RESULTS.parent.parent / "README.md"
START, END = "<!-- coverage: written by benchmarks.coverage -->", "<!-- end of coverage -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="names to run, with wildcards")
    parser.add_argument("--again", action="store_true", help="also run what has a result already")
    parser.add_argument("--without-peer", action="store_true", help="leave Torch-Pruning out (an old result stays)")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = [a for a in ARCHITECTURES if fnmatch.fnmatch(a.name, options.only)]
    if options.worker:
        work(options.worker.split(","), chosen[0])
    elif not options.table:
        run(chosen, again=options.again, tools=["prunus"] if options.without_peer else TOOLS)
    if not options.worker:
        result = kept(RESULT)
        RESULT.with_suffix(".md").write_text(table(result))
        README.write_text(with_summary(README.read_text(), result))
        print(table(result))


def with_summary(readme: str, result: Row) -> str:
    """The README with the table's summary between its two marks."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    rows = [row for row in result["rows"] if "prunus" in row]
    intro = f"Half of the channels of {len(rows)} timm and torchvision architectures ([every one](benchmarks/results/coverage.md)):"
    return "\n".join([before + START, intro, "", *[f"* {line}" for line in summary(rows)], END + after])


def run(chosen: list[Architecture], again: bool, tools: list[str]) -> None:
    """Run what is missing, keeping every result as soon as it is there."""
    result = kept(RESULT)
    by_name = {row["name"]: row for row in result["rows"]}
    for i, architecture in enumerate(sorted(chosen, key=_turn)):
        if architecture.name not in by_name:
            by_name[architecture.name] = {}
            result["rows"].append(by_name[architecture.name])
        row = by_name[architecture.name]
        row |= asdict(architecture)
        missing = [tool for tool in tools if again or tool not in row]
        if missing:
            row |= in_process(missing, architecture)
        for tool in missing:
            row |= signed(row, how(), tool)
        save(RESULT, result)
        words = [f"{tool} {row[tool]['status']} {row[tool].get('message', '')[:90]}" for tool in tools]
        print(f"{i + 1}/{len(chosen)} {architecture.name}: {'; '.join(words)}", flush=True)


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
    """Run the tools one after the other on one model in a fresh process, with one thread."""
    arguments = [sys.executable, "-m", "benchmarks.coverage", "--only", architecture.name, "--worker", ",".join(tools)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT, env=environment)
        output, trouble = done.stdout, {"status": "raises", "message": f"code {done.returncode}: {done.stderr.strip()[-300:]}"}
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        trouble = {"status": "timeout", "message": f"the process was stopped after {LIMIT} s"}
    rows: Row = dict.fromkeys(tools, trouble)
    for line in output.splitlines():
        if line.startswith(MARK):
            rows |= json.loads(line.removeprefix(MARK))
    return rows


def work(tools: list[str], architecture: Architecture) -> None:
    """The worker process: print one line of JSON per tool."""
    from benchmarks.coverage_workers import WORKERS, warm_up

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    warm_up()
    for tool in tools:
        try:
            row = {"status": "ok", **WORKERS[tool](architecture)}
        except TimeoutError as error:
            row = {"status": "timeout", "message": str(error)}
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            row = {"status": "raises", "message": f"{type(error).__name__}: {str(error)[:300]} ({place})"}
        print(MARK + json.dumps({tool: row}), flush=True)


if __name__ == "__main__":
    main()
