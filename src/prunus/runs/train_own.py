"""A training on data of any other kind than images with classes and pictures with masks: by the loss and the
metric of their task.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from prunus.errors import ConfigError
from prunus.runs import recipe_parts as parts
from prunus.runs.by_method import Job, by_method, delivered
from prunus.runs.data import example_of
from prunus.runs.recipe import NO_METHOD, Recipe
from prunus.runs.run import CHECKPOINT, Run
from prunus.runs.train_pixels import loss_of
from prunus.tasks.words import metric_text, record_of

if TYPE_CHECKING:
    from prunus.runs.data import Source
    from prunus.runs.loading import Opened
    from prunus.tasks import Task
    from prunus.tasks.task import Part
    from prunus.training import History


def train_own(run: Run, source: Source) -> dict[str, Any]:
    """Train, prune by the method of the recipe, and write the folder; where several processes train together,
    the first one writes.

    Raises ConfigError for settings that are of images with classes.
    """
    recipe, task = run.recipe, task_of(run.recipe, source)
    _check(recipe, task.name, task.metric_name)
    torch.manual_seed(recipe.seed)
    opened, source = run.opened(source)
    task = task_of(recipe, source)
    run.begin()
    config = parts.config(recipe, None)
    if recipe.method != NO_METHOD:
        return _pruned(Job(run, task.core(opened.model), task, config, example_of(task)), opened)
    history = task.fit(
        opened.model,
        config,
        checkpoint=run.folder / CHECKPOINT,
        resume=run.resume,
        on_epoch=run.note,
        on_step=lambda done, total: run.watch("training", done, total),
    )
    return _written(run, opened, task, history) if run.ranks.first else {}


def _written(run: Run, opened: Opened, task: Task, history: History) -> dict[str, Any]:
    """The trained network, and what it is worth on the test samples, or where there are none on the training
    samples.
    """
    run.watch("evaluating", 0, 0)
    part: Part = "test" if task.test is not None else "train"
    value, loss = task.figures(opened.model.eval(), part)
    result = {
        "command": run.command,
        "model": opened.record(run.folder) | {"data": record_of(task)},
        "metric": metric_text(task),
        "value": value,
        "measured": {"part": part, "count": task.count(part), "of": task.kind(part)},
        "loss": loss if loss == loss else None,  # not a number, where none is of single samples
        "training": history.to_dict(),
    }
    run.settle(history.epochs)
    run.leave(opened.model, result)
    return result


def _pruned(job: Job, opened: Opened) -> dict[str, Any]:
    """What a method leaves."""
    run, made = job.run, by_method(job)
    if not run.ranks.first:
        return {}
    return delivered(job, made, opened, made.panels)


def task_of(recipe: Recipe, source: Source) -> Task:
    """The task of a recipe; of pictures by its loss."""
    if source.pictures is None:
        return source.task()
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
