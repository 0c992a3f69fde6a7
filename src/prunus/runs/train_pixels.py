"""A training on pictures with masks: what is different where every pixel has a class."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.json_files import to_json
from prunus.errors import ConfigError
from prunus.runs import recipe_parts as parts
from prunus.runs.data import is_own
from prunus.runs.pictures import Pictures, picture_folder
from prunus.runs.recipe import NO_METHOD, Recipe
from prunus.runs.run import CHECKPOINT, Run, noted

OF_PIXELS = (
    NO_METHOD,
    "importance",
)  # there a tolerance is of pixel accuracy and of IoU, each; elsewhere of the task's metric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.methods.common import Outcome
    from prunus.runs.data import Source
    from prunus.runs.loading import Opened
    from prunus.segmentation import Patches
    from prunus.training import EpochRecord, History


def is_of_pictures(recipe: Recipe) -> bool:
    """Whether what is trained on are pictures with masks."""
    return (
        not is_own(recipe.data)
        and picture_folder(recipe.data, Path(recipe.data_dir) if recipe.data_dir else None) is not None
    )


def check_kind_of(recipe: Recipe) -> None:
    """Raises ConfigError for settings that do not go with the data."""
    if not is_of_pictures(recipe):
        if recipe.loss != "cross-entropy":
            raise ConfigError(
                f"The loss {recipe.loss} is of pixels, and {recipe.data} holds no pictures with masks: leave"
                " it at cross-entropy."
            )
        for key in ("window", "windows"):
            if getattr(recipe, key) != getattr(Recipe, key) and not is_own(recipe.data):
                raise ConfigError(
                    f"{key} = {getattr(recipe, key)} is of pictures with masks, and {recipe.data} holds none:"
                    " leave it out."
                )
        return
    if recipe.select != "all" or recipe.method == "dynamic" or recipe.label_smoothing:
        raise ConfigError(
            "Pictures with masks are trained on as random windows: select must be all, label_smoothing 0, and"
            " the method not dynamic."
        )


def train_pixels(run: Run, source: Source) -> dict[str, Any]:
    """Train, prune where that is wanted, and write the folder; where several processes train together, the
    first one writes.
    """
    import torch

    from prunus.training import train

    recipe = run.recipe
    torch.manual_seed(recipe.seed)
    opened, source = _opened(run, source)
    pictures = source.pictures
    assert pictures is not None
    run.begin()
    metrics = _Metrics(run.metrics, pictures)

    def note(record: EpochRecord) -> None:
        if run.ranks.first:
            metrics.write(record)
            run.also(record)

    history = train(
        opened.model,
        _windows(recipe, pictures),
        parts.config(recipe, None),
        loss=loss_of(recipe),
        validation=metrics.iou if pictures.held else None,
        checkpoint=run.folder / CHECKPOINT,
        resume=run.resume,
        on_epoch=note,
        on_step=lambda done, total: run.watch("training", done, total),
    )
    opened.model.eval()
    reduced = _reduced(run, opened, pictures) if recipe.method == "importance" else None
    return _written(run, opened, pictures, history, reduced) if run.ranks.first else {}


def _written(
    run: Run, opened: Opened, pictures: Pictures, history: History, reduced: Outcome | None
) -> dict[str, Any]:
    """The model that is left, what the networks find on the test pictures, and, if channels went, which."""
    from prunus.segmentation import evaluate

    run.watch("evaluating", 0, 0)
    networks = {"test": opened.model} | ({"pruned": reduced.model} if reduced else {})
    result: dict[str, Any] = {
        "command": run.command,
        "model": opened.record(run.folder) | {"data": pictures.record()},
        **{
            name: evaluate(network, pictures.test, pictures.normalise).figures()
            for name, network in networks.items()
        },
        "training": history.to_dict(),
    }
    if reduced:
        result["trials"] = [asdict(trial) for trial in reduced.trials]
    if reduced and reduced.plan.removed:
        result["cost"] = {"before": asdict(reduced.plan.before), "after": asdict(reduced.plan.after)}
    plan = reduced.plan if reduced and reduced.plan.removed else None
    run.leave(reduced.model if reduced else opened.model, result, plan)
    return result


class _Metrics:
    """The metrics on the held-out pictures after every epoch, and the file that they are written to."""

    def __init__(self, path: Path, pictures: Pictures) -> None:
        self._path, self._pictures = path, pictures
        self._last: dict[str, float] = {}

    def iou(self, model: nn.Module) -> float:
        """What tells the best epoch."""
        from prunus.segmentation import evaluate

        self._last = evaluate(model, self._pictures.held, self._pictures.normalise).figures()
        return self._last["IoU"]

    def write(self, record: EpochRecord) -> None:
        """Add a line; one of the same or a later epoch, of a run that was killed, goes."""
        from prunus.report.result import write_text

        lines = [line for line in noted(self._path).splitlines() if _epoch(line) < record.epoch]
        write_text("\n".join([*lines, to_json(asdict(record) | self._last)]) + "\n", self._path)


def _epoch(line: str) -> float:
    """The epoch of a line of metrics; no line that is not whole, as of a run that was killed, is kept."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return math.inf


def _opened(run: Run, source: Source) -> tuple[Opened, Source]:
    assert source.pictures is not None
    return run.opened(source, (1, source.pictures.planes, run.recipe.window, run.recipe.window))


def _windows(recipe: Recipe, pictures: Pictures) -> Patches:
    from prunus.segmentation import Patches

    return Patches(
        pictures.train,
        pictures.normalise,
        recipe.window,
        recipe.windows,
        recipe.batch_size,
        turned=recipe.augment != "none",
    )


def loss_of(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of pixels that a recipe names."""
    from prunus.segmentation import binary, dice_loss, log_jaccard
    from prunus.segmentation.losses import cross_entropy

    return {
        "cross-entropy": cross_entropy,
        "dice": dice_loss,
        "log-jaccard": log_jaccard,
        "cross-entropy+log-jaccard": binary,
    }[recipe.loss]


def _reduced(run: Run, opened: Opened, pictures: Pictures) -> Outcome:
    """As small as pixel accuracy and IoU on the held-out pictures let."""
    from prunus._foundation.confidence import Rows
    from prunus.methods.importance import importance_pruning
    from prunus.planning.tolerance import all_within
    from prunus.segmentation.evaluation import figures_of, picture_by_picture
    from prunus.tasks import Task

    recipe = run.recipe
    windows, plain = _windows(recipe, pictures), loss_of(recipe)
    config = replace(
        parts.config(recipe, None), epochs=recipe.tune_epochs or 1, lr=recipe.tune_lr, keep="last"
    )
    tolerance = float(recipe.settings.get("tolerance", 1.0))

    def figures(network: nn.Module) -> dict[str, Rows]:
        return figures_of(picture_by_picture(network, pictures.held, pictures.normalise))

    run.watch("searching", 0, 0)
    return importance_pruning(
        opened.model,
        Task(windows, loss=plain, example=opened.inputs().to(run.ranks.device)),
        config=config,
        evaluate=all_within(opened.model, figures, dict.fromkeys(("pixel accuracy", "IoU"), tolerance)),
        watch=run.watch,
        **{**recipe.settings, "tolerance": 1.0},
    )
