"""`prunus train --method history`: a recipe as rounds, and what came of them as the result of a run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.cli.recipe import Recipe
from prunus.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.methods.history import Compressed
    from prunus.methods.one_shot import Outcome
    from prunus.tasks import Task
    from prunus.training import EpochRecord, History, TrainConfig
    from prunus.watching import Watch

MOST_GROUPS, MOST_EPOCHS, MOST_FILTERS, MOST_PAIRS = 6, 40, 48, 4  # that the report shows
WEIGHTS = (".safetensors", ".pt", ".pth", ".th")


def compress(
    recipe: Recipe,
    model: nn.Module,
    samples: Task,
    config: TrainConfig,
    example: Tensor,
    checkpoint: Path,
    resume: bool,
    watch: Watch,
    note: Callable[[EpochRecord, str], None],
) -> tuple[History | None, Outcome, dict[str, Any]]:
    """Train and prune in rounds as the recipe says: the first training, what came of the rounds, and what the report shows besides.

    Raises ConfigError where the recipe has no room for the method.
    """
    from prunus.methods.history import Round, history_pruning, outcome
    from prunus.methods.one_shot import Target
    from prunus.watching import Clock

    if recipe.select != "all":
        raise ConfigError(f"--method history writes down whole trainings, on all samples: leave select = {recipe.select!r} out.")
    if samples.validation is None:
        raise ConfigError("validation = 0 holds no samples out, and --method history keeps its tolerance on them: give a share such as 0.1.")
    later = replace(config, lr=recipe.tune_lr)
    round_ = Round(recipe.rate, replace(later, epochs=recipe.pull_epochs), replace(later, epochs=recipe.tune_epochs or recipe.epochs))
    clock = Clock(watch)
    started = time.perf_counter()
    found = history_pruning(
        model,
        example,
        samples,
        [round_] * recipe.rounds,
        training=_earlier(model, example, recipe.history) if recipe.history else config,
        tolerance=recipe.tolerance,
        strength=recipe.pull_strength,
        protect=recipe.protect,
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=lambda step, record: note(record, step),
        watch=watch,
    )
    clock.seconds["training and rounds"] = time.perf_counter() - started
    target = Target("tolerance", recipe.tolerance, protect=recipe.protect, confidence=0.5)  # the measured accuracy, as in the paper
    return found.training, outcome(found, model, example, samples, target, clock), {"history": _panel(found)}


def _panel(found: Compressed) -> dict[str, Any]:
    """What the report shows: the history from which the first round's pairs were made, of the layers that lost most."""
    if not found.rounds:
        return {"groups": []}
    first = found.rounds[0]
    most = sorted(first.pairs, key=lambda name: -len(first.pairs[name]))[:MOST_GROUPS]
    return {"groups": [_group(name, first.norms[name], first.pairs[name]) for name in first.pairs if name in most and first.pairs[name]]}


def _group(name: str, norms: Tensor, pairs: Any) -> dict[str, Any]:
    """One layer: its nearest pairs, and as many of its other filters as can be told apart, at as many epochs."""
    epochs, size = norms.shape
    shown = sorted({round(i * (epochs - 1) / max(1, min(epochs, MOST_EPOCHS) - 1)) for i in range(min(epochs, MOST_EPOCHS))})
    paired = [list(pair) for pair in pairs[:MOST_PAIRS]]
    every = -(-size // MOST_FILTERS)
    others = [i for i in range(0, size, every) if not any(i in pair for pair in paired)]
    curve = {i: [float(f"{norms[epoch, i]:.4g}") for epoch in shown] for i in {*others, *(i for pair in paired for i in pair)}}
    return {
        "name": name,
        "size": size,
        "removed": len(pairs),
        "epochs": [epoch + 1 for epoch in shown],
        "pairs": [{"goes": curve[goes], "stays": curve[stays]} for goes, stays in paired],
        "others": [curve[i] for i in others],
    }


def _earlier(model: nn.Module, example: Tensor, folder: str) -> Tensor:
    """The history in a folder of weight files, one per epoch, in the order of their names; the model gets the last weights."""
    from prunus.channels import trace
    from prunus.models import load_weights
    from prunus.scores.history import from_checkpoints

    found = Path(folder).iterdir() if Path(folder).is_dir() else []
    files = sorted((path for path in found if path.suffix in WEIGHTS), key=_numbered)
    if not files:
        raise ConfigError(f"history = {folder!r} must be a folder with weight files ({', '.join(WEIGHTS)}), one per epoch.")
    load_weights(model, files[-1])
    return from_checkpoints(trace(model, example), files)


def _numbered(path: Path) -> list[tuple[int, str]]:
    """By the numbers in a name, so that epoch 10 comes after epoch 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
