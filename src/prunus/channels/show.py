"""Tables for `print(graph)` and `print(plan)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import ChannelGraph
    from .plan import Plan

_MOST_REASONS = 12


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Plain text columns; `right` says which are flush right."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = (str(c).rjust(w) if r else str(c).ljust(w) for c, w, r in zip(row, widths, right))
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def short(number: float) -> str:
    """1234567 -> 1.23 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}" if number < 100 * size else f"{number / size:.0f}{unit}"
    return f"{number:.0f}"


def graph_table(graph: ChannelGraph) -> str:
    """One line per group, then what is pinned and why."""
    cost = graph.cost()
    lines = [
        f"{type(graph.model).__name__}: {graph.num_channels} channels in {len(graph.groups)} groups; "
        f"{short(cost.macs)} MACs, {short(cost.params)} parameters",
        "",
    ]
    rows = []
    for group in graph.groups:
        members = [f"{name}:{dim}" for name, dim in group.members]
        shown = ", ".join(members[:3]) + (f", … {len(members) - 3} more" if len(members) > 3 else "")
        rows.append((group.name, str(group.size), str(group.slots), shown))
    lines.append(table(("group", "channels", "slots each", "lives in (parameter:axis)"), rows, (False, True, True, False)))
    if graph.pinned:
        lines += ["", "pinned (never pruned):"]
        for pin in graph.pinned[:_MOST_REASONS]:
            lines.append(f"  {pin.channels} slots of {', '.join(pin.names[:3])}{' …' if len(pin.names) > 3 else ''}: {pin.reason}")
            if pin.where:
                lines.append(f"      {pin.operator} at {pin.where}")
        if len(graph.pinned) > _MOST_REASONS:
            lines.append(f"  … {len(graph.pinned) - _MOST_REASONS} more reasons in graph.pinned")
    if graph.notes:
        lines += ["", "removing these channels is inexact:"]
        lines += [f"  {len(note.channels)} channels: {note.text}" for note in graph.notes[:_MOST_REASONS]]
    return "\n".join(lines)


def plan_table(plan: Plan) -> str:
    """One line per group that can be pruned, then the totals, what is pinned, and where the plan is inexact."""
    rows: list[tuple[str, ...]] = [(g.name, str(g.size), str(g.size - len(g.removed)), f"{len(g.removed) / g.size:.0%}") for g in plan.groups]
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
        f"{plan.removed} channels go; MACs {short(before.macs)} -> {short(after.macs)} ({_share(after.macs, before.macs)}), "
        f"parameters {short(before.params)} -> {short(after.params)} ({_share(after.params, before.params)})"
    )
    if plan.graph is not None and plan.graph.pinned:
        lines += ["", "pinned (never pruned):"]
        lines += [f"  {p.channels} slots, {p.names[0]}{' …' if len(p.names) > 1 else ''}: {p.reason}" for p in plan.graph.pinned[:_MOST_REASONS]]
    if plan.notes:
        lines += ["", "inexact, compact differs from masked:"] + [f"  {note}" for note in plan.notes]
    return "\n".join(lines)


def _share(after: int, before: int) -> str:
    return f"{after / before:.1%} left" if before else "none"
