"""Every convolutional architecture of timm and torchvision, dense and pruned by half, as an ONNX file beside
PyTorch.

    python -m benchmarks.onnx_coverage [--only PATTERN] [--again]

Each architecture has a process of its own; results are kept as they come, and those that are there are not
made again. Differences are the largest of any output element, relative to the largest output, on a random
image.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.architectures import ARCHITECTURES, Architecture
from benchmarks.environment import RESULTS, save
from benchmarks.rows import Row, add, kept, measured_before, page, record

RESULT = RESULTS / "onnx_coverage.json"
LIMIT = 600  # seconds
WITHIN = 1e-4
MARK = "RESULT "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="names to run, with wildcards")
    parser.add_argument("--again", action="store_true", help="also run what has a result already")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(MARK + json.dumps(work(next(a for a in ARCHITECTURES if a.name == options.worker))))
        return
    result = kept(RESULT)
    for architecture in ARCHITECTURES:
        key = {"name": architecture.name}
        if options.table or not fnmatch.fnmatch(architecture.name, options.only):
            continue
        if options.again:
            result["rows"] = [row for row in result["rows"] if row["name"] != architecture.name]
            save(RESULT, result)
        if not measured_before(result, key):
            row = key | in_process(architecture.name)
            how = record(
                "benchmarks.onnx_coverage", "timm", "torchvision", "onnx", "onnxscript", "onnxruntime", seed=0
            )
            add(RESULT, result, row, how)
            print(row, flush=True)
    RESULT.with_suffix(".md").write_text(table(result))


def in_process(name: str) -> Row:
    """The row of one architecture; a crash or a hang is its own result."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.onnx_coverage", "--worker", name],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished in {LIMIT} s"}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            found: Row = json.loads(line.removeprefix(MARK))
            return found
    return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}


def work(architecture: Architecture) -> Row:
    """Export the dense network and half of it."""
    import torch
    from tests.torchvision_shim import missing

    if reason := missing("timm"):
        raise SystemExit(reason)
    import prunus
    from benchmarks.coverage_workers import plan_at_rate, randomised

    torch.set_num_threads(1)
    model, image = randomised(architecture)
    small = prunus.compact(model, plan_at_rate(prunus.trace(model, image)), check=False).eval()
    row = {"mode": small.prunus.mode, "dense": difference(model, image), "pruned": difference(small, image)}
    if isinstance(row["dense"], float) and row["dense"] > WITHIN:
        row["rounding"] = rounding(model, image)
    return row


def difference(model: Any, image: Any) -> float | str:
    """Of the file's outputs, or what the exporter said."""
    from prunus.deploy.onnx import export
    from prunus.errors import PrunusError

    with tempfile.TemporaryDirectory() as folder:
        try:
            return export(model, image, Path(folder) / "model.onnx", tolerance=float("inf")).relative
        except PrunusError as error:
            return str(error)[:300]


def rounding(model: Any, image: Any) -> float:
    """How far PyTorch in 32 bits is from PyTorch in 64, in the units of `difference`."""
    import torch

    from prunus.deploy.inputs import tensors

    with torch.no_grad():
        found, exact = tensors(model(image)), tensors(model.double()(image.double()))
    return max(float((a.double() - b).abs().max()) for a, b in zip(found, exact)) / max(
        float(one.abs().max()) for one in exact
    )


def table(result: Row) -> str:
    """Counts first, then what is not as it should be, then all."""
    about = (
        "Random weights. Differences are the largest of any output element, relative to the largest output, "
        "on a random image."
    )
    return page(
        "ONNX files of every architecture",
        result["rows"],
        about,
        lambda: _files(result["rows"]),
        lambda row: row["name"],
    )


def _files(rows: list[Row]) -> list[str]:
    able = [row for row in rows if isinstance(row.get("dense"), float)]
    good = [row for row in able if isinstance(row["pruned"], float) and row["pruned"] <= WITHIN]
    lines = [
        f"* {len(able)} of {len(rows)} architectures can be exported dense",
        (
            f"* {len(good)} of these can be exported with half of their channels, within {WITHIN:g} of"
            " PyTorch in ONNX Runtime"
        ),
        "",
        "| architecture | compact module | dense | pruned |",
        "|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row in good):
        cells = [
            row["name"],
            row.get("mode", ""),
            _cell(row["dense"] if "dense" in row else row.get("failed") or ""),
            _cell(row.get("pruned", "")),
        ]
        if "rounding" in row:
            cells[2] += f" (PyTorch's own rounding: {row['rounding']:.0e})"
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(found: float | str) -> str:
    return f"{found:.0e}" if isinstance(found, float) else found.replace("|", "/").replace("\n", " ")[:120]


if __name__ == "__main__":
    main()
