"""`prunus compare` of run folders: what they recorded, in one chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prunus.cli.console import bars, show, show_json, show_table
from prunus.errors import ConfigError, FileFormatError, clause
from prunus.runs.loading import RESULT_FILE, TRAINING_FILE, open_model, read_training


def compare_runs(folders: Sequence[str], page: Path | None, command: str, build: str, as_json: bool) -> None:
    """Show the table of several runs, or print it as JSON, and write the page if it is wanted.

    Raises:
        ConfigError: a folder is not that of a run, or the runs do not belong into one chart.
        FileFormatError: a record cannot be read.
        MissingExtraError: the page is wanted, and the extra `report` is not installed.
    """
    from rich.markup import escape

    from prunus.report import runs_page
    from prunus.report.runs import gather

    with bars() as watch:
        results = {}
        for number, (text, name) in enumerate(zip(folders, _names(folders))):
            watch("reading runs", number, len(folders))
            results[name] = _result(Path(text), build)
            _check(Path(text), results[name])
        runs = gather(results)
        if page is not None:
            watch("drawing", 0, 0)
            runs_page.write(results, page, command)
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
        show(f"Note: {escape(note)}")
    show(f"\n[bold]{escape(runs_page.verdict(runs))}[/bold]" + (f": {escape(str(page))}" if page else ""))


def _check(folder: Path, result: dict[str, Any]) -> None:
    """Raises FileFormatError, naming the folder, where a record is not made of what a chart needs."""
    from prunus.report.runs import gather

    try:
        runs = gather({folder.name: result})
        runs.choice()
        wrong = [
            point
            for point in runs.points
            if not all(math.isfinite(one) for one in (point.accuracy, point.macs, point.bytes))
        ]
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FileFormatError(
            f"The record in {folder} lacks what a chart needs ({type(error).__name__}: {clause(error)})."
        ) from error
    if wrong or not 0 <= runs.error() < 100:
        raise FileFormatError(f"The record in {folder} has figures that no run has.")


def _names(folders: Sequence[str]) -> list[str]:
    """The folders' own names, or their paths where names are the same."""
    names = [Path(text).resolve().name for text in folders]
    return names if len(set(names)) == len(names) else [str(Path(text)) for text in folders]


def _result(folder: Path, build: str) -> dict[str, Any]:
    """What a run recorded; of a training where nothing was removed also its cost."""
    from prunus.paint import trace
    from prunus.report.result import read
    from prunus.storage.lock import settle

    settle(folder)
    if (folder / RESULT_FILE).is_file():
        return read(folder / RESULT_FILE)
    if not (folder / TRAINING_FILE).is_file():
        raise ConfigError(
            f"{folder} is not the folder of a run: it holds neither {RESULT_FILE} nor {TRAINING_FILE}."
        )
    record = read_training(folder / TRAINING_FILE)
    if "accuracy" not in record:
        raise ConfigError(
            f"{folder} holds a training that was measured by {record.get('metric', 'the IoU of its pixels')},"
            " and by no accuracy."
        )
    opened = open_model(str(folder), build_name=build)
    steps = [{"step": "trained", "value": record["accuracy"]}]
    count = ((record["model"] or {}).get("data") or {}).get("test", 0)
    return {
        "command": record["command"],
        "model": record["model"],
        "accuracy": {"count": count, "steps": steps},
        "cost": {"after": asdict(trace(opened.model, opened.inputs()).cost())},
    }
