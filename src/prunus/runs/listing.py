"""What there is to choose from: methods, scores and networks by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from prunus.methods import registry
from prunus.runs.names import About, Needs, scores
from prunus.runs.shapes import CIFAR_SHAPE, OUR_SHAPES

MEASURED = Path(__file__).with_name("measured.json")  # written by benchmarks.every_method
PATTERNS = ("timm/NAME", "torchvision/NAME", "package.module:factory")
_HOW = {"one-shot": "prunus prune"}  # of the others: prunus train --method NAME
METHODS = {
    name: About(
        f"{one.summary}: {_HOW.get(name, f'prunus train --method {name}')}",
        one.paper,
        Needs(one.needs),
        one.cost,
    )
    for name, one in registry.METHODS.items()
} | {
    "critical": About(
        "train on samples that still teach something: prunus train --select lower-bound",
        "Pabitha and Jayasimhan 2024, China Communications",
        Needs.TRAINING,
        "less than a training",
    ),
    "cascade": About(
        "a small network answers what it is sure of, larger ones the rest: prunus cascade",
        "Park et al. 2015, CODES+ISSS",
        Needs.LABELS,
        "a forward pass of every stage",
    ),
}


def methods() -> dict[str, list[dict[str, Any]]]:
    """The methods, and the scores by which channels are chosen, with what was measured of them; None where
    nothing was.
    """
    found = measured()
    return {
        "methods": _plain(METHODS, found.get("methods", {})),
        "scores": _plain(scores(), found.get("scores", {})),
    }


@cache
def measured() -> dict[str, Any]:
    """The rows of `benchmarks/results/every_method.json` by name, in "methods", "scores" and "controls", and
    what they are of; empty without any.
    """
    found: dict[str, Any] = json.loads(MEASURED.read_text("utf-8"))
    return found


def figures(row: Mapping[str, Any] | None) -> str:
    """A row in a cell: accuracy at once and after all epochs, with its deviation over the seeds."""
    if row is None:
        return ""
    first = "" if row["one_shot"] is None else f"{row['one_shot']:.1f} → "
    apart = f" ± {row['deviation']:.1f}" if row["deviation"] is not None else " (one seed)"
    return f"{first}{row['tuned']:.1f}{apart}"


def controls() -> list[str]:
    """What the figures are of, and what they must beat, in sentences; none without figures."""
    found = measured()
    if not found:
        return []
    some = f" of {found['train']:,} samples" if found["train"] else ""
    of = (
        f"Measured: test accuracy [%] of {found['network']} on {found['data']} with {found['macs']:.0%} of"
        f" its MACs, at once → after {found['epochs']} epochs{some} in all; before: {found['before']:.1f}."
    )
    beside = "; ".join(f"{name}: {figures(row)}" for name, row in found["controls"].items())
    return [of, f"Controls: {beside}."]


def _plain(table: Mapping[Any, About], figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": str(name),
            **asdict(about),
            "needs_data": about.needs != Needs.NOTHING,
            "measured": figures.get(str(name)),
        }
        for name, about in table.items()
    ]


def networks() -> list[dict[str, Any]]:
    """The networks that have names, with their cost."""
    import torch

    from prunus import models
    from prunus.paint import trace

    rows: list[dict[str, Any]] = []
    for name in models.names():
        shape = OUR_SHAPES.get(name, CIFAR_SHAPE)
        cost = trace(models.build(name).eval(), torch.zeros(shape)).cost()
        rows.append({"name": name, "input_shape": list(shape), "macs": cost.macs, "params": cost.params})
    return rows
