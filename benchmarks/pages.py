"""The pages of all results, written from the kept rows.

python -m benchmarks.pages
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    coding_table,
    compensation,
    coverage_table,
    dynamic_table,
    every_method_table,
    frontier_table,
    gated,
    history_lenet_table,
    int8_table,
    latency,
    latency_tuned_table,
    methods_table,
    norms_table,
    one_shot_table,
    onnx_coverage,
    segmentation_table,
    tolerance,
    tuned_table,
    twofold_table,
    zoo_table,
)
from benchmarks.environment import RESULTS
from benchmarks.rows import Row, kept

PAGES: dict[str, Callable[[Row], str]] = {
    "coding": coding_table.table,
    "compensation": compensation.table,
    "coverage": coverage_table.table,
    "dynamic": dynamic_table.table,
    "frontier": frontier_table.table,
    "every_method": every_method_table.table,
    "gated": gated.table,
    "history_lenet": history_lenet_table.table,
    "int8": int8_table.table,
    "latency": latency.table,
    "latency_tuned": latency_tuned_table.table,
    "methods": methods_table.table,
    "norms": norms_table.table,
    "one_shot": one_shot_table.table,
    "onnx_coverage": onnx_coverage.table,
    "segmentation": segmentation_table.table,
    "tolerance": tolerance.table,
    "tuned": tuned_table.table,
    "twofold": twofold_table.table,
    "zoo": zoo_table.table,
}


def main() -> None:
    for name, table in PAGES.items():
        file(name).write_text(table(kept(RESULTS / f"{name}.json")))


def file(name: str) -> Path:
    """Of a page."""
    return RESULTS / f"{name}.md"


if __name__ == "__main__":
    main()
