"""What there is to choose from: methods, scores and networks by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prunus.methods import registry
from prunus.runs.loading import CIFAR_SHAPE, OUR_SHAPES
from prunus.runs.names import About, Needs, scores

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
    """The methods, and the scores by which channels are chosen."""
    return {"methods": _plain(METHODS), "scores": _plain(scores())}


def _plain(table: Mapping[Any, About]) -> list[dict[str, Any]]:
    return [
        {"name": str(name), **asdict(about), "needs_data": about.needs != Needs.NOTHING}
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
