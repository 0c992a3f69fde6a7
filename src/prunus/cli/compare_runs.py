"""`prunus compare` of run folders: what they recorded, in one chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prunus.cli.console import bars, bold, show, show_json, show_table


def compare_runs(folders: Sequence[str], page: Path | None, command: str, build: str, as_json: bool) -> None:
    """Show the table of several runs, or print it as JSON, and write the page if it is wanted."""
    from prunus.report import runs_page
    from prunus.runs.charting import chart

    with bars() as watch:
        runs = chart(folders, page, build=build, command=command, watch=watch)
    if as_json:
        fronts = {
            quantity: [point.name for point in runs.front(quantity)] for quantity in runs_page.QUANTITIES
        }
        show_json(asdict(runs) | {"fronts": fronts, "choice": runs.choice().name})
        return
    rows = [
        (
            row["name"],
            row["accuracy"],
            *(f"{cell['text']}{' *' if cell['best'] else '  '}" for cell in row["cells"]),
        )
        for row in runs_page.table(runs)
    ]
    show_table("", ("", "accuracy", "MACs  ", *(("latency  ",) if runs.runtime else ()), "size  "), rows)
    show(
        f"\n* no other is as accurate for less. {runs.samples:,} test samples of {runs.data}: one standard"
        f" error is {runs.error():.1f} points."
    )
    for note in runs.notes:
        show(f"Note: {note}")
    show("\n", bold(runs_page.verdict(runs)), f": {page}" if page else "")
