"""`prunus train` on data of any other kind than images with classes and pictures with masks: by the loss and
the metric of their task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.errors import ConfigError
from prunus.runs import recipe_parts as parts
from prunus.runs.by_method import CHECKPOINT, METRICS, RECIPE, Job, by_method, line
from prunus.runs.data import example_of
from prunus.runs.loading import TRAINING_FILE
from prunus.runs.recipe import NO_METHOD, Recipe

if TYPE_CHECKING:
    from prunus._foundation.progress import Watch
    from prunus.runs.data import Source
    from prunus.runs.loading import Opened
    from prunus.tasks import Task
    from prunus.tasks.task import Part
    from prunus.training import EpochRecord
    from prunus.training.distributed import Ranks


def train_own(
    recipe: Recipe,
    source: Source,
    folder: Path,
    command: str,
    resume: bool,
    ranks: Ranks,
    watch: Watch,
    also: Callable[[EpochRecord], None],
    delivery: Mapping[str, bool],
) -> dict[str, Any]:
    """Train, prune by the method of the recipe, and write the folder; where several processes train together,
    the first one writes.

    `delivery` are options of `prunus.runs.delivery.deliver`, for what a method leaves.

    Raises ConfigError for settings that are of images with classes.
    """
    import torch

    from prunus import storage
    from prunus.report.result import write_text
    from prunus.runs.delivery import run_files
    from prunus.tasks.words import record_of

    task = _task(recipe, source)
    _check(recipe, task.name, task.metric_name)
    torch.manual_seed(recipe.seed)
    opened = source.open(
        recipe.model, weights=Path(recipe.weights) if recipe.weights else None, build_name=recipe.build
    )
    opened.check_output(folder)
    opened.model.to(ranks.device)
    metrics = folder / METRICS
    if ranks.first:
        if not resume:
            metrics.unlink(missing_ok=True)
        write_text(recipe.to_toml(), folder / RECIPE)

    def note(record: EpochRecord, step: str = "") -> None:
        if ranks.first:
            before = metrics.read_text() if metrics.exists() else ""
            write_text(before + line(record, step), metrics)
            if step in ("", "training"):  # of several trainings the first is drawn
                also(record)

    if recipe.method != NO_METHOD:
        job = Job(
            recipe,
            folder,
            resume,
            task.core(opened.model),
            task,
            parts.config(recipe, None),
            example_of(task),
            watch,
            note,
        )
        return _pruned(job, opened, command, ranks, delivery)

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


def _pruned(
    job: Job, opened: Opened, command: str, ranks: Ranks, delivery: Mapping[str, bool]
) -> dict[str, Any]:
    """What a method leaves."""
    from prunus.runs.delivery import deliver
    from prunus.tasks.words import record_of

    made = by_method(job)
    if not ranks.first:
        return {}
    assert made.outcome is not None
    for network in (made.dense, made.outcome.model):
        network.cpu()
    return deliver(
        job.folder,
        made.dense,
        made.outcome,
        job.example,
        command=command,
        model=opened.record(job.folder) | {"data": record_of(job.samples)},
        score=made.score,
        seed=job.recipe.seed,
        task=job.samples,
        training=made.training,
        panels=made.panels,
        watch=job.watch,
        **delivery,  # type: ignore[arg-type]  # they are switches, all of them
    )


def _task(recipe: Recipe, source: Source) -> Task:
    """The task; of pictures by the loss of the recipe."""
    if source.pictures is None:
        return source.task()
    from prunus.runs.train_pixels import loss_of

    return replace(source.task(recipe.window), loss=loss_of(recipe))


def _check(recipe: Recipe, name: str, metric: str) -> None:
    if recipe.method == "dynamic" or recipe.select != "all":
        asked = f"--method {recipe.method}" if recipe.method == "dynamic" else f"--select {recipe.select}"
        raise ConfigError(
            f"{asked} is for images with classes in memory, and {name} is measured by {metric}: leave it out."
        )
    if recipe.augment not in ("auto", "none"):
        raise ConfigError(
            f"--augment {recipe.augment} is of images with classes, and {name} is measured by {metric}: leave"
            " it out."
        )
