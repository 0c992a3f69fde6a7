"""Rows of measurements: kept in a JSON file, written as soon as they are there, never measured twice; and
pages made of them.

A row says by itself how it came about. Its `measured` holds one record for each part that was measured apart
(`accuracy`, `latency`, `training of pruned` on another machine …; `all` where there is one part only), and a
record has

* `command`: the command line;
* `environment`: processor, cores, threads and versions (`benchmarks.environment.describe`), and on a GPU its
  name;
* `device`: what computed, "cpu" or "cuda";
* `seed`: of everything random; null where nothing is drawn;
* `date`: the day, in UTC;
* `read_from`: only in rows that are older than records, the commit of this repository whose file and message
  say the rest; the date is then the commit's.

What a record cannot know is the text "not recorded".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, quantiles, stdev
from textwrap import wrap
from typing import Any

from benchmarks.environment import command, describe, save

Row = dict[str, Any]
Record = dict[str, Any]
ALL = "all"  # the part of a row that is measured in one go
UNKNOWN = "not recorded"
WIDTH = 110  # characters of a line of prose
NAMED = 4  # a page names up to so many rows of a command


def kept(path: Path) -> Row:
    """What was measured before."""
    result: Row = json.loads(path.read_text()) if path.exists() else {"rows": []}
    return result


def measured_before(result: Row, key: Row) -> bool:
    """Whether there is a row of this key."""
    return any(all(row[name] == value for name, value in key.items()) for row in result["rows"])


def record(module: str, *packages: str, device: str = "cpu", seed: int | None = None) -> Record:
    """How something was measured by the command that runs now."""
    return {
        "command": command(module),
        "environment": describe(*packages, device=device),
        "device": device,
        "seed": seed,
        "date": datetime.now(UTC).date().isoformat(),
    }


def unrecorded(seed: int | None) -> Record:
    """The record of what left none."""
    where = {"processor": UNKNOWN, "versions": {}}
    return {"command": UNKNOWN, "environment": where, "device": UNKNOWN, "seed": seed, "date": UNKNOWN}


def signed(row: Row, how: Record, part: str = ALL) -> Row:
    """The row with the record of one of its parts; records of other parts stay."""
    return row | {"measured": row.get("measured", {}) | {part: how}}


def add(path: Path, result: Row, row: Row, how: Record, part: str = ALL) -> None:
    """Put a row with its record to the others, those included that were written meanwhile, and write them
    all.
    """
    result["rows"] = [*kept(path)["rows"], signed(row, how, part)]
    save(path, result)


def complete(path: Path, result: Row, row: Row, part: str, value: Any, how: Record) -> None:
    """Put what was measured later into a row of `result`, with a record of its own, and write them all."""
    row |= signed(row, how, part) | {part: value}
    save(path, result)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows in place of all that there were, for benchmarks that measure everything anew."""
    save(path, {"rows": list(rows)})


def page(
    title: str,
    rows: Sequence[Row],
    about: str,
    body: Callable[[], list[str]],
    name: Callable[[Row], str],
) -> str:
    """A table's page: what it is about, the tables, and the commands by which its rows, called by `name`,
    were measured.
    """
    if not rows:
        return f"# {title}\n\nNothing has been measured yet.\n"
    return "\n".join([f"# {title}", "", *_paragraphs(about), *body(), "", *provenance(rows, name)]) + "\n"


def _paragraphs(text: str) -> list[str]:
    """Lines of a page, with an empty one behind each paragraph."""
    return [line for paragraph in text.split("\n\n") if text for line in (*wrap(paragraph, WIDTH), "")]


def provenance(rows: Iterable[Row], name: Callable[[Row], str]) -> list[str]:
    """The commands under the machine that they ran on, each once, with the days and the rows."""
    machines: dict[str, dict[str, list[tuple[str, str, Record]]]] = {}
    for row in rows:
        for part, how in row["measured"].items():
            commands = machines.setdefault(machine(how), {})
            commands.setdefault(how["command"], []).append((part, name(row), how))
    lines = ["## How it was measured"]
    for where, commands in machines.items():
        lines += ["", f"{where}:", ""]
        lines += [
            f"* {_quoted(line)} ({', '.join(sorted({how['date'] for *_, how in found}))}): {_rows(found)}"
            for line, found in commands.items()
        ]
    return lines


def machine(how: Record) -> str:
    """Device, processor, cores, threads and versions in words."""
    where = how["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    parts = [
        where.get("accelerator", ""),
        f"processor {UNKNOWN}" if where["processor"] == UNKNOWN else where["processor"],
    ]
    parts.append(" ".join(where.get("vector_units", [])))
    parts += [f"{where['cores']} cores"] if "cores" in where else []
    parts += [f"threads: {where['threads']}"] if "threads" in where else []
    return "; ".join(filter(None, [", ".join(filter(None, parts)), versions]))


def _quoted(line: str) -> str:
    return f"`{line}`" if line != UNKNOWN else f"command {UNKNOWN}"


def _rows(found: list[tuple[str, str, Record]]) -> str:
    """Which rows, part by part."""
    parts: dict[str, list[str]] = {}
    for part, row, _ in found:
        parts.setdefault(part, []).append(row)
    return "; ".join(
        ("" if part == ALL else f"{part} of ")
        + ("; ".join(dict.fromkeys(rows)) if len(set(rows)) <= NAMED else f"{len(rows)} rows")
        for part, rows in parts.items()
    )


def middle(ratios: Sequence[float]) -> Row:
    """Their median and quartiles."""
    low, median, high = quantiles(ratios, n=4, method="inclusive")
    return {"median": round(median, 4), "quartiles": [round(low, 4), round(high, 4)]}


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Mean and standard deviation; nothing of no values."""
    if not values:
        return ""
    around = form.replace("+", "")  # a deviation has no sign
    return form.format(mean(values)) + (f" ± {around.format(stdev(values))}" if len(values) > 1 else "")
