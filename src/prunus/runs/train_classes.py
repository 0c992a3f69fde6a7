"""A training on images with classes that lie in memory, with or without a method that prunes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from prunus._foundation.run_files import KEPT
from prunus.runs import recipe_parts as parts
from prunus.runs import sample_gallery as kept
from prunus.runs.by_method import Job, Made, by_method, delivered
from prunus.runs.control import control
from prunus.runs.run import Run
from prunus.runs.train_gated import train_gated_network
from prunus.tasks.words import record_of
from prunus.training.evaluation import evaluate
from prunus.training.feeding import batches

if TYPE_CHECKING:
    from prunus.data import ImageData
    from prunus.runs.data import Source
    from prunus.runs.loading import Opened


def train_classes(run: Run, source: Source) -> dict[str, Any]:
    """Train, prune by the method of the recipe, and write the folder; where several processes train together,
    the first one writes.
    """
    recipe, images = run.recipe, source.images
    assert images is not None
    config = parts.config(recipe, images)
    torch.manual_seed(recipe.seed)
    opened, source = run.opened(source)
    samples = source.task()
    example, _ = next(iter(batches(samples.samples("test"), samples.normalisation, 1)))
    run.begin()
    job = Job(run, opened.model, samples, config, example.to(run.ranks.device))
    if recipe.method == "dynamic":
        return train_gated_network(job, opened, images)
    made = by_method(job)
    if not run.ranks.first:
        return {}
    if made.training is not None and made.alone:
        run.settle(made.training.epochs)
    for network in (opened.model, made.dense, made.outcome.model if made.outcome else None):
        if network is not None:
            network.cpu()
    return _plain(job, made, opened) if made.outcome is None else _pruned(job, made, opened, images)


def _pruned(job: Job, made: Made, opened: Opened, images: ImageData) -> dict[str, Any]:
    """What a method leaves."""
    run, samples = job.run, job.samples
    selected = (
        kept.panel(run.folder / KEPT, made.training, samples.samples("train"), images.classes)
        if made.training
        else None
    )
    found = control(made.training, job.samples.count("train"), made.outcome)
    return delivered(job, made, opened, made.panels | {"selection": selected, "control": found})


def _plain(job: Job, made: Made, opened: Opened) -> dict[str, Any]:
    """What a training without pruning leaves behind: the weights and their accuracy on the test set."""
    run, samples = job.run, job.samples
    assert made.training is not None
    found = evaluate(made.dense, samples.samples("test"), samples.normalisation)
    result = {
        "command": run.command,
        "model": opened.record(run.folder) | {"data": record_of(samples)},
        "accuracy": found.accuracy,
        "loss": found.loss,
        "training": made.training.to_dict(),
        "control": control(made.training, job.samples.count("train")),
    }
    run.leave(made.dense, result)
    return result
