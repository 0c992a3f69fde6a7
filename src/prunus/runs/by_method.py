"""What `prunus train` does with a network and images, method by method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from prunus._foundation.run_files import KEPT
from prunus.errors import ConfigError
from prunus.methods.registry import METHODS
from prunus.runs import recipe_parts as parts
from prunus.runs.history_panel import panel
from prunus.runs.recipe import NO_METHOD, Recipe
from prunus.runs.run import CHECKPOINT, Run

if TYPE_CHECKING:
    from torch import nn

    from prunus.methods.common import Journal, Outcome
    from prunus.runs.loading import Opened
    from prunus.tasks import Task
    from prunus.training import History, TrainConfig

HELD_OUT = (
    "importance",
    "play-and-prune",
    "history",
    "autoprune",
)  # they choose, or learn, on samples that are held out
CHOOSING = ("soft", "dynamic")  # they train on the samples that a curriculum chooses


@dataclass(frozen=True, eq=False)
class Made:
    """What a training came to.

    Attributes:
        training: its epochs; of several trainings those of the first.
        outcome: what was pruned; None if nothing was to be.
        dense: the network with all of its channels, trained.
        score: what the channels were chosen by.
        panels: what the report shows besides.
        alone: there was no other training whose epochs are written down.
    """

    training: History | None
    outcome: Outcome | None
    dense: nn.Module
    score: str
    panels: dict[str, Any]
    alone: bool


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained.

    Attributes:
        run: that it is of.
        model: to train.
        samples, config: what on, and how.
        example: one input.
    """

    run: Run
    model: nn.Module
    samples: Task
    config: TrainConfig
    example: Any

    @property
    def recipe(self) -> Recipe:
        """That of the run."""
        return self.run.recipe


def check_method(recipe: Recipe) -> None:
    """Raises ConfigError and TargetError for settings that a method does not take, before there is any work
    to lose.
    """
    name = recipe.method
    if name == NO_METHOD:
        return
    if name in HELD_OUT and not recipe.validation:
        raise ConfigError(
            f"--method {name} keeps its tolerance, or learns, on held-out samples: validation must be"
            " above 0."
        )
    if recipe.select != "all" and not METHODS[name].trained and name not in CHOOSING:
        raise ConfigError(f"--method {name} trains on all samples: leave select = {recipe.select!r} out.")
    if name == "dynamic":
        from prunus.methods.train_gated import check_settings

        own: dict[str, Any] = {"budget": 0.5, "gates": "activation", "settle": False} | dict(recipe.settings)
        check_settings(own["budget"], recipe.keep, recipe.compile, own["gates"], own["settle"])


def by_method(job: Job) -> Made:
    """Train and prune as the recipe says."""
    recipe = job.recipe
    if recipe.method == NO_METHOD:
        return Made(_trained(job), None, job.model, "", {}, True)
    method = METHODS[recipe.method]
    first = _trained(job) if method.trained else None
    outcome = method.function(job.model, job.samples, **_run_options(job), **recipe.settings)
    dense = job.model if outcome.blocks or outcome.dense is None else outcome.dense
    panels = {"soft": _soft_panel(outcome), "history": panel(outcome) if recipe.method == "history" else None}
    score = str(recipe.settings.get("score", "reconstruction")) if recipe.method == "one-shot" else method.by
    return Made(first or outcome.training, outcome, dense, score, panels, recipe.method != "history")


def delivered(job: Job, made: Made, opened: Opened, panels: Mapping[str, Any]) -> dict[str, Any]:
    """The folder of what a method left, and its result."""
    from torch import Tensor

    from prunus.runs.delivery import deliver
    from prunus.runs.describe import Provenance
    from prunus.tasks.words import record_of

    run, outcome = job.run, made.outcome
    assert outcome is not None
    for network in (made.dense, outcome.model):
        network.cpu()
    about = Provenance(
        opened.record(run.folder) | {"data": record_of(job.samples)},
        made.score,
        run.recipe.seed,
        run.command,
        job.samples,
        made.training,
        notes=[panels["control"]["text"]] if panels.get("control") else (),
        panels=panels,
    )
    example = job.example.cpu() if isinstance(job.example, Tensor) else job.example
    return deliver(run.folder, made.dense, outcome, example, about, run.delivery, run.watch)


def _run_options(job: Job) -> dict[str, Any]:
    """What the recipe says of every method: how it trains, and tunes what is left."""
    from prunus.methods.settings import run_options_of

    recipe, taken = job.recipe, run_options_of(job.recipe.method)
    tuned = replace(job.config, epochs=recipe.tune_epochs or 1, lr=recipe.tune_lr)
    options: dict[str, Any] = {"watch": job.run.watch, "journal": _journal(job), "seed": recipe.seed}
    if "tuning" in taken or recipe.method in CHOOSING or recipe.method == "snip":
        options["config"], options["tuning"] = job.config, tuned if recipe.tune_epochs else None
    elif recipe.method in HELD_OUT:
        options["config"] = tuned  # of a trial
    else:
        options["config"] = tuned if recipe.tune_epochs else None
    if recipe.method == "history":
        options["tuning"] = replace(tuned, epochs=recipe.tune_epochs or recipe.epochs)
    if METHODS[recipe.method].trained:
        # the file is that of the training before
        options["journal"] = replace(_journal(job), checkpoint=None, on_epoch=None)
    elif "curriculum" in taken:
        options["curriculum"] = parts.curriculum(recipe, job.samples, job.run.folder / KEPT)
    return {name: value for name, value in options.items() if name in taken}


def _trained(job: Job) -> History:
    """One training, in place, on chosen samples where the recipe has them."""
    from prunus.methods.common import FIRST

    job.run.watch("preparing the choice of samples", 0, 0)
    curriculum = parts.curriculum(job.recipe, job.samples, job.run.folder / KEPT)
    options: dict[str, Any] = {"curriculum": curriculum, **_journal(job).options(FIRST, job.run.watch)}
    history = job.samples.fit(job.model, job.config, **options)
    job.model.eval()
    return history


def _journal(job: Job) -> Journal:
    """Checkpoints in the folder of the run; epochs are written down by the name of their training where there
    are several.
    """
    from prunus.methods.common import Journal

    several = job.recipe.method == "history"
    return Journal(
        job.run.folder / CHECKPOINT,
        resume=job.run.resume,
        on_epoch=lambda step, record: job.run.note(record, step if several else ""),
    )


def _soft_panel(outcome: Outcome) -> dict[str, Any] | None:
    """What the report shows of soft pruning: the channels alive per group after every pruning."""
    if "record" not in outcome.found:
        return None
    sizes = {group.name: group.size for group in outcome.graph.groups}
    return {"record": [asdict(entry) for entry in outcome.found["record"]], "sizes": sizes}
