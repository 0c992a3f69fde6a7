"""Curricula that choose by the last loss of every sample, which a training tells them step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import checked
from prunus._foundation.made import remembers
from prunus.errors import ConfigError
from prunus.selection.losses import FIFTH, importance_sampled, lower_bound, sliding_window
from prunus.selection.rules import Selection, checked_drop, checked_keep, easy_dropped


class LastLosses:
    """What all of them have: the last loss of every sample, infinite for one that has not been seen.

    Args:
        count: samples.
        seed: of what is drawn.

    Attributes:
        losses: (N,).
    """

    @checked(ConfigError)
    def __init__(self, count: int, seed: int = 0) -> None:
        if count < 1:
            raise ConfigError(f"There must be samples to choose among, not {count}.")
        self.losses: NDArray[np.float32] = np.full(count, np.inf, dtype=np.float32)
        self._seed = seed

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        """Remember the losses."""
        self.losses[samples.numpy()] = losses.numpy()

    def state(self) -> dict[str, Any]:
        """The losses."""
        return {"losses": torch.from_numpy(self.losses)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The losses."""
        self.losses = state["losses"].numpy().copy()

    def _drawn(self, epoch: int) -> np.random.Generator:
        """The source of what is drawn for an epoch."""
        return np.random.default_rng((self._seed, epoch))


@remembers()
class LowerBound(LastLosses):
    """Samples go whose last loss is below a fifth of the mean; see `prunus.selection.lower_bound`.

    What is left out keeps its loss, and comes back when the mean has fallen below five times that. Give it to
    `Scheduled` with `warmup=2` and `annealing=0.2`, so that the first two epochs and the last fifth see all.

    Args:
        count: samples.
        ratio: of the mean.
    """

    @checked(ConfigError)
    def __init__(self, count: int, ratio: float = FIFTH) -> None:
        super().__init__(count)
        self._ratio = ratio
        lower_bound(self.losses, ratio)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """By the losses that were seen."""
        return lower_bound(self.losses, self._ratio)


@remembers()
class EasyDropped(LastLosses):
    """In the manner of InfoBatch: easy samples, those below the mean of the last losses, go by chance; the
    others of them weigh more.

    Args:
        count: samples.
        drop: probability that an easy sample goes.
        seed: of the draws.
    """

    @checked(ConfigError)
    def __init__(self, count: int, drop: float = 0.5, seed: int = 0) -> None:
        super().__init__(count, seed)
        self._drop = checked_drop(drop)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """By the losses that were seen."""
        return easy_dropped(self.losses, self._drop, self._drawn(epoch))


@remembers()
class ImportanceSampled(LastLosses):
    """Samples of a large last loss are drawn more often, and weigh less; see
    `prunus.selection.importance_sampled`.

    Args:
        count: samples.
        keep: part of the samples that an epoch trains on.
        seed: of the draws.
    """

    @checked(ConfigError)
    def __init__(self, count: int, keep: float = 0.5, seed: int = 0) -> None:
        super().__init__(count, seed)
        self._keep = checked_keep(keep)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """By the losses that were seen."""
        return importance_sampled(self.losses, self._keep, self._drawn(epoch))


@remembers()
class SlidingWindow(LastLosses):
    """SeTa: a window over groups of like losses slides from easy to hard; see
    `prunus.selection.sliding_window`.

    SeTa trains its last epochs on all but what goes by chance; here `Scheduled` has them on all.

    Args:
        count: samples.
        thin: part that goes by chance.
        groups: of the losses.
        width: of the window, as a part of the groups.
        seed: of the draws.
    """

    @checked(ConfigError)
    def __init__(
        self, count: int, thin: float = 0.1, groups: int = 10, width: float = 0.5, seed: int = 0
    ) -> None:
        super().__init__(count, seed)
        self._window: dict[str, Any] = {"thin": thin, "groups": groups, "width": width}
        self._turn = 0
        sliding_window(self.losses, 1, self._drawn(0), **self._window)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """By the losses that were seen, a step further."""
        self._turn += 1
        return sliding_window(self.losses, self._turn - 1, self._drawn(epoch), **self._window)

    def state(self) -> dict[str, Any]:
        """The losses, and how often the window slid."""
        return {**super().state(), "turn": self._turn}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The losses, and how often the window slid."""
        super().restore(state)
        self._turn = state["turn"]
