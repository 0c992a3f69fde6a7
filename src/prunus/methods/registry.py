"""All methods by name: what they are called as, where they come from, and which settings they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prunus.methods.common import Outcome

Needs = Literal["–", "inputs", "labels", "training"]


@dataclass(frozen=True)
class Method:
    """One method, called as `function(model, task, **settings)`.

    Attributes:
        home: its file in `prunus.methods` and its function there.
        summary: what it does.
        paper: where it comes from.
        trained: it starts from a network that is trained for the task; the others train it, or what is left
            of it, themselves.
        needs: what it looks at of the training samples.
        cost: of the whole.
        by: what the channels that go are chosen by.
    """

    home: str
    summary: str
    paper: str
    trained: bool
    needs: Needs = "training"
    cost: str = "a training"
    by: str = "trained numbers"

    @property
    def function(self) -> Callable[..., Outcome]:
        """What is called."""
        file, _, name = self.home.partition(":")
        function: Callable[..., Outcome] = getattr(import_module(f"prunus.methods.{file}"), name)
        return function


METHODS: dict[str, Method] = {
    "one-shot": Method(
        "shrinking:shrink",
        "score, remove, compensate, recalibrate, fine-tune",
        "Li et al. 2017, arXiv 1608.08710",
        True,
        "inputs",
        "as the score",
    ),
    "greedy-norm": Method(
        "greedy:greedy_pruning",
        "l1 norms without what reads removed maps, layer by layer",
        "Li et al. 2017, arXiv 1608.08710",
        True,
        "–",
        "a moment",
        "greedy l1 norm",
    ),
    "snip": Method(
        "at_initialisation:snip_pruning",
        "remove before any training what one batch's loss does not depend on",
        "Lee et al. 2019, arXiv 1810.02340",
        False,
        by="saliency of the first batch",
    ),
    "soft": Method(
        "soft:soft_pruning",
        "train while the weakest filters are zero",
        "He et al. 2018, arXiv 1808.06866",
        False,
        by="filter norms",
    ),
    "history": Method(
        "history:history_pruning",
        "pull filters of like history together, remove one of each pair",
        "Basha et al. 2024, arXiv 2102.00160",
        False,
        cost="several trainings",
        by="training history",
    ),
    "importance": Method(
        "importance:importance_pruning",
        "trained weights of channels, under an error tolerance",
        "Sawant et al. 2022, Appl. Sci. 12(21)",
        True,
        cost="several trainings",
        by="importance weights",
    ),
    "slimming": Method(
        "slimming:slimming",
        "a penalty on batch-norm scales",
        "Liu et al. 2017, arXiv 1708.06519",
        False,
        by="bn-scale",
    ),
    "selective-decay": Method(
        "selective_decay:selective_decay",
        "what is going to go decays to nothing",
        "Tessier et al. 2022, arXiv 2011.10520",
        False,
        by="filter norms",
    ),
    "channels-and-layers": Method(
        "channels_and_layers:channels_and_layers",
        "gates of channels and whole blocks learn what MACs are worth",
        "our formulas, after an abstract",
        True,
        by="trained gates",
    ),
    "fewer-blocks": Method(
        "block_removal:fewer_blocks",
        "leave out the residual blocks without which the loss rises least",
        "ours; as Abbasi-Asl and Yu 2017",
        True,
        "labels",
        "an evaluation per block and block",
        "loss",
    ),
    "adversarial": Method(
        "adversarial:adversarial_pruning",
        "a masked student that a discriminator cannot tell from its teacher (GAL)",
        "Lin et al. 2019, arXiv 1903.09291",
        True,
        "inputs",
        "a training, twice as dear",
        "trained masks",
    ),
    "autoprune": Method(
        "autoprune:autoprune",
        "gates of channels that learn on held-out samples",
        "Xiao et al. 2019, NeurIPS",
        False,
        cost="a training, twice as dear",
        by="trained gates",
    ),
    "play-and-prune": Method(
        "play_and_prune:play_and_prune",
        "a game between pruner and tolerance, in rounds",
        "Singh et al. 2019, arXiv 1905.04446",
        True,
        cost="several trainings",
        by="filter norms",
    ),
    "thresholds": Method(
        "thresholds:threshold_pruning",
        "trained thresholds below which channels count as nothing",
        "Manessi et al. 2018, arXiv 1712.01721",
        False,
        by="trained thresholds",
    ),
    "dynamic": Method(
        "train_gated:train_gated",
        "channels are computed for the inputs that need them",
        "Theodorakopoulos et al. 2017, arXiv 1701.05221",
        False,
    ),
}
