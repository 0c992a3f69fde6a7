"""Which samples every epoch of a training trains on. Each of these can be given to `prunus.training.train` as
its curriculum.

Epochs are counted from 0. A curriculum keeps its own state (losses seen, random generators), which goes into
every checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import checked, shaped
from prunus._foundation.made import remembers
from prunus.errors import ConfigError
from prunus.selection.points import Points
from prunus.selection.rules import (
    Effects,
    Selection,
    at_random,
    checked_keep,
    guarded,
)
from prunus.selection.subsets import Indices, Subsets

Rule = Callable[[Effects, Subsets, Callable[[Indices], ArrayLike]], Selection]
"""(effect values of the coarse points, subsets, fine points -> their effect values) -> what is kept; see
`prunus.selection.rules`.
"""


class Curriculum(Protocol):
    """Decides what every epoch trains on."""

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """The samples of one epoch; None for all. The model is in evaluation mode, without gradients."""

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        """What a batch gave: positions (batch,) int64, unweighted losses (batch,), and which were told right
        (batch,) bool; all on the CPU.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold: nested dicts and lists of tensors, numbers and texts."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""


@remembers("keep_record")
class Scheduled:
    """A curriculum with all data at first and at last, and a part of every class in between.

    Args:
        chooser: decides in between.
        labels: (N,) class of every sample.
        warmup: epochs on all data at the beginning, while the network knows nothing that a choice could be
            made by (SlimML: 5).
        annealing: part of all epochs, 0 to 1, that are trained on all data at the end (InfoBatch: 0.125).
        least: part of every class that is always kept.
        seed: of the samples that `least` adds.
        keep_record: called with (epoch, selection) of every epoch that a choice was made for.

    Raises:
        ConfigError: a number out of range.
    """

    @checked(ConfigError)
    def __init__(
        self,
        chooser: Curriculum,
        labels: ArrayLike,
        *,
        warmup: int = 0,
        annealing: float = 0.0,
        least: float = 0.0,
        seed: int = 0,
        keep_record: Callable[[int, Selection], None] | None = None,
    ) -> None:
        if warmup < 0 or not 0 <= annealing <= 1 or not 0 <= least <= 1:
            raise ConfigError(
                f"warmup is a number of epochs, annealing and least are parts from 0 to 1, not {warmup},"
                f" {annealing} and {least}."
            )
        self._chooser, self._labels = chooser, np.asarray(labels)
        self._warmup, self._annealing, self._least, self._seed, self._keep_record = (
            warmup,
            annealing,
            least,
            seed,
            keep_record,
        )

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """The chooser's samples and what the classes must keep; None in warm-up and annealing."""
        if epoch < self._warmup or epoch >= epochs - round(self._annealing * epochs):
            return None
        selection = self._chooser.choose(model, epoch, epochs)
        if selection is None:
            return None
        if self._least:
            selection = guarded(
                selection, self._labels, self._least, np.random.default_rng((self._seed, epoch))
            )
        if self._keep_record is not None:
            self._keep_record(epoch, selection)
        return selection

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        """What a batch gave, warm-up and annealing included."""
        self._chooser.observe(samples, losses, correct)

    def state(self) -> dict[str, Any]:
        """That of the chooser; the rest follows from the epoch."""
        return self._chooser.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self._chooser.restore(state)


class _Blind:
    """What a chooser does that looks at no losses and keeps no state."""

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        """Losses are not looked at."""

    def state(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to remember."""


@remembers()
class Aggregated(_Blind):
    """Paper A and SlimML: aggregated points are scored by the network of the moment, and a rule keeps the
    samples of the telling ones.

    Args:
        points: the aggregated points of the training samples.
        rule: what is kept at which effect values, `prunus.selection.critical` for paper A's.
        every: epochs between two scorings; in between the last choice stands.
    """

    @checked(ConfigError)
    def __init__(self, points: Points, rule: Rule, every: int = 1) -> None:
        if every < 1:
            raise ConfigError(f"Points are scored every so many epochs, 1 or more, not {every}.")
        self._points, self._rule, self._every = points, rule, every
        self._last: Selection | None = None

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """Score and choose, where it is time to."""
        if self._last is None or epoch % self._every == 0:
            points = self._points
            self._last = self._rule(
                points.coarse_effects(model),
                points.subsets,
                lambda chosen: points.fine_effects(model, chosen),
            )
        return self._last

    def state(self) -> dict[str, Any]:
        """The last choice."""
        if self._last is None:
            return {"kept": None, "weights": None}
        weights = self._last.weights
        return {
            "kept": torch.from_numpy(self._last.kept),
            "weights": None if weights is None else torch.from_numpy(weights),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The last choice."""
        kept, weights = state["kept"], state["weights"]
        self._last = (
            None if kept is None else Selection(kept.numpy(), None if weights is None else weights.numpy())
        )


@remembers()
class Random(_Blind):
    """A part of all samples by chance, another one every epoch: the control."""

    @checked(ConfigError)
    def __init__(self, count: int, keep: float, seed: int = 0) -> None:
        self._count, self._keep, self._seed = count, checked_keep(keep), seed

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """A draw."""
        return at_random(self._count, self._keep, np.random.default_rng((self._seed, epoch)))


class Forgetting(_Blind):
    """Counts forgetting events: how often a sample that was told right is told wrong later (Toneva et al.,
    ICLR 2019). Keeps all samples.

    `events` are the scores to keep samples by in a later training, with `Static`; samples that were never
    told right count as infinitely many.
    """

    @checked(ConfigError)
    def __init__(self, count: int) -> None:
        self._forgotten, self._right, self._ever = (
            np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=bool),
            np.zeros(count, dtype=bool),
        )

    @property
    def events(self) -> NDArray[np.float64]:
        """Forgetting events per sample, shape (N,)."""
        return np.where(self._ever, self._forgotten, np.inf)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """All samples."""
        return None

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        """Compare with the last time."""
        places, right = samples.numpy(), correct.numpy().astype(bool)
        self._forgotten[places] += self._right[places] & ~right
        self._right[places] = right
        self._ever[places] |= right

    def state(self) -> dict[str, Any]:
        """The counts."""
        return {name: torch.from_numpy(values) for name, values in vars(self).items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The counts."""
        vars(self).update({name: values.numpy().copy() for name, values in state.items()})


@remembers()
class Static(_Blind):
    """The same samples in every epoch, those of the highest of some scores: EL2N, forgetting events,
    representatives of clusters.

    Args:
        scores: (N,) higher = keep.
        keep: part of the samples, above 0 up to 1.
    """

    @checked(ConfigError)
    def __init__(self, scores: ArrayLike, keep: float) -> None:
        values: NDArray[np.float64] = np.asarray(scores, dtype=np.float64)
        shaped("samples", scores=values)
        kept = np.zeros(len(values), dtype=bool)
        kept[np.argsort(-values, kind="stable")[: max(1, round(checked_keep(keep) * len(values)))]] = True
        self._selection = Selection(kept)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """Always the same."""
        return self._selection
