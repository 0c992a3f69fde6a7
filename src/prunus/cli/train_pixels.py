"""`prunus train` on pictures with masks: what is different where every pixel has a class."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.cli import recipe_parts as parts
from prunus.cli.console import show
from prunus.cli.opening import TRAINING_FILE, Opened, open_model, parse_planes
from prunus.cli.recipe import Recipe
from prunus.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from prunus.data.pictures import Example
    from prunus.methods.importance import Penalty, Reduced
    from prunus.segmentation import Patches
    from prunus.training import EpochRecord, History, Normalise
    from prunus.training.distributed import Ranks
    from prunus.watching import Watch

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


@dataclass(frozen=True, eq=False)
class _Pictures:
    """What is trained on, what a tolerance is kept on, what nothing is chosen by, and how all are normalised."""

    name: str
    train: list[Example]
    held: list[Example]
    test: list[Example]
    normalise: Normalise
    maps: int

    def record(self) -> dict[str, Any]:
        """For the result."""
        mean, std = self.normalise
        counts = {"train": len(self.train), "validation": len(self.held), "test": len(self.test)}
        return {"name": self.name, **counts, "mean": list(mean), "std": list(std)}


def train_pixels(
    recipe: Recipe, root: Path, folder: Path, command: str, resume: bool, ranks: Ranks, watch: Watch, also: Callable[[EpochRecord], None]
) -> dict[str, Any]:
    """Train, prune where that is wanted, and write the folder; where several processes train together, the first one writes."""
    import torch

    from prunus.cli.train_methods import CHECKPOINT, RECIPE
    from prunus.report.result import write_text
    from prunus.training import train

    watch(f"reading {recipe.data}", 0, 0)
    pictures = _read(recipe, root)
    torch.manual_seed(recipe.seed)
    opened = _opened(recipe, pictures)
    opened.check_output(folder)
    opened.model.to(ranks.device)
    if ranks.first:
        if not resume:
            (folder / "metrics.jsonl").unlink(missing_ok=True)
        write_text(recipe.to_toml(), folder / RECIPE)
    metrics = _Metrics(folder / "metrics.jsonl", pictures)

    def note(record: EpochRecord) -> None:
        if ranks.first:
            metrics.write(record)
            also(record)

    history = train(
        opened.model,
        _windows(recipe, pictures),
        parts.config(recipe, None),
        loss=_loss(recipe),
        validation=metrics.iou if pictures.held else None,
        checkpoint=folder / CHECKPOINT,
        resume=resume,
        on_epoch=note,
        on_step=lambda done, total: watch("training", done, total),
    )
    opened.model.eval()
    reduced = _reduced(recipe, opened, pictures, ranks.device, watch) if recipe.method == "importance" else None
    return _written(folder, command, opened, pictures, history, reduced, watch) if ranks.first else {}


def _written(
    folder: Path, command: str, opened: Opened, pictures: _Pictures, history: History, reduced: Reduced | None, watch: Watch
) -> dict[str, Any]:
    """The model that is left, what the networks find on the test pictures, and, if channels went, which."""
    from prunus import storage
    from prunus.report.delivery import run_files
    from prunus.report.result import write_text
    from prunus.segmentation import evaluate

    watch("evaluating", 0, 0)
    networks = {"test": opened.model} | ({"pruned": reduced.model} if reduced else {})
    result: dict[str, Any] = {
        "command": command,
        "model": opened.record(folder) | {"data": pictures.record()},
        **{name: evaluate(network, pictures.test, pictures.normalise).figures() for name, network in networks.items()},
        "training": history.to_dict(),
    }
    if reduced:
        result["trials"] = [asdict(trial) for trial in reduced.trials]
    if reduced and reduced.plan:
        result["cost"] = {"before": asdict(reduced.plan.before), "after": asdict(reduced.plan.after)}
    with run_files(folder) as staged:
        if reduced and reduced.plan:
            write_text(reduced.plan.to_json() + "\n", staged / "plan.json")
        storage.save((reduced.model if reduced else opened.model).cpu(), staged / "model.safetensors")
        write_text(json.dumps(result, indent=1) + "\n", staged / TRAINING_FILE)
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
    build = f" --build {name}" if ":" in name else ""
    show(f"{folder / 'model.safetensors'}; prunus segment PICTURE --model {folder}{build}")


class _Metrics:
    """The metrics on the held-out pictures after every epoch, and the file that they are written to."""

    def __init__(self, path: Path, pictures: _Pictures) -> None:
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

        before = self._path.read_text().splitlines() if self._path.exists() else []
        lines = [line for line in before if _epoch(line) < record.epoch]
        write_text("\n".join([*lines, json.dumps(asdict(record) | self._last)]) + "\n", self._path)


def _epoch(line: str) -> float:
    """The epoch of a line of metrics; no line that is not whole, as of a run that was killed, is kept."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return math.inf


def _read(recipe: Recipe, root: Path) -> _Pictures:
    from prunus.data.picture_sets import hold_out, load_pictures

    found = load_pictures(root, recipe.seed, recipe.block, recipe.ignore)
    kept, held = found.train, found.validation or []
    if recipe.validation and found.validation is None:
        kept, held = hold_out(found.train, recipe.validation, recipe.seed, recipe.block)
    planes = len(found.mean)
    normalise = parse_planes(recipe.mean, planes, "mean") or found.mean, parse_planes(recipe.std, planes, "std") or found.std
    return _Pictures(found.name, kept, held, found.test, normalise, found.maps)


def _opened(recipe: Recipe, pictures: _Pictures) -> Opened:
    """The network, with as many maps and planes as the pictures need."""
    planes = len(pictures.normalise[0])
    options = {} if ":" in recipe.model else {"num_classes": pictures.maps} | ({"in_channels": planes} if recipe.model in OURS else {})
    shape = (1, planes, recipe.window, recipe.window)
    return open_model(recipe.model, weights=Path(recipe.weights) if recipe.weights else None, shape=shape, options=options, build_name=recipe.build)


def _windows(recipe: Recipe, pictures: _Pictures) -> Patches:
    from prunus.segmentation import Patches

    return Patches(pictures.train, pictures.normalise, recipe.window, recipe.windows, recipe.batch_size, turned=recipe.augment != "none")


def _loss(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    from prunus.segmentation import binary, dice_loss, log_jaccard
    from prunus.segmentation.losses import cross_entropy

    return {"cross-entropy": cross_entropy, "dice": dice_loss, "log-jaccard": log_jaccard, "cross-entropy+log-jaccard": binary}[recipe.loss]


def _reduced(recipe: Recipe, opened: Opened, pictures: _Pictures, device: torch.device, watch: Watch) -> Reduced:
    """As small as pixel accuracy and IoU on the held-out pictures let."""
    from prunus.methods.importance import importance_pruning
    from prunus.segmentation.evaluation import figures_of, picture_by_picture
    from prunus.tolerance import Rows, all_within
    from prunus.training import train

    windows, plain, counted = _windows(recipe, pictures), _loss(recipe), itertools.count(1)
    config = replace(parts.config(recipe, None), epochs=recipe.tune_epochs or 1, lr=recipe.tune_lr, keep="last")

    def fit(network: nn.Module, penalty: Penalty | None) -> None:
        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return plain(outputs, targets).mean() + (penalty() if penalty else 0)

        train(network, windows, config, loss=loss)

    def figures(network: nn.Module) -> dict[str, Rows]:
        return figures_of(picture_by_picture(network, pictures.held, pictures.normalise))

    watch("searching", 0, 0)
    return importance_pruning(
        opened.model,
        opened.inputs().to(device),
        fit,
        all_within(opened.model, figures, dict.fromkeys(("pixel accuracy", "IoU"), recipe.tolerance)),
        1.0,
        step=recipe.step,
        least=recipe.step / 10,
        by="macs",
        l1=recipe.l1,
        protect=recipe.protect,
        on_trial=lambda trial: watch("searching", next(counted), 0),
    )
