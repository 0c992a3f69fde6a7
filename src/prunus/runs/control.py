"""The control of a training that saves time: the same one on all samples and the whole network, shortened
until it costs as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prunus.training.config import size_factor

if TYPE_CHECKING:
    from prunus.methods.common import Outcome
    from prunus.training import History

NEARLY = 0.98  # of the cost of all samples: what costs that much saves nothing


def control(history: History | None, samples: int, outcome: Outcome | None = None) -> dict[str, Any] | None:
    """The shortened schedule that costs what a training did, in samples times MACs; None where it was not
    accelerated, or not on samples that lie in memory.

    Args:
        history: of the training.
        samples: that there are.
        outcome: of soft pruning, where that trained.

    Returns:
        "epochs" of the control, "of" so many of the training, and "text", which says so.
    """
    if history is None or not samples or not any(epoch.samples for epoch in history.epochs):
        return None
    first, left = _removal(outcome)
    work = whole_epochs(history, samples, first, left)
    full = len(history.epochs)
    if work > NEARLY * full:
        return None
    epochs = max(1, round(work))
    text = (
        f"By samples and multiply-accumulates the {full} epochs cost what {work:.1f} on all samples, whole"
        f" images and the whole network do. The control is that schedule, --epochs {epochs}, with a peak rate"
        " of its own (--find-lr): what does not beat it is no faster way to train."
    )
    return {"epochs": epochs, "of": full, "text": text}


def whole_epochs(history: History, samples: int, first: int | None, left: float) -> float:
    """How many epochs on all samples, at their full size, through the whole network cost what a training did,
    in samples times MACs.

    Args:
        history: of the training.
        samples: that there are.
        first: epoch, counted from 0, from which a smaller network trains; None = none does.
        left: its share of the MACs.
    """
    return sum(
        epoch.samples
        / samples
        * size_factor(history.config, number) ** 2
        * (1.0 if first is None or number < first else left)
        for number, epoch in enumerate(history.epochs)
    )


def _removal(outcome: Outcome | None) -> tuple[int | None, float]:
    """The first epoch, counted from 0, that trained what is left, and its share of the MACs; None where no
    epoch did.
    """
    record = () if outcome is None else outcome.found.get("record", ())
    if outcome is None or not record or not outcome.found.get("smaller", False):
        return None, 1.0
    return record[-1].epoch + 1, outcome.plan.after.macs / outcome.plan.before.macs
