"""What the terminal shows: progress on stderr, tables or one JSON object on stdout. Names and notes may come
from files, so nothing that controls terminals gets through.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from prunus._foundation.json_files import to_json
from prunus._foundation.wording import printable
from prunus.cli.streams import written

NARROWEST = 60  # columns, for tables whose cells may be folded


class Bars:
    """One progress bar per step; an earlier step is finished when the next one begins."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.task: TaskID | None = None
        self.step = ""
        self.started = 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show a step; `total` 0 means that its length is unknown."""
        if step != self.step:
            self.finish()
            self.step, self.started = step, time.monotonic()
            if self.progress is not None:
                self.task = self.progress.add_task(printable(step.capitalize()), total=None)
        if self.progress is not None and self.task is not None and total:
            self.progress.update(self.task, completed=done, total=total)

    def say(self, text: str) -> None:
        """A line that stays, on stderr."""
        with suppress(OSError):
            console = Console(stderr=True, emoji=False) if self.progress is None else self.progress.console
            console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def finish(self) -> None:
        """Complete the current step."""
        if not self.step:
            return
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=1, total=1)
            self.progress.stop_task(self.task)
        else:
            with suppress(OSError):  # progress that nobody can read ends no work
                Console(stderr=True, emoji=False).print(
                    f"{printable(self.step)}: {time.monotonic() - self.started:.1f} s",
                    highlight=False,
                    markup=False,
                )
        self.step, self.task = "", None


@contextmanager
def bars() -> Iterator[Bars]:
    """Progress bars with the time left on a terminal; elsewhere one line per finished
    step. Always on stderr.
    """
    console = Console(stderr=True, emoji=False)
    if not console.is_terminal:
        shown = Bars(None)
        yield shown
        shown.finish()
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        shown = Bars(progress)
        yield shown
        shown.finish()


def show_json(data: Mapping[str, Any]) -> None:
    """The one object on stdout; what its encoding lacks, and what controls terminals, is escaped."""
    text = "".join(one if printable(one) == one else json.dumps(one)[1:-1] for one in to_json(data, 2))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = to_json(data, 2, ascii_only=True)
    with written():
        print(text)


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """A quiet table; the first `left` columns are flush left, numbers flush right."""
    table = Table(
        title=printable(title) or None,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for place, name in enumerate(header):
        table.add_column(
            printable(name), justify="left" if place < left else "right", header_style="dim", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(printable, row))
    console = Console(emoji=False)
    if not console.is_terminal or console.width < NARROWEST:
        # a pipe has no width, and terminals wrap lines better than tables wrap words: nothing is folded
        console = Console(width=200, emoji=False)
    with written():
        console.print(table, highlight=False, markup=False)


def show_plain(text: str) -> None:
    """A text on stdout as it is, of any number of lines."""
    with written():
        print(printable(text))


def bold(text: object) -> tuple[str, str]:
    """A part of a line that stands out."""
    return str(text), "bold"


def show(*parts: str | tuple[str, str]) -> None:
    """One line on stdout, of texts that are taken as they are, whatever brackets are in them."""
    with written():
        safe = [printable(part) if isinstance(part, str) else (printable(part[0]), part[1]) for part in parts]
        Console(emoji=False).print(Text.assemble(*safe), soft_wrap=True)
