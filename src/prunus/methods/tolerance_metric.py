"""How the trials of a tolerance search are judged."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from prunus._foundation.confidence import Rows, judged, value_of
from prunus._foundation.progress import Watch
from prunus.errors import TargetError
from prunus.plans.plan import Plan
from prunus.surgery import compact
from prunus.surgery.compact import Origin
from prunus.training import TrainConfig

if TYPE_CHECKING:
    from prunus.methods.common import Compensate, Target
    from prunus.tasks import Task


class Search:
    """The metric of a tolerance search: the task's on held-out samples, after compensation, recalibration and
    a short tuning.

    Args:
        original: the network that the tolerance is of.
        start: what channels are removed from: the same, or the same without some of its blocks.
        task, compensate, tuning, watch: of the run.

    Attributes:
        baseline: points of the original.
    """

    def __init__(
        self,
        original: nn.Module,
        start: nn.Module,
        task: Task,
        compensate: Compensate | None,
        tuning: TrainConfig | None,
        watch: Watch,
    ) -> None:
        self.original, self.start = original, start
        self.task = task
        self.compensate = compensate
        self.tuning = tuning
        self.watch = watch
        self.trials = 0
        self.baseline = float("nan")

    def __call__(self, model: nn.Module) -> Tensor | Rows:
        """The metric, sample by sample."""
        if model is self.start:
            points = self._points(self.original)
            self.baseline = value_of(points)
            return points
        self.trials += 1
        self.watch("searching", self.trials, 0)
        tried = self._compensated(model)
        self.task.recalibrate(tried)
        if self.tuning is not None:
            self.task.fit(tried, self.tuning, validation=None)
        return self._points(tried)

    def check(self, empty: Plan, target: Target, blocks: int) -> None:
        """Raises TargetError if the tolerance is not even kept by the network that lacks blocks and no
        channel.
        """
        whole, found = self(self.start), self(compact(self.start, empty, check=False))
        if value_of(whole) - judged(whole, found, target.confidence)[1] > target.points:
            hint = "leave out fewer, or tune trials for longer"
            raise TargetError(
                f"A tolerance of {target.points:g} cannot be kept without {blocks} residual blocks: {hint}."
            )

    def _points(self, model: nn.Module) -> Tensor | Rows:
        return self.task.points(model)

    def _compensated(self, model: nn.Module) -> nn.Module:
        """A copy of a compact model, compensated as the result will be."""
        if self.compensate is None:
            return copy.deepcopy(model)
        plan = cast(Origin, model.prunus).step
        return compact(self.compensate(self.start, plan, lambda done, total: None), plan, check=False)
