"""What the report of `prunus train --method history` shows besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from prunus.methods.common import Outcome

MOST_GROUPS, MOST_EPOCHS, MOST_FILTERS, MOST_PAIRS = 6, 40, 48, 4  # that the report shows


def panel(outcome: Outcome) -> dict[str, Any]:
    """The history from which the first round's pairs were made, of the layers that lost most."""
    if not outcome.trials:
        return {"groups": []}
    norms, pairs = outcome.found["norms"][0], outcome.found["pairs"][0]
    most = sorted(pairs, key=lambda name: -len(pairs[name]))[:MOST_GROUPS]
    return {
        "groups": [_group(name, norms[name], pairs[name]) for name in pairs if name in most and pairs[name]]
    }


def _group(name: str, norms: Tensor, pairs: Any) -> dict[str, Any]:
    """One layer: its nearest pairs, and as many of its other filters as can be told
    apart, at as many epochs.
    """
    epochs, size = norms.shape
    shown = sorted(
        {
            round(i * (epochs - 1) / max(1, min(epochs, MOST_EPOCHS) - 1))
            for i in range(min(epochs, MOST_EPOCHS))
        }
    )
    paired = [list(pair) for pair in pairs[:MOST_PAIRS]]
    every = -(-size // MOST_FILTERS)
    others = [i for i in range(0, size, every) if not any(i in pair for pair in paired)]
    curve = {
        i: [float(f"{norms[epoch, i]:.4g}") for epoch in shown]
        for i in {*others, *(i for pair in paired for i in pair)}
    }
    return {
        "name": name,
        "size": size,
        "removed": len(pairs),
        "epochs": [epoch + 1 for epoch in shown],
        "pairs": [{"goes": curve[goes], "stays": curve[stays]} for goes, stays in paired],
        "others": [curve[i] for i in others],
    }
