"""`prunus methods` and `prunus models`: what there is to choose from."""

from __future__ import annotations

from typing import Any

from prunus.cli import options as given
from prunus.cli.choices import SCORES
from prunus.cli.console import show, show_json, show_table
from prunus.cli.opening import CIFAR_SHAPE, OUR_SHAPES

METHODS = {
    "one-shot": "score once, remove once, recalibrate, fine-tune (prunus prune)",
    "soft": "train while the weakest filters are set to zero, remove them at the end (prunus train --method soft)",
    "critical": "train on the samples that the network can still learn from (prunus train --select critical)",
}


def methods(as_json: given.AsJson = False) -> None:
    """List the methods, and the scores by which channels are chosen."""
    if as_json:
        scores = [
            {"name": name.value, "summary": about.summary, "paper": about.paper, "needs_data": about.needs_data} for name, about in SCORES.items()
        ]
        show_json({"methods": [{"name": name, "summary": text} for name, text in METHODS.items()], "scores": scores})
        return
    show_table("Methods", ("name", "what it does"), list(METHODS.items()), left=2)
    rows = [(name.value, about.summary, "yes" if about.needs_data else "no", about.paper) for name, about in SCORES.items()]
    show("")
    show_table("Scores", ("name", "a channel is worth its", "needs data", "paper"), rows, left=4)


def models(as_json: given.AsJson = False) -> None:
    """List the models that have names, with their cost."""
    import torch

    from prunus import models as library
    from prunus.channels import trace
    from prunus.report import words

    rows: list[dict[str, Any]] = []
    for name in library.names():
        shape = OUR_SHAPES.get(name, CIFAR_SHAPE)
        cost = trace(library.build(name).eval(), torch.zeros(shape)).cost()
        rows.append({"name": name, "input_shape": list(shape), "macs": cost.macs, "params": cost.params})
    if as_json:
        show_json({"models": rows, "patterns": ["timm/NAME", "torchvision/NAME", "package.module:factory"]})
        return
    table = [(row["name"], "×".join(map(str, row["input_shape"])), words.count(row["macs"]), words.count(row["params"])) for row in rows]
    show_table("", ("name", "input", "MACs", "parameters"), table, left=2)
    show("\nAlso: timm/NAME, torchvision/NAME (extras), and package.module:factory for your own.")
