"""Planning: scores and a target become a plan. Budgets, an error tolerance, latency, widths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunus._foundation.lazy import names_of

if TYPE_CHECKING:
    from prunus._foundation.confidence import Rows, judged
    from prunus.planning.targets import plan, plan_above
    from prunus.planning.tolerance import all_within, largest_within

__all__ = ["Rows", "all_within", "judged", "largest_within", "plan", "plan_above"]

__getattr__ = names_of(
    __name__,
    {
        "Rows": "tolerance",
        "all_within": "tolerance",
        "judged": "tolerance",
        "largest_within": "tolerance",
        "plan": "targets",
        "plan_above": "targets",
    },
)
