"""What `prunus train` does with a network and images, method by method."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.cli import recipe_parts as parts
from prunus.cli.history import compress
from prunus.cli.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.methods.one_shot import Outcome
    from prunus.methods.soft import SoftPruning
    from prunus.tasks import Task
    from prunus.training import EpochRecord, History, TrainConfig
    from prunus.watching import Watch

CHECKPOINT = "checkpoint.safetensors"
RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
KEPT = "kept"  # folder of the samples that every epoch was trained on

Note = Callable[["EpochRecord", str], None]


@dataclass(frozen=True, eq=False)
class Made:
    """What a training came to.

    Attributes:
        training: its epochs; of several trainings those of the first.
        outcome: what was pruned; None if nothing was to be.
        score: what the channels were chosen by.
        panels: what the report shows besides.
    """

    training: History | None
    outcome: Outcome | None
    score: str
    panels: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained.

    Attributes:
        recipe, folder: of the run.
        resume: go on from the folder's checkpoints.
        model: to train, in place.
        samples, config: what on, and how.
        example: inputs to trace with and to verify on.
        watch: told about progress.
        note: told about every epoch, with the name of its training where there are several.
    """

    recipe: Recipe
    folder: Path
    resume: bool
    model: nn.Module
    samples: Task
    config: TrainConfig
    example: Tensor
    watch: Watch
    note: Note


def line(record: EpochRecord, step: str = "") -> str:
    """An epoch as a line of the metrics; with the name of its training where there are several."""
    return json.dumps(({"training": step} if step else {}) | asdict(record)) + "\n"


def by_method(job: Job) -> Made:
    """Train and prune as the recipe says."""
    if job.recipe.method == "history":
        training, outcome, panels = compress(
            job.recipe, job.model, job.samples, job.config, job.example[:1], job.folder / CHECKPOINT, job.resume, job.watch, job.note
        )
        return Made(training, outcome, "training history", panels)
    made = _twofold(job)
    return replace(made, outcome=_weighed(job), score="importance weights") if job.recipe.method == "importance" else made


def _twofold(job: Job) -> Made:
    """One training, on chosen samples and with soft pruning where the recipe has them."""
    from prunus.methods.twofold import twofold

    recipe = job.recipe
    job.watch("preparing the choice of samples", 0, 0)
    curriculum, pruning = parts.curriculum(recipe, job.samples, job.folder / KEPT), parts.pruning(recipe, job.example[:1])
    trained = twofold(
        job.model,
        job.samples,
        job.config,
        pruning=pruning,
        curriculum=curriculum,
        tuning=replace(job.config, epochs=recipe.tune_epochs, lr=recipe.tune_lr) if pruning and recipe.tune_epochs else None,
        checkpoint=job.folder / CHECKPOINT,
        resume=job.resume,
        on_epoch=lambda record: job.note(record, ""),
        verify_on=job.example,
        watch=job.watch,
    )
    return Made(trained.history, trained.outcome, f"norm-l{recipe.norm:g}", {"soft": _soft_panel(pruning, trained.outcome)})


def _weighed(job: Job) -> Outcome:
    """Trials under the tolerance, by trained weights of channels."""
    from prunus.methods.importance import classifier_within

    recipe = job.recipe
    return classifier_within(
        job.model,
        job.example[:1],
        job.samples,
        recipe.tolerance,
        replace(job.config, epochs=recipe.tune_epochs or 1, lr=recipe.tune_lr),
        step=recipe.step,
        l1=recipe.l1,
        protect=recipe.protect,
        verify_on=job.example,
        watch=job.watch,
    )


def _soft_panel(pruning: SoftPruning | None, outcome: Outcome | None) -> dict[str, Any] | None:
    """What the report shows of soft pruning: the channels alive per group after every pruning."""
    if pruning is None or outcome is None:
        return None
    sizes = {group.name: group.size for group in outcome.graph.groups}
    return {"record": [asdict(entry) for entry in pruning.record], "sizes": sizes}
