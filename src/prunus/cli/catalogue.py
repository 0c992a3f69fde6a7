"""`prunus methods` and `prunus models`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prunus.cli import options as given
from prunus.cli.choices import SCORES, About, Needs
from prunus.cli.console import show, show_json, show_table
from prunus.cli.opening import CIFAR_SHAPE, OUR_SHAPES

METHODS = {
    "one-shot": About("score, remove, compensate, recalibrate, fine-tune: prunus prune", "Li et al. 2017, arXiv 1608.08710", cost="as the score"),
    "greedy-norm": About(
        "l1 norms without what reads removed maps, layer by layer: prunus.scores.greedy_norm",
        "Li et al. 2017, arXiv 1608.08710",
        cost="a moment",
    ),
    "soft": About(
        "train while the weakest filters are zero: prunus train --method soft", "He et al. 2018, arXiv 1808.06866", Needs.TRAINING, "a training"
    ),
    "critical": About(
        "train on samples that still teach something: prunus train --select critical",
        "Pabitha and Jayasimhan 2024, China Communications",
        Needs.TRAINING,
        "less than a training",
    ),
    "history": About(
        "pull filters of like history together, remove one of each pair: prunus train --method history",
        "Basha et al. 2024, arXiv 2102.00160",
        Needs.TRAINING,
        "several trainings",
    ),
    "importance": About(
        "trained weights of channels, under an error tolerance: prunus.methods.importance",
        "Sawant et al. 2022, Appl. Sci. 12(21)",
        Needs.TRAINING,
        "several trainings",
    ),
    "snip": About(
        "masks, or a score of channels, before any training: prunus.scores.initialisation",
        "Lee et al. 2019, arXiv 1810.02340",
        Needs.LABELS,
        "a batch",
    ),
    "slimming": About("a penalty on batch-norm scales: prunus.methods.slimming", "Liu et al. 2017, arXiv 1708.06519", Needs.TRAINING, "a training"),
    "selective-decay": About(
        "what is going to go decays to nothing: prunus.methods.selective_decay", "Tessier et al. 2022, arXiv 2011.10520", Needs.TRAINING, "a training"
    ),
    "channels-and-layers": About(
        "gates of channels and whole blocks learn what MACs are worth: prunus.methods.channels_and_layers",
        "our formulas, after an abstract",
        Needs.TRAINING,
        "a training",
    ),
    "adversarial": About(
        "a masked student that a discriminator cannot tell from its teacher (GAL): prunus.methods.adversarial",
        "Lin et al. 2019, arXiv 1903.09291",
        Needs.INPUTS,
        "a training, twice as dear",
    ),
    "autoprune": About(
        "gates of channels that learn on held-out batches: prunus.methods.autoprune",
        "Xiao et al. 2019, NeurIPS",
        Needs.TRAINING,
        "a training, twice as dear",
    ),
    "play-and-prune": About(
        "a game between pruner and tolerance, in rounds: prunus.methods.play_and_prune",
        "Singh et al. 2019, arXiv 1905.04446",
        Needs.TRAINING,
        "several trainings",
    ),
    "thresholds": About(
        "trained thresholds below which channels count as nothing: prunus.methods.thresholds",
        "Manessi et al. 2018, arXiv 1712.01721",
        Needs.TRAINING,
        "a training",
    ),
    "gates": About(
        "channels are computed for the inputs that need them: prunus train --method dynamic",
        "Theodorakopoulos et al. 2017, arXiv 1701.05221",
        Needs.TRAINING,
        "a training",
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
    return [{"name": str(name), **asdict(about), "needs_data": about.needs != Needs.NOTHING} for name, about in table.items()]


def _table(title: str, what: str, table: Mapping[Any, About]) -> None:
    rows = [(str(name), about.summary, about.needs.value, about.cost, about.paper) for name, about in table.items()]
    show_table(title, ("name", what, "needs", "cost", "paper"), rows, left=5)


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
