"""`prunus methods` and `prunus models`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prunus.cli import options as given
from prunus.cli.console import show, show_json, show_table
from prunus.methods import registry
from prunus.runs.loading import CIFAR_SHAPE, OUR_SHAPES
from prunus.runs.names import SCORES, About, Needs

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
        "train on samples that still teach something: prunus train --select critical",
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


def methods(as_json: given.AsJson = False) -> None:
    """List the methods, and the scores by which channels are chosen."""
    if as_json:
        show_json({"methods": _plain(METHODS), "scores": _plain(SCORES)})
        return
    _table("Methods", "what it does", METHODS)
    show("")
    _table("Scores", "a channel is worth its", SCORES)


def _plain(table: Mapping[Any, About]) -> list[dict[str, Any]]:
    return [
        {"name": str(name), **asdict(about), "needs_data": about.needs != Needs.NOTHING}
        for name, about in table.items()
    ]


def _table(title: str, what: str, table: Mapping[Any, About]) -> None:
    rows = [
        (str(name), about.summary, about.needs.value, about.cost, about.paper)
        for name, about in table.items()
    ]
    show_table(title, ("name", what, "needs", "cost", "paper"), rows, left=5)


def models(as_json: given.AsJson = False) -> None:
    """List the models that have names, with their cost."""
    import torch

    from prunus import models as library
    from prunus.paint import trace
    from prunus.report import words

    rows: list[dict[str, Any]] = []
    for name in library.names():
        shape = OUR_SHAPES.get(name, CIFAR_SHAPE)
        cost = trace(library.build(name).eval(), torch.zeros(shape)).cost()
        rows.append({"name": name, "input_shape": list(shape), "macs": cost.macs, "params": cost.params})
    if as_json:
        show_json({"models": rows, "patterns": ["timm/NAME", "torchvision/NAME", "package.module:factory"]})
        return
    table = [
        (
            row["name"],
            "×".join(map(str, row["input_shape"])),
            words.count(row["macs"]),
            words.count(row["params"]),
        )
        for row in rows
    ]
    show_table("", ("name", "input", "MACs", "parameters"), table, left=2)
    show("\nAlso: timm/NAME, torchvision/NAME (extras), and package.module:factory for your own.")
