"""The page of several runs: three charts of accuracy against what it costs, and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunus._foundation.json_files import all_printable
from prunus._foundation.wording import printable
from prunus.report import words
from prunus.report.html import WIDTHS, facts, fill, require
from prunus.report.result import write_text
from prunus.report.runs import Point, Quantity, Runs, gather

QUANTITIES: tuple[Quantity, ...] = ("macs", "latency_ms", "bytes")


def write(results: Mapping[str, Mapping[str, Any]], path: Path | str, command: str = "") -> None:
    """Write the page of several runs as a single HTML file that asks for nothing else, atomically.

    Args:
        results: name -> result, as for `prunus.report.runs.gather`.
        path: where to write; an existing file is replaced.
        command: what made the page.

    Raises:
        MissingExtraError: the extra `report` (jinja2, matplotlib) is not installed.
        ConfigError: the runs do not belong into one chart.
    """
    write_text(render(results, command), path)


def render(results: Mapping[str, Mapping[str, Any]], command: str = "") -> str:
    """The page as text; see `write` for the errors."""
    require()
    from prunus.report import pareto

    results, command = all_printable(results), printable(command)
    runs = gather(results)
    shown = [
        quantity for quantity in QUANTITIES if any(point.cost(quantity) is not None for point in runs.points)
    ]
    figures = {
        quantity: {kind: pareto.front(runs, quantity, width) for kind, width in WIDTHS.items()}
        for quantity in shown
    }
    environment = next((facts(result) for result in results.values() if "environment" in result), [])
    return fill(
        "runs.html.j2",
        runs=runs,
        verdict=verdict(runs),
        rows=table(runs),
        figures=figures,
        command=command,
        commands={name: result.get("command", "") for name, result in results.items()},
        facts=[
            (name, text)
            for name, text in environment
            if name in ("Processor", "Vector instructions", "Accelerator")
        ]
        if runs.runtime
        else [],
    )


def verdict(runs: Runs) -> str:
    """The run that one would take, in one line."""
    chosen, reference = runs.choice(), runs.reference()
    if chosen.macs >= reference.macs:
        return f"Nothing smaller is as accurate as {chosen.name}"
    difference = words.points(chosen.accuracy - reference.accuracy)
    parts = [
        f"{words.times(reference.macs, chosen.macs)} fewer MACs",
        "accuracy unchanged" if difference == "±0.0" else f"accuracy {difference} points",
    ]
    return f"{chosen.name}: " + ", ".join(map(words.unbroken, parts))


def table(runs: Runs) -> list[dict[str, Any]]:
    """One row per network, the dearest first: its figures, and on which fronts it is."""
    fronts = {quantity: runs.front(quantity) for quantity in QUANTITIES}
    return [
        {
            "name": point.name,
            "asked": point.asked,
            "accuracy": f"{point.accuracy:.1f}{words.SPACE}%",
            "cells": [
                {"text": _cost(point, quantity), "best": point in fronts[quantity]}
                for quantity in QUANTITIES
                if runs.runtime or quantity != "latency_ms"
            ],
        }
        for point in sorted(runs.points, key=lambda point: (-point.macs, not point.original, -point.accuracy))
    ]


def _cost(point: Point, quantity: Quantity) -> str:
    cost = point.cost(quantity)
    if cost is None:
        return "–"
    return {"macs": words.count, "latency_ms": words.milliseconds, "bytes": words.size}[quantity](cost)
