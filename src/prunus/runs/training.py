"""A whole training, from a recipe to the folder that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunus._foundation.arguments import door
from prunus._foundation.progress import Watch, unwatched
from prunus._foundation.system_faults import no_room
from prunus.errors import ConfigError, FileFormatError
from prunus.runs.among import check_apart
from prunus.runs.by_method import check_method
from prunus.runs.data import Source, read_data
from prunus.runs.delivery import CHECKPOINTS, check
from prunus.runs.recipe import NO_METHOD, Recipe, read, resolve
from prunus.runs.recipe_parts import data_in
from prunus.runs.run import RECIPE, Run
from prunus.runs.settings import USUAL, Delivery
from prunus.runs.train_classes import train_classes
from prunus.runs.train_own import train_own
from prunus.runs.train_pixels import OF_PIXELS, check_kind_of, is_of_pictures, train_pixels
from prunus.storage.lock import folder_lock
from prunus.training.config import TrainConfig
from prunus.training.distributed import process_group
from prunus.training.trackers import TensorBoard, Tracker, track


@door(ConfigError)
def train(
    recipe: Recipe,
    folder: Path | str = "runs/train",
    *,
    resume: bool = False,
    sized: bool | None = None,
    tensorboard: bool = False,
    trackers: Sequence[Tracker] = (),
    delivery: Delivery = USUAL,
    command: str = "",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Train a network, and prune it if the recipe has a method.

    Args:
        recipe: what on, how, and by which method.
        folder: where to; made if it is not there.
        resume: go on from the folder's checkpoint, by the same recipe.
        sized: the size of batches is also for a function of the user's that makes them; None: if it is not
            the usual one.
        tensorboard: write curves for TensorBoard into the folder (needs the extra `tensorboard`).
        trackers: what else is told about every epoch, such as `prunus.training.MLflow()`.
        delivery: what the folder gets besides, where a method prunes.
        command: what the user typed, if it was a command.
        watch: told about progress.

    Returns:
        The result, as written to the folder's `result.json`, or `training.json` where nothing was pruned; of
        several processes that train together the first one has it, and the others have an empty one.

    Raises:
        ConfigError, TargetError, DataError: a setting, or data, that cannot be; a folder that holds another
            training, or another run writes into.
        PrunusError: what the method raises.
    """
    folder, recipe = Path(folder), resolve(recipe.values(), "The recipe")
    check_apart(folder, data_in(recipe, sized=False))
    with folder_lock(folder):
        begun = _begun(folder, resume)
        if begun is not None:
            _check_same(begun, recipe, folder)
        check_method(recipe)
        check_kind_of(recipe)
        pixels = is_of_pictures(recipe) and recipe.method in OF_PIXELS
        delivered = recipe.method != NO_METHOD and not pixels
        check(folder, with_onnx=delivery.onnx and delivered, with_report=delivery.report and delivered)
        curves = (TensorBoard(folder / "tensorboard"),) if tensorboard else ()
        with process_group() as ranks, track(*((*curves, *trackers) if ranks.first else ())) as also:
            watch = watch if ranks.first else unwatched
            run = Run(recipe, folder, resume, command, delivery, ranks, watch, also)
            sized = recipe.batch_size != TrainConfig.batch_size if sized is None else sized
            source = read_data(data_in(recipe, sized), None, watch)
            return _done(run, source, pixels)


def _done(run: Run, source: Source, pixels: bool) -> dict[str, Any]:
    """The training itself; where the disk takes no more, what to do after there is room is said."""
    try:
        if pixels and source.pictures is not None:
            return train_pixels(run, source)
        return train_own(run, source) if source.images is None else train_classes(run, source)
    except FileFormatError as error:
        how = going_on(run.folder) if no_room(error) else ""
        if not how:
            raise
        raise FileFormatError(f"{str(error).removesuffix('.')}: when there is room again, {how}.") from error


def going_on(folder: Path | str) -> str:
    """How a training that was broken off goes on, as a clause; "" where it left no checkpoint."""
    if not any(Path(folder).glob(CHECKPOINTS)):
        return ""
    return "--resume goes on from the checkpoint in its folder"


def recipe_of(flags: Mapping[str, Any], file: Path | None, folder: Path, resume: bool = False) -> Recipe:
    """The recipe that is meant by keys that were given, before those of a file, or of the training in the
    folder that is to be resumed.

    Raises ConfigError for keys or values that no recipe has, for those of another training than the one that
    is resumed, and for code that only the folder names.
    """
    with folder_lock(folder):
        begun = _begun(folder, resume)
    if resume and begun is None and file is None and not flags.get("data"):
        raise ConfigError(
            f"{folder} holds no training to go on with: give the data and the model to begin one, or another"
            " folder."
        )
    values = read(file) if file else begun.values() if begun else {}
    chosen = resolve({**values, **flags}, str(file) if file else "The command", flags)
    if begun is not None:
        _check_same(begun, chosen, folder)
        if file is None:
            _check_own(begun, flags, folder)
    return chosen


def _begun(folder: Path, resume: bool) -> Recipe | None:
    """The recipe of the training that is to be resumed, if there is one. Raises ConfigError where a new
    training would overwrite another.
    """
    if not any(folder.glob(CHECKPOINTS)):
        return None
    if not resume:
        raise ConfigError(
            f"{folder} holds the checkpoint of a training: --resume goes on with it; for a new one choose"
            " another folder."
        )
    return resolve(read(folder / RECIPE), str(folder / RECIPE))


def _check_own(begun: Recipe, flags: Mapping[str, Any], folder: Path) -> None:
    """Raises ConfigError where the recipe in a folder names code, and the user does not: what a file names is
    never called.
    """
    for key in ("data", "model", "build"):
        name = getattr(begun, key)
        if ":" in name and key not in flags:
            again = (
                f"--build {name}"
                if key == "build"
                else f"prunus train {begun.data} {begun.model} --resume -o {folder}"
            )
            raise ConfigError(
                f"The recipe {folder / RECIPE} names {name}, and prunus does not call what a file names: give"
                f" it again, as in {again}."
            )


def _check_same(begun: Recipe, chosen: Recipe, folder: Path) -> None:
    """Raises ConfigError if a resumed training would go on in another way than it began."""
    before, after = begun.values(), chosen.values()
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if key != "data_dir" and old != new:
            raise ConfigError(
                f"{folder} was begun with {key} = {old!r}, not {new!r}: resume with the same settings, or"
                " choose another folder."
            )
