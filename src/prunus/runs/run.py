"""A run of a training: what it was asked for, and the files that grow while it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.json_files import to_json
from prunus._foundation.progress import Watch, unwatched
from prunus._foundation.run_files import KEPT
from prunus.runs.fitting import continued
from prunus.runs.recipe import Recipe
from prunus.runs.settings import Delivery

if TYPE_CHECKING:
    from torch import nn

    from prunus.plans import Plan
    from prunus.runs.data import Source
    from prunus.runs.loading import Opened
    from prunus.training import EpochRecord
    from prunus.training.distributed import Ranks

CHECKPOINT = "checkpoint.safetensors"
RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"


def opened(
    recipe: Recipe, source: Source, shape: tuple[int, ...] | None = None, watch: Watch = unwatched
) -> tuple[Opened, Source]:
    """The network of a recipe, and the data as it goes on with them, which is said where they are normalised
    otherwise by themselves; `shape`: of its input, batch axis first; None = what the data say.
    """
    weights = Path(recipe.weights) if recipe.weights else None
    found = source.open(recipe.model, shape=shape, weights=weights, build_name=recipe.build)
    source, note = continued(source, found)
    say: Any = getattr(watch, "say", None)
    if note and say is not None:
        say(note)
    return found, source


@dataclass(frozen=True, eq=False)
class Run:
    """What was asked for, and by whom it is watched.

    Attributes:
        recipe, folder: of the run.
        resume: go on from the folder's checkpoints.
        command: what the user typed, if it was a command.
        delivery: what the folder gets besides, where something is pruned.
        ranks: the processes that train together, of which the first one writes.
        watch: told about progress.
        also: told about every epoch; of several trainings about those of the first.
    """

    recipe: Recipe
    folder: Path
    resume: bool
    command: str
    delivery: Delivery
    ranks: Ranks
    watch: Watch
    also: Callable[[EpochRecord], None]

    @property
    def metrics(self) -> Path:
        """The file of metrics, a line for every epoch."""
        return self.folder / METRICS

    def opened(self, source: Source, shape: tuple[int, ...] | None = None) -> tuple[Opened, Source]:
        """The network of the recipe, on the device of this process, and the data as it goes on with them;
        `shape`: of its input, batch axis first; None = what the data say.
        """
        found, source = opened(self.recipe, source, shape, self.watch)
        found.check_output(self.folder)
        found.model.to(self.ranks.device)
        return found, source

    def begin(self) -> None:
        """Write the recipe; what an earlier run noted goes, unless this one goes on with it.

        Raises FileFormatError where something else than a file has the name of the metrics.
        """
        from prunus._foundation.atomic import destination
        from prunus.report.result import write_text

        if not self.ranks.first:
            return
        destination(self.metrics)  # a pipe would be waited for
        if not self.resume:
            self.metrics.unlink(missing_ok=True)
            shutil.rmtree(self.folder / KEPT, ignore_errors=True)
        write_text(self.recipe.to_toml(), self.folder / RECIPE)

    def note(self, record: EpochRecord, step: str = "") -> None:
        """Write an epoch down, with the name of its training where there are several."""
        from prunus.report.result import write_text

        if not self.ranks.first:
            return
        write_text(noted(self.metrics) + line(record, step), self.metrics)
        if step in ("", "training"):  # of several trainings the first is drawn
            self.also(record)

    def leave(self, model: nn.Module, result: Mapping[str, Any], plan: Plan | None = None) -> None:
        """Write the folder of a training that no method delivers: the network, the result, and what went of
        the network where something did.
        """
        from prunus import storage
        from prunus.report.result import write_text
        from prunus.runs.delivery import run_files
        from prunus.runs.records import TRAINING_FILE

        with run_files(self.folder) as staged:
            if plan is not None:
                write_text(plan.to_json() + "\n", staged / "plan.json")
            storage.save(model.cpu(), staged / "model.safetensors")
            write_text(to_json(result, 1) + "\n", staged / TRAINING_FILE)

    def settle(self, records: Any) -> None:
        """Write all epochs down once: a run that was killed may have written one twice."""
        from prunus.report.result import write_text

        write_text("".join(map(line, records)), self.metrics)


def noted(metrics: Path) -> str:
    """What a file of metrics holds so far; bytes that are no text, as of a damaged disk, end no training."""
    return metrics.read_text(encoding="utf-8", errors="replace") if metrics.exists() else ""


def line(record: EpochRecord, step: str = "") -> str:
    """An epoch as a line of the metrics; with the name of its training where there are several."""
    return to_json(({"training": step} if step else {}) | asdict(record)) + "\n"
