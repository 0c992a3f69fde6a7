"""Networks of the packages that users prune with: pruned by half, exact, trained, saved, exported.

    python -m benchmarks.zoo [--only PATTERN] [--again] [--jobs prune train onnx] [--table] [--install]

The packages are no dependencies of prunus; `--install` prints the lines that install them beside a CPU build
of torch, and networks whose package is absent are skipped. Each network has a process of its own with limits
of time and memory. Results are kept in `benchmarks/results/zoo.json` as they come, and networks that are
there already are skipped; the table `zoo.md` is made from that file.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import logging
import multiprocessing
import resource
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.environment import RESULTS, save
from benchmarks.rows import Record, kept, record, signed
from benchmarks.zoo_models import ENTRIES, Entry

RESULT = RESULTS / "zoo.json"
LIMITS = {"prune": 300, "train": 300, "onnx": 300}  # seconds of processor time, model building included
PATIENCE = 8  # how many times longer a process may take on a busy machine
MEMORY = 9 << 30  # bytes of a process's data
INSTALL = (
    "pip install -c constraints.txt torch numpy scipy safetensors rich typer onnx onnxscript onnxruntime",
    (
        "pip install -c constraints.txt pyyaml pillow tqdm regex requests einops omegaconf psutil"
        " importlib_metadata matplotlib pandas scikit-learn"
    ),
    (
        "pip install --no-deps torchvision==0.28.0 timm segmentation-models-pytorch effdet pretrainedmodels"
        " munch pytorchcv"
    ),
    (
        "pip install --no-deps transformers tokenizers huggingface-hub hf-xet httpx httpcore anyio h11"
        " sniffio diffusers monai"
    ),
    (
        "pip install --no-deps braindecode skorch mne mne-bids docstring-inheritance"
        " linear-attention-transformer torchaudio h5py wfdb"
    ),
    "pip install -c constraints.txt pooch lazy_loader decorator tabulate",
)
PACKAGES = {
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "ultralytics": "ultralytics",
}  # imported name: installed name, where they differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="names to run, with wildcards")
    parser.add_argument("--again", action="store_true", help="also run what has a result already")
    parser.add_argument(
        "--jobs", nargs="+", choices=list(LIMITS), default=list(LIMITS), help="what to do with each network"
    )
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    parser.add_argument("--install", action="store_true", help="print the lines that install the packages")
    parser.add_argument("--list", action="store_true", help="print the names")
    options = parser.parse_args()
    chosen = [entry for entry in ENTRIES if fnmatch.fnmatch(entry.name, options.only)]
    if options.install:
        print("\n".join(INSTALL))
    elif options.list:
        print("\n".join(entry.name for entry in chosen))
    else:
        if not options.table:
            for job in options.jobs:
                run(chosen, options.again, job)
        from benchmarks.zoo_table import table

        RESULT.with_suffix(".md").write_text(table(kept(RESULT)))


def run(chosen: list[Entry], again: bool, job: str) -> None:
    """Run what is missing, keeping every result as soon as it is there."""
    absent = {entry.package for entry in chosen if importlib.util.find_spec(entry.package) is None}
    for package in sorted(absent):
        print(f"{package} is not installed: its networks are skipped", flush=True)
    chosen = [entry for entry in chosen if entry.package not in absent]
    chosen = in_turn(chosen)
    prepare({entry.package: entry for entry in reversed(chosen)}.values())
    for i, entry in enumerate(chosen):
        if again or job not in row_of(kept(RESULT)["rows"], entry.name):
            found = in_process(entry, job)
            result = kept(RESULT)  # read anew: another run may have written meanwhile
            row = row_of(result["rows"], entry.name)
            row |= signed(row, how(entry), job) | {job: found}
            save(RESULT, result)
            print(f"{i + 1}/{len(chosen)} {entry.name}: {brief(found)}", flush=True)


def row_of(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The row of a network, put to the others if it is new."""
    for row in rows:
        if row["name"] == name:
            return row
    rows.append({"name": name})
    return rows[-1]


def how(entry: Entry) -> Record:
    """The record of a worker, which has one thread, with the commit that was measured."""
    found = record(
        "benchmarks.zoo", PACKAGES.get(entry.package, entry.package), "onnx", "onnxruntime", seed=0
    )
    found["environment"]["threads"] = "1"
    return found | {"revision": revision()}


def in_turn(chosen: list[Entry]) -> list[Entry]:
    """One network of every package, then another of every package."""
    return sorted(chosen, key=lambda entry: [e for e in chosen if e.package == entry.package].index(entry))


def brief(row: dict[str, Any]) -> str:
    """What one line says of a row."""
    kept = {
        key: value
        for key, value in row.items()
        if key.endswith("failed") or key in ("mode", "exact", "macs_left", "double", "larger", "train")
    }
    return ", ".join(f"{key} {str(value)[:160]}" for key, value in kept.items())


def in_process(entry: Entry, job: str) -> dict[str, Any]:
    """The findings of one network in a process of its own with one thread; a crash or a hang is its own
    finding.

    The process is forked, so that the packages are imported once; its limit is one of its own time, since the
    machine may be busy with other things.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.jsonl"
        child = multiprocessing.get_context("fork").Process(target=work, args=(entry, job, found))
        child.start()
        child.join(LIMITS[job] * PATIENCE)
        if child.is_alive():
            child.kill()
            child.join()
        row: dict[str, Any] = {}
        for line in found.read_text().splitlines() if found.exists() else ():
            row |= json.loads(line)
    if child.exitcode:
        row["process_failed"] = (
            f"stopped by signal {-child.exitcode}" if child.exitcode < 0 else f"code {child.exitcode}"
        )
    return row


def revision() -> str:
    """The commit that was measured; a plus sign where files had changed since."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    ).stdout.strip()


def work(entry: Entry, job: str, found: Path) -> None:
    """The worker process: one line of JSON per step, and a last one with the seconds of processor time."""
    from benchmarks.zoo_workers import JOBS

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (LIMITS[job], LIMITS[job] + 5))
    start = time.process_time()
    with found.open("w") as file:
        for step in JOBS[job](entry):
            print(json.dumps(step), file=file, flush=True)
        print(json.dumps({"seconds": round(time.process_time() - start, 1)}), file=file)


def prepare(entries: Iterable[Entry]) -> None:
    """Make one network of every package and prune a small one, so that no row pays for what is loaded on
    first use.
    """
    from tests.torchvision_shim import missing

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    missing("torchvision", "timm")
    import torch

    import prunus
    from benchmarks import zoo_workers  # noqa: F401

    torch.set_num_threads(1)
    for entry in entries:
        entry.make()
    model, example = (
        torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3)),
        torch.randn(1, 3, 8, 8),
    )
    graph = prunus.trace(model, example)
    prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))


if __name__ == "__main__":
    main()
