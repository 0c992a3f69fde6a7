"""Where a compact model comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from prunus.plans.plan import Plan
from prunus.plans.verify import Verification
from prunus.surgery.slicing import Surgery


@dataclass(frozen=True)
class Origin:
    """Where a compact model comes from; hangs on it as `model.prunus`.

    Attributes:
        plan: what was removed from the first dense network, in one or in several steps, so that a file is
            restored into what builds that one. Where a step cannot be said of the first network (it was
            changed by other hands in between), of the one that this step began with.
        mode: "eager" for the user's own class, "traced" otherwise.
        surgery: what turned the network of the plan into this one.
        verification: of the last step; None for one that was loaded, or not checked.
        last: what the last step removed from the model that it was given; None for one that was loaded.
        dense: the network of the plan, without data; None for a traced one that was loaded.
    """

    plan: Plan
    mode: str
    surgery: Surgery
    verification: Verification | None
    last: Plan | None = field(default=None, compare=False, repr=False)
    dense: nn.Module | None = field(default=None, compare=False, repr=False)

    @property
    def step(self) -> Plan:
        """What was removed from the model that was pruned last."""
        return self.plan if self.last is None else self.last

    def __deepcopy__(self, memo: dict[int, Any]) -> Origin:
        return self


__all__ = ["Origin"]
