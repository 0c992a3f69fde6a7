"""What `prunus train` does with a network and images, method by method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.cli import recipe_parts as parts
from prunus.cli.history import compress
from prunus.cli.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.methods.one_shot import Material, Outcome, Watch
    from prunus.methods.soft import SoftPruning
    from prunus.training import EpochRecord, History, TrainConfig

CHECKPOINT = "checkpoint.safetensors"
RECIPE = "recipe.toml"
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


def by_method(
    recipe: Recipe,
    model: nn.Module,
    samples: Material,
    config: TrainConfig,
    example: Tensor,
    folder: Path,
    resume: bool,
    watch: Watch,
    note: Note,
) -> Made:
    """Train and prune as the recipe says, and go on from the folder's checkpoints if it is resumed."""
    if recipe.method == "history":
        training, outcome, panels = compress(recipe, model, samples, config, example[:1], folder / CHECKPOINT, resume, watch, note)
        return Made(training, outcome, "training history", panels)
    made = _twofold(recipe, model, samples, config, example, folder, resume, watch, note)
    if recipe.method == "importance":
        return replace(made, outcome=_weighed(recipe, model, samples, config, example, watch), score="importance weights")
    return made


def _twofold(
    recipe: Recipe,
    model: nn.Module,
    samples: Material,
    config: TrainConfig,
    example: Tensor,
    folder: Path,
    resume: bool,
    watch: Watch,
    note: Note,
) -> Made:
    """One training, on chosen samples and with soft pruning where the recipe has them."""
    from prunus.methods.twofold import twofold

    watch("preparing the choice of samples", 0, 0)
    curriculum, pruning = parts.curriculum(recipe, samples, folder / KEPT), parts.pruning(recipe, example[:1])
    trained = twofold(
        model,
        samples,
        config,
        pruning=pruning,
        curriculum=curriculum,
        tuning=replace(config, epochs=recipe.tune_epochs, lr=recipe.tune_lr) if pruning and recipe.tune_epochs else None,
        checkpoint=folder / CHECKPOINT,
        resume=resume,
        on_epoch=lambda record: note(record, ""),
        verify_on=example,
        watch=watch,
    )
    return Made(trained.history, trained.outcome, f"norm-l{recipe.norm:g}", {"soft": _soft_panel(pruning, trained.outcome)})


def _weighed(recipe: Recipe, model: nn.Module, samples: Material, config: TrainConfig, example: Tensor, watch: Watch) -> Outcome:
    """Trials under the tolerance, by trained weights of channels."""
    from prunus.methods.importance import classifier_within

    return classifier_within(
        model,
        example[:1],
        samples,
        recipe.tolerance,
        replace(config, epochs=recipe.tune_epochs or 1, lr=recipe.tune_lr),
        step=recipe.step,
        l1=recipe.l1,
        protect=recipe.protect,
        verify_on=example,
        watch=watch,
    )


def _soft_panel(pruning: SoftPruning | None, outcome: Outcome | None) -> dict[str, Any] | None:
    """What the report shows of soft pruning: the channels alive per group after every pruning."""
    if pruning is None or outcome is None:
        return None
    sizes = {group.name: group.size for group in outcome.graph.groups}
    return {"record": [asdict(entry) for entry in pruning.record], "sizes": sizes}
