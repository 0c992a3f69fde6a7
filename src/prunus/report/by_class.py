"""The metric class by class in words: the table of its section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunus.report import words

MOST = 20  # classes that are seen without unfolding the rest


def table(panel: Mapping[str, Any]) -> dict[str, Any]:
    """Heads and rows, the class that lost most first; where nothing was measured before, the worst first."""
    compared = any(row["before"] is not None for row in panel["rows"])
    rows = [_row(row, compared) for row in sorted(panel["rows"], key=_loss)]
    heads = [*(("Before", "After", "Change") if compared else ("Value",)), words.title(panel["counted"])]
    lost, won = (sum(_change(row) * sign < -0.05 for row in panel["rows"]) for sign in (1, -1))
    text = f"{lost or 'None'} of {len(rows)} classes lost, {won or 'none'} won; the worst change comes first."
    return {
        "title": f"{words.title(panel['figure'])} of every class",
        "text": text if compared else "The worst class comes first.",
        "heads": heads,
        "rows": rows[:MOST],
        "rest": rows[MOST:],
    }


def _change(row: Mapping[str, Any]) -> float:
    """Points won."""
    return 0.0 if row["before"] is None or row["after"] is None else float(row["after"] - row["before"])


def _loss(row: Mapping[str, Any]) -> tuple[bool, float, float, int]:
    """What sorts rows: those of which nothing can be said come last."""
    known = row["after"] is not None
    return (not known, _change(row), row["after"] if known else 0.0, row["label"])


def _row(row: Mapping[str, Any], compared: bool) -> dict[str, Any]:
    change = "" if row["before"] is None or row["after"] is None else words.points(_change(row))
    cells = (
        [_percent(row["before"]), _percent(row["after"]), change] if compared else [_percent(row["after"])]
    )
    return {"name": row["name"], "cells": [*cells, words.count(row["there"])]}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}{words.SPACE}%"
