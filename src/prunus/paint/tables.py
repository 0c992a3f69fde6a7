"""Tables for `print(graph)`, and what tables are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prunus._foundation.wording import printable

if TYPE_CHECKING:
    from prunus.paint.graph import ChannelGraph

MOST_REASONS = 12


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
        (
            f"{type(graph.model).__name__}: {graph.num_channels} channels in {len(graph.groups)} groups; "
            f"{short(cost.macs)} MACs, {short(cost.params)} parameters"
        ),
        "",
    ]
    rows = []
    for group in graph.groups:
        members = [f"{name}:{dim}" for name, dim in group.members]
        shown = ", ".join(members[:3]) + (f", … {len(members) - 3} more" if len(members) > 3 else "")
        rows.append((group.name, str(group.size), str(group.slots), shown))
    lines.append(
        table(
            ("group", "channels", "slots each", "lives in (parameter:axis)"), rows, (False, True, True, False)
        )
    )
    if graph.pinned:
        lines += ["", "pinned (never pruned):"]
        for pin in graph.pinned[:MOST_REASONS]:
            lines.append(
                f"  {pin.channels} slots of {', '.join(pin.names[:3])}{' …' if len(pin.names) > 3 else ''}:"
                f" {pin.reason}"
            )
            if pin.where:
                lines.append(f"      {pin.operator} at {pin.where}")
        if len(graph.pinned) > MOST_REASONS:
            lines.append(f"  … {len(graph.pinned) - MOST_REASONS} more reasons in graph.pinned")
    if graph.notes:
        lines += ["", "removing these channels is inexact:"]
        lines += [f"  {len(note.channels)} channels: {note.text}" for note in graph.notes[:MOST_REASONS]]
    return printable("\n".join(lines))  # names may come from a file
