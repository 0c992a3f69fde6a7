"""What several runs recorded, gathered for one chart, and the page with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prunus._foundation.arguments import door
from prunus._foundation.progress import Watch, unwatched
from prunus.errors import ConfigError, FileFormatError
from prunus.paint import trace
from prunus.report import runs_page
from prunus.report.html import facts
from prunus.report.result import read, understood
from prunus.report.runs import Runs, gather
from prunus.runs.loading import open_model
from prunus.runs.records import RESULT_FILE, TRAINING_FILE, read_training
from prunus.storage.lock import settle


@door(ConfigError)
def chart(
    folders: Sequence[Path | str],
    page: Path | None = None,
    *,
    build: str = "",
    command: str = "",
    watch: Watch = unwatched,
) -> Runs:
    """Gather runs, and write the page if it is wanted.

    Args:
        folders: of the runs.
        page: an .html file; None = none.
        build: what a network was made from, where its folder names code.
        command: what the user typed, if it was a command.
        watch: told about progress.

    Raises:
        ConfigError: a folder is not that of a run, or the runs do not belong into one chart.
        FileFormatError: a record cannot be read.
        MissingExtraError: the page is wanted, and the extra `report` is not installed.
    """
    if not len(folders):
        raise ConfigError("A chart is of one run at least: give the folders of some.")
    texts, results = [str(folder) for folder in folders], {}
    for number, (text, name) in enumerate(zip(texts, _names(texts))):
        watch("reading runs", number, len(texts))
        results[name] = _result(Path(text), build)
        _check(Path(text), results[name])
    with understood("One of the records", "a chart of all"):
        found = gather(results)
        if page is not None:
            watch("drawing", 0, 0)
            runs_page.write(results, page, command)
    return found


def _check(folder: Path, result: dict[str, Any]) -> None:
    """Raises FileFormatError, naming the folder, where a record is not made of what a chart needs."""
    with understood(f"The record in {folder}", "a chart"):
        runs = gather({folder.name: result})
        runs.choice()
        if "environment" in result:
            facts(result)
        wrong = [
            point
            for point in runs.points
            if not all(math.isfinite(one) for one in (point.accuracy, point.macs, point.bytes))
        ]
    if wrong or not 0 <= runs.error() < 100:
        raise FileFormatError(f"The record in {folder} has figures that no run has.")


def _names(folders: Sequence[str]) -> list[str]:
    """The folders' own names, or their paths where names are the same."""
    names = [Path(text).resolve().name for text in folders]
    return names if len(set(names)) == len(names) else [str(Path(text)) for text in folders]


def _result(folder: Path, build: str) -> dict[str, Any]:
    """What a run recorded; of a training where nothing was removed also its cost."""
    settle(folder)
    if (folder / RESULT_FILE).is_file():
        return read(folder / RESULT_FILE)
    if not folder.exists():
        raise ConfigError(f"{folder} is not the folder of a run: there is no such folder.")
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
        "command": record.get("command", ""),
        "model": record["model"],
        "accuracy": {"count": count, "steps": steps},
        "cost": {"after": asdict(trace(opened.model, opened.arguments()).cost())},
    }
