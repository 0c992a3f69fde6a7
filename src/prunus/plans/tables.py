"""The table of `print(plan)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunus._foundation.wording import printable
from prunus.paint.tables import MOST_REASONS, short, table

if TYPE_CHECKING:
    from prunus.plans.plan import Plan


def plan_table(plan: Plan) -> str:
    """One line per group that can be pruned, then the totals, what is pinned, and where
    the plan is inexact.
    """
    rows: list[tuple[str, ...]] = [
        (g.name, str(g.size), str(g.size - len(g.removed)), f"{len(g.removed) / g.size:.0%}")
        for g in plan.groups
    ]
    if plan.graph is not None:
        layers: dict[str, list[int]] = {}
        for layer in plan.graph.layers(plan):
            total = layers.setdefault(layer.name, [0, 0])
            total[0] += layer.macs_before
            total[1] += layer.macs_after
        rows = [(*row, *map(short, layers.get(row[0].split("[")[0], ()))) for row in rows]
        rows = [(*row, *("",) * (6 - len(row))) for row in rows]
    header = ("group", "channels", "kept", "removed", "MACs", "after")[: len(rows[0]) if rows else 4]
    lines = [table(header, rows, (False, True, True, True, True, True)), ""]
    before, after = plan.before, plan.after
    lines.append(
        f"{plan.removed} channels go; MACs {short(before.macs)} -> {short(after.macs)}"
        f" ({_share(after.macs, before.macs)}), parameters {short(before.params)} -> {short(after.params)}"
        f" ({_share(after.params, before.params)})"
    )
    if plan.graph is not None and plan.graph.pinned:
        lines += ["", "pinned (never pruned):"]
        lines += [
            f"  {p.channels} slots, {p.names[0]}{' …' if len(p.names) > 1 else ''}: {p.reason}"
            for p in plan.graph.pinned[:MOST_REASONS]
        ]
    if plan.notes:
        lines += ["", "inexact, compact differs from masked:"] + [f"  {note}" for note in plan.notes]
    return printable("\n".join(lines))  # names may come from a file


def _share(after: int, before: int) -> str:
    return f"{after / before:.1%} left" if before else "none"
