"""`prunus train` on pictures with masks: what is different where every pixel has a class."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.cli import recipe_parts as parts
from prunus.cli.console import show
from prunus.cli.opening import Opened, open_model, parse_planes
from prunus.cli.recipe import Recipe
from prunus.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.data.picture_sets import PictureSet
    from prunus.data.pictures import Example
    from prunus.methods.importance import Penalty, Reduced, Weighed
    from prunus.methods.one_shot import Watch
    from prunus.training import EpochRecord, Normalise
    from prunus.training.distributed import Ranks

OURS = ("unet", "ternausnet")  # they take any number of planes


def pictures_of(recipe: Recipe) -> Path | None:
    """The folder, if what is trained on are pictures with masks; raises ConfigError for settings that do not go with the data."""
    from prunus.data import default_root, names
    from prunus.data.picture_sets import is_picture_set

    root = Path(recipe.data_dir) if recipe.data_dir else default_root()
    places = () if recipe.data in names() else (Path(recipe.data).expanduser(), root / recipe.data)
    found = next((place for place in places if is_picture_set(place)), None)
    if found is None:
        if recipe.loss != "cross-entropy":
            raise ConfigError(f"The loss {recipe.loss} is of pixels, and {recipe.data} holds no pictures with masks: leave it at cross-entropy.")
        return None
    if recipe.select != "all" or recipe.method in ("soft", "history") or recipe.label_smoothing:
        raise ConfigError(
            "Pictures with masks are trained on as random windows: select must be all, label_smoothing 0, and the method none or importance."
        )
    return found


def train_pixels(
    recipe: Recipe, root: Path, folder: Path, command: str, resume: bool, ranks: Ranks, watch: Watch, also: Callable[[EpochRecord], None]
) -> dict[str, Any]:
    """Train, prune where that is wanted, and write the folder; where several processes train together, the first one writes."""
    import torch

    from prunus import storage
    from prunus.cli.train_methods import CHECKPOINT, RECIPE
    from prunus.data.picture_sets import hold_out, load_pictures
    from prunus.report.result import write_text
    from prunus.segmentation import evaluate
    from prunus.training import train

    watch(f"reading {recipe.data}", 0, 0)
    pictures = load_pictures(root, recipe.seed, recipe.block)
    kept, held = hold_out(pictures.train, recipe.validation, recipe.seed, recipe.block) if recipe.validation else (pictures.train, [])
    planes = len(pictures.mean)
    normalise = parse_planes(recipe.mean, planes, "mean") or pictures.mean, parse_planes(recipe.std, planes, "std") or pictures.std
    torch.manual_seed(recipe.seed)
    opened = _opened(recipe, pictures, planes)
    model = opened.model.to(ranks.device)
    if ranks.first:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(recipe.to_toml(), folder / RECIPE)
    metrics = _Metrics(folder / "metrics.jsonl", held, normalise)

    def note(record: EpochRecord) -> None:
        if ranks.first:
            metrics.write(record)
            also(record)

    history = train(
        model, _windows(recipe, kept, normalise), parts.config(recipe, None), loss=_loss(recipe), validation=metrics.iou if held else None,
        checkpoint=folder / CHECKPOINT, resume=resume, on_epoch=note, on_step=lambda done, total: watch("training", done, total),
    )  # fmt: skip
    model.eval()
    reduced = _reduced(recipe, model, opened, kept, held, normalise, watch) if recipe.method == "importance" else None
    if not ranks.first:
        return {}
    watch("evaluating", 0, 0)
    networks = {"test": model} | ({"pruned": reduced.model} if reduced else {})
    data = {"name": pictures.name, "train": len(kept), "validation": len(held), "test": len(pictures.test)}
    result: dict[str, Any] = {
        "command": command,
        "model": opened.record() | {"data": data | {"mean": list(normalise[0]), "std": list(normalise[1])}},
        **{name: evaluate(network, pictures.test, normalise).figures() for name, network in networks.items()},
        "training": history.to_dict(),
    }
    if reduced and reduced.plan:
        result |= {"cost": {"before": asdict(reduced.plan.before), "after": asdict(reduced.plan.after)}}
        write_text(reduced.plan.to_json() + "\n", folder / "plan.json")
    if reduced:
        result |= {"trials": [asdict(trial) for trial in reduced.trials]}
    storage.save((reduced.model if reduced else model).cpu(), folder / "model.safetensors")
    write_text(json.dumps(result, indent=1) + "\n", folder / "training.json")
    return result


def show_pixels(result: dict[str, Any], folder: Path) -> None:
    """The metrics on the test pictures, and where to look."""
    name = result["model"]["name"]
    rows: list[tuple[str, dict[str, float]]] = [("", result["test"])]
    if "pruned" in result:
        left = result["cost"]["after"]["macs"] / result["cost"]["before"]["macs"] if "cost" in result else 1.0
        rows = [(" before", result["test"]), (f" with {left:.1%} of the MACs", result["pruned"])]
    for what, figures in rows:
        shown = ", ".join(f"{metric} {value:.2f} %" for metric, value in figures.items())
        show(f"[bold]{name}{what}: {shown}[/bold] on the test pictures")
    show(f"{folder / 'model.safetensors'}; prunus segment PICTURE --model {folder}")


class _Metrics:
    """The metrics on the held-out pictures after every epoch, and the file that they are written to."""

    def __init__(self, path: Path, held: list[Example], normalise: Normalise) -> None:
        self._path, self._held, self._normalise = path, held, normalise
        self._last: dict[str, float] = {}

    def iou(self, model: nn.Module) -> float:
        """What tells the best epoch."""
        from prunus.segmentation import evaluate

        self._last = evaluate(model, self._held, self._normalise).figures()
        return self._last["IoU"]

    def write(self, record: EpochRecord) -> None:
        """Add a line; one of the same or a later epoch, of a run that was killed, goes."""
        from prunus.report.result import write_text

        before = self._path.read_text().splitlines() if self._path.exists() else []
        lines = [line for line in before if json.loads(line)["epoch"] < record.epoch]
        write_text("\n".join([*lines, json.dumps(asdict(record) | self._last)]) + "\n", self._path)


def _opened(recipe: Recipe, pictures: PictureSet, planes: int) -> Opened:
    """The network, with as many maps and planes as the pictures need."""
    options = {} if ":" in recipe.model else {"num_classes": pictures.maps} | ({"in_channels": planes} if recipe.model in OURS else {})
    shape = (1, planes, recipe.window, recipe.window)
    return open_model(recipe.model, weights=Path(recipe.weights) if recipe.weights else None, shape=shape, options=options)


def _windows(recipe: Recipe, examples: list[Example], normalise: Normalise) -> Any:
    from prunus.segmentation import Patches

    return Patches(examples, normalise, recipe.window, recipe.windows, recipe.batch_size, turned=recipe.augment != "none")


def _loss(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    from prunus.segmentation import binary, dice_loss, log_jaccard
    from prunus.segmentation.losses import cross_entropy

    return {"cross-entropy": cross_entropy, "dice": dice_loss, "log-jaccard": log_jaccard, "cross-entropy+log-jaccard": binary}[recipe.loss]


def _reduced(
    recipe: Recipe, model: nn.Module, opened: Opened, kept: list[Example], held: list[Example], normalise: Normalise, watch: Watch
) -> Reduced:
    """As small as pixel accuracy and IoU on the held-out pictures let."""
    from prunus.methods.importance import importance_pruning
    from prunus.segmentation import evaluate
    from prunus.tolerance import all_within
    from prunus.training import train

    if not held:
        raise ConfigError("A tolerance is kept on held-out pictures: validation must be above 0.")
    windows, plain = _windows(recipe, kept, normalise), _loss(recipe)
    config = replace(parts.config(recipe, None), epochs=recipe.tune_epochs or 1, lr=recipe.tune_lr, keep="last")
    count = 0

    def fit(network: nn.Module, penalty: Penalty | None) -> None:
        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return plain(outputs, targets).mean() + (penalty() if penalty else 0)

        train(network, windows, config, loss=loss)
        network.eval()

    def told(trial: Weighed) -> None:
        nonlocal count
        count += 1
        watch("searching", count, 0)

    watch("searching", 0, 0)
    tolerances = dict.fromkeys(("pixel accuracy", "IoU"), recipe.tolerance)
    within = all_within(model, lambda network: evaluate(network, held, normalise).figures(), tolerances)
    example = opened.inputs().to(next(model.parameters()).device)
    return importance_pruning(
        model, example, fit, within, 1.0, step=recipe.step, least=recipe.step / 10, by="macs",
        l1=recipe.l1, protect=recipe.protect, on_trial=told,
    )  # fmt: skip
