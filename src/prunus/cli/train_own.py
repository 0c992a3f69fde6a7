"""`prunus train` on data of any other kind than images with classes and pictures with masks: by the loss and the metric of their task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.cli import recipe_parts as parts
from prunus.cli.console import show
from prunus.cli.opening import TRAINING_FILE
from prunus.cli.recipe import Recipe
from prunus.errors import ConfigError

if TYPE_CHECKING:
    from prunus.cli.data import Source
    from prunus.tasks.task import Part
    from prunus.training import EpochRecord
    from prunus.training.distributed import Ranks
    from prunus.watching import Watch


def train_own(
    recipe: Recipe, source: Source, folder: Path, command: str, resume: bool, ranks: Ranks, watch: Watch, also: Callable[[EpochRecord], None]
) -> dict[str, Any]:
    """Train, and write the folder; where several processes train together, the first one writes.

    Raises ConfigError for settings that are of images with classes.
    """
    import torch

    from prunus import storage
    from prunus.cli.train_methods import CHECKPOINT, METRICS, RECIPE, line
    from prunus.report.delivery import run_files
    from prunus.report.result import write_text
    from prunus.tasks.words import record_of

    task = source.task()
    _check(recipe, task.name, task.metric_name)
    torch.manual_seed(recipe.seed)
    opened = source.open(recipe.model, weights=Path(recipe.weights) if recipe.weights else None, build_name=recipe.build)
    opened.check_output(folder)
    opened.model.to(ranks.device)
    metrics = folder / METRICS
    if ranks.first:
        if not resume:
            metrics.unlink(missing_ok=True)
        write_text(recipe.to_toml(), folder / RECIPE)

    def note(record: EpochRecord) -> None:
        if ranks.first:
            before = metrics.read_text() if metrics.exists() else ""
            write_text(before + line(record), metrics)
            also(record)

    history = task.fit(
        opened.model,
        parts.config(recipe, None),
        checkpoint=folder / CHECKPOINT,
        resume=resume,
        on_epoch=note,
        on_step=lambda done, total: watch("training", done, total),
    )
    if not ranks.first:
        return {}
    watch("evaluating", 0, 0)
    part: Part = "test" if task.test is not None else "train"
    value, loss = task.figures(opened.model.eval(), part)
    result = {
        "command": command,
        "model": opened.record(folder) | {"data": record_of(task)},
        "metric": task.metric_name,
        "value": value,
        "measured": {"part": part, "count": task.count(part), "of": task.kind(part)},
        "loss": loss if loss == loss else None,  # not a number, where none is of single samples
        "training": history.to_dict(),
    }
    write_text("".join(map(line, history.epochs)), metrics)  # a killed run may have written an epoch twice
    with run_files(folder) as staged:
        storage.save(opened.model.cpu(), staged / "model.safetensors")
        write_text(json.dumps(result, indent=1) + "\n", staged / TRAINING_FILE)
    return result


def show_own(result: dict[str, Any], folder: Path) -> None:
    """The metric on the test samples, and where to look."""
    from rich.markup import escape

    found, name = result["measured"], result["model"]["name"]
    where = f"on {found['count']:,} {'training' if found['part'] == 'train' else 'test'} {found['of']}"
    show(f"\n[bold]{escape(name)}: {result['metric']} {result['value']:.2f} {where}[/bold], {escape(str(folder / 'model.safetensors'))}")


def _check(recipe: Recipe, name: str, metric: str) -> None:
    if recipe.method != "none" or recipe.select != "all":
        asked = f"--method {recipe.method}" if recipe.method != "none" else f"--select {recipe.select}"
        raise ConfigError(
            f"{asked} is for images with classes in memory, and {name} is measured by {metric}: train with --method none and --select all, and "
            "make the network smaller with prunus prune."
        )
    if recipe.augment not in ("auto", "none"):
        raise ConfigError(f"--augment {recipe.augment} is of images with classes, and {name} is measured by {metric}: leave it out.")
