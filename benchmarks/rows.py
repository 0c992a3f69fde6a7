"""Rows of measurements: kept in a JSON file, written as soon as they are there, never measured twice; and how tables show them."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.environment import command, describe, save

Row = dict[str, Any]


def kept(path: Path) -> Row:
    """What was measured before."""
    result: Row = json.loads(path.read_text()) if path.exists() else {"rows": []}
    return result


def measured_before(result: Row, key: Row) -> bool:
    """Whether there is a row of this key."""
    return any(all(row[name] == value for name, value in key.items()) for row in result["rows"])


def add(path: Path, result: Row, row: Row, module: str, *packages: str) -> None:
    """Put a row to the others, those included that were written meanwhile, with the command and the environment, and write them all."""
    result["rows"] = [*kept(path)["rows"], row]
    result |= {"command": command(module), "environment": describe(*packages)}
    save(path, result)


def heading(title: str, result: Row, *about: str) -> list[str]:
    """The first lines of a table's page."""
    versions = ", ".join(f"{name} {number}" for name, number in result["environment"]["versions"].items())
    return [f"# {title}", "", f"`{result['command']}` was the last of the commands; {versions}.", *about]


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Mean and standard deviation; nothing of no values."""
    if not values:
        return ""
    return form.format(mean(values)) + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
