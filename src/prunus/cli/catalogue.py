"""`prunus methods` and `prunus models`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunus.cli import options as given
from prunus.cli.console import show, show_json, show_table
from prunus.runs import listing
from prunus.runs.names import About, scores


def methods(as_json: given.AsJson = False) -> None:
    """List the methods, and the scores by which channels are chosen."""
    if as_json:
        show_json(listing.methods())
        return
    found = listing.measured()
    _table("Methods", "what it does", listing.METHODS, found.get("methods", {}))
    show("")
    _table("Scores", "a channel is worth its", scores(), found.get("scores", {}))
    for sentence in listing.controls():
        show(f"\n{sentence}")


def _table(title: str, what: str, table: Mapping[Any, About], figures: Mapping[str, Any]) -> None:
    rows = [
        (str(name), about.summary, about.needs.value, about.cost, about.paper)
        + ((listing.figures(figures.get(str(name))),) if figures else ())
        for name, about in table.items()
    ]
    header = ("name", what, "needs", "cost", "paper", *(("measured",) if figures else ()))
    show_table(title, header, rows, left=5)


def models(as_json: given.AsJson = False) -> None:
    """List the models that have names, with their cost."""
    from prunus.report import words

    rows = listing.networks()
    if as_json:
        show_json({"models": rows, "patterns": list(listing.PATTERNS)})
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
