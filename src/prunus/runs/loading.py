"""From what a user types to a model and its data: names, `NAME@WEIGHTS`, and folders that `prune` writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.sizes import shape_fault
from prunus.errors import ConfigError, FileFormatError, ModelNameError, PrunusError, clause
from prunus.runs.kinds import check_kind, check_own
from prunus.runs.records import Record, record_beside
from prunus.runs.shapes import natural_shape, own_shape, planned_shape
from prunus.runs.texts import parse_planes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.data import ImageData
    from prunus.tasks import Task
    from prunus.training import Normalise
    from prunus.training.config import Augment

MODEL_FILE = "model.safetensors"
MODEL_SUFFIXES = (".safetensors", ".prunus")
GATES_FILE = "gates.safetensors"
MOST_STEPS = 16  # compact models that were made from compact models


@dataclass(frozen=True, eq=False)
class Opened:
    """A model that a user named.

    Attributes:
        model: in eval mode.
        name: as typed, without weights.
        input_shape: of one input, batch axis included.
        options: what it was built with, beside its name.
        weights: file that its weights come from, or "".
        random: nobody gave it weights, as far as we know; a user's own factory may have.
        normalise: (mean, std) of the planes of what it was trained on, where its folder says so.
        classes: their names, where its folder says so.
        block, split: how samples were held out of what it was trained on, see `Record`.
        file: the compact model's file, where it is one.
    """

    model: nn.Module
    name: str
    input_shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    random: bool = False
    normalise: Normalise | None = None
    classes: tuple[str, ...] = ()
    block: int = 1
    split: tuple[str, int] | None = None
    file: Path | None = None

    def inputs(self, seed: int = 0) -> Tensor:
        """Seeded normal inputs, in the type of the model's numbers."""
        import torch

        from prunus.training.evaluation import placement

        found = torch.randn(self.input_shape, generator=torch.Generator().manual_seed(seed))
        return found.to(placement(self.model)[1])

    def arguments(self, seed: int = 0) -> Any:
        """What the model is called with: the inputs, or all of several that its plan was made with."""
        from prunus.runs.shapes import planned_arguments

        several = planned_arguments(self.model, seed)
        return self.inputs(seed) if several is None else several

    def notes(self) -> tuple[str, ...]:
        """What a reader of results should know."""
        return (f"The weights of {self.name} are random: none were given.",) if self.random else ()

    def record(self, folder: Path | None = None) -> dict[str, Any]:
        """For `result.json`: enough to build the model again.

        Args:
            folder: where the record will lie; paths are written as they are seen from there, so that they
                hold from every working directory.
        """
        name, weights = (str(self.file) if self.file else self.name), self.weights
        if folder is not None:
            name = _seen_from(folder, self.file) if self.file else name
            weights = _seen_from(folder, Path(weights)) if weights else ""
        return {
            "name": name,
            "class": type(self.model).__name__,
            "input_shape": list(self.input_shape),
            "options": dict(self.options),
            "weights": weights,
            "random": self.random,
        }

    def check_output(self, folder: Path) -> None:
        """Raises ConfigError where writing to a folder would replace the model that was opened, or the
        weights that it was given.
        """
        from prunus.storage.lock import check_place

        check_place(folder)
        own = self.file is not None and self.file.resolve().parent == folder.resolve()
        if own or (self.weights and Path(self.weights).resolve() == (folder / MODEL_FILE).resolve()):
            raise ConfigError(
                f"{folder} holds the model that is read, which the result would replace: choose another"
                " folder with -o."
            )


def _seen_from(folder: Path, file: Path) -> str:
    """The path of a file relative to a folder; absolute where there is none, on another drive."""
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return str(file.resolve())


def open_model(
    text: str,
    *,
    weights: Path | None = None,
    shape: tuple[int, ...] | None = None,
    data: ImageData | None = None,
    options: Mapping[str, Any] | None = None,
    pretrained: bool = False,
    build_name: str = "",
    gated: bool = False,
) -> Opened:
    """Build or load what the user named.

    Args:
        text: a model's name, `NAME@WEIGHTS`, a compact model's file, or a folder with one.
        weights: file with weights for a name.
        shape: of the inputs; None = what the model or the data say.
        data: samples; they decide the number of classes, and the shape where the model takes any.
        options: what to build a name with besides.
        pretrained: ask the model's own library for weights.
        build_name: what a compact model was made from, where its record does not say so, or names code: what
            a file names is never called.
        gated: take a folder with gates as a network with gates; others cannot use it.

    Raises:
        ModelNameError, FileFormatError, ConfigError: no such model, a file that does not fit, a shape that is
            unknown.
    """
    from prunus.storage.file import file_in
    from prunus.storage.lock import settle

    check_kind(text)
    path = Path(text)
    settle(path if path.is_dir() else path.parent)
    holds_model = _is_model_path(text)
    if holds_model and (weights is not None or pretrained):
        raise ConfigError(
            f"{text} has weights of its own: leave {'--pretrained' if weights is None else '--weights'} out."
        )
    if holds_model and path.is_dir() and (path / GATES_FILE).is_file():
        return _open_gated(path, shape, build_name, gated)
    if holds_model:
        return _open_file(file_in(path), text, shape, build_name)
    name, at, after = text.partition("@")
    if at and not after:
        raise ConfigError(f"{text} names no file behind the @: give NAME@WEIGHTS, or NAME alone.")
    if after and weights is not None:
        raise ConfigError(
            f"{text} says where its weights are, and so does --weights {weights}: leave one of them out."
        )
    return _open_name(
        name, weights or (Path(after) if after else None), shape, data, pretrained, options or {}
    )


def _is_model_path(text: str) -> bool:
    """Whether it names a folder or a compact model's file, rather than a network."""
    from prunus.models.catalogue import is_plain_name
    from prunus.storage.file import file_in

    path = Path(text)
    try:
        if is_plain_name(text):
            return file_in(path).is_file()
        return path.exists() or (path.suffix in MODEL_SUFFIXES and "@" not in text)
    except OSError:  # longer than a path may be
        return False


def split_samples(images: ImageData, mean: str, std: str, held_out: float, seed: int) -> Task:
    """The splits of a data set and how they are normalised; a share of the training samples is held out (0 =
    none).
    """
    from prunus.tasks import Task

    planes = images.image_shape[0]
    normalise = (
        parse_planes(mean, planes, "mean") or images.mean,
        parse_planes(std, planes, "std") or images.std,
    )
    if not held_out and images.validation is None:
        return Task(
            images.train, test=images.test, normalise=normalise, classes=images.classes, name=images.name
        )
    train, validation = images.hold_out(held_out, seed)  # of its own, where the set has them
    return Task(train, validation, images.test, normalise=normalise, classes=images.classes, name=images.name)


def usual_augmentation(images: ImageData) -> Augment:
    """Photographs are shifted and mirrored; digits and other grey images are left as they are."""
    return "crop-flip" if images.image_shape[0] == 3 else "none"


def open_data(
    name: str,
    root: Path | None,
    image_size: int | None = None,
    watch: Callable[[str, int, int], None] = lambda step, done, total: None,
    workers: int = 0,
) -> ImageData:
    """Load a data set; image folders are brought to a size, known sets have their own."""
    from prunus import data

    size = None if name in data.names() else image_size
    return data.load(
        name,
        root,
        image_size=size,
        workers=workers,
        progress=lambda what, done, total: watch(f"reading {what}", done, total or 0),
    )


def _open_name(
    name: str,
    weights: Path | None,
    shape: tuple[int, ...] | None,
    data: ImageData | None,
    pretrained: bool,
    given: Mapping[str, Any],
) -> Opened:
    from prunus import models

    if shape is None and data is not None:
        shape = (1, *data.image_shape)
    options = dict(given)
    if data is not None and ":" not in name:  # a factory of the user's own knows its classes
        options["num_classes"] = len(data.classes)
    if name in ("lenet5", "lenet300") and shape is not None:
        if len(shape) != 4 or shape[2] != shape[3]:
            raise ConfigError(
                f"{name} takes square images, not inputs of {'×'.join(map(str, shape[1:]))}: cut or pad them,"
                " or choose another network."
            )
        options |= {"in_channels": shape[1], "image_size": shape[-1]}
    model = models.build(name, pretrained=pretrained, **options).eval()
    if weights is not None:
        models.load_weights(model, weights)
    shape = shape or natural_shape(name) or own_shape(model)
    if shape is None:
        raise ConfigError(f"Nobody knows the input shape of {name}: give --input-shape, such as 1,3,224,224.")
    random = weights is None and not pretrained and ":" not in name
    return Opened(model, name, shape, options, str(weights) if weights else "", random)


def _open_file(path: Path, text: str, shape: tuple[int, ...] | None, build_name: str) -> Opened:
    check_own(path, text)
    record = record_beside(path)
    model = _load(path, record, build_name, ()).eval()
    planned = planned_shape(model)
    if shape is None and planned and (fault := shape_fault(planned)):
        raise FileFormatError(
            f"The plan in {path} was made with inputs of shape {list(planned)[:10]}: {fault}."
        )
    shape = shape or planned or (record.input_shape if record else None) or own_shape(model)
    if shape is None:
        raise ConfigError(f"Nobody knows the input shape of {path}: give --input-shape, such as 1,3,224,224.")
    opened = Opened(model, str(path), shape, weights=str(path), file=path)
    said = (
        {name: getattr(record, name) for name in ("normalise", "classes", "block", "split")} if record else {}
    )
    return replace(opened, **said)


def _open_gated(folder: Path, shape: tuple[int, ...] | None, build_name: str, gated: bool) -> Opened:
    """A network and the gates beside it."""
    from prunus.dynamic import load_gates

    if not gated:
        raise ConfigError(
            f"{folder} holds a network with gates, which this command cannot take: {folder / MODEL_FILE} is"
            " the same network without them."
        )
    plain = _open_file(folder / MODEL_FILE, str(folder), shape, build_name)
    return replace(
        plain, model=load_gates(plain.model, plain.inputs(), folder / GATES_FILE), name=str(folder)
    )


def model_in(path: Path, build_name: str = "") -> nn.Module:
    """The model of a file, without an input shape; `build_name` is what a network of another class is made
    from.
    """
    return _load(path, record_beside(path), build_name, ())


def _load(path: Path, record: Record | None, build_name: str, trail: tuple[Path, ...]) -> nn.Module:
    """A compact model's file; `trail` are the files that were made from it."""
    from prunus import storage

    def dense() -> nn.Module:
        try:
            return _recorded(path, record, build_name, (*trail, path.resolve()))
        except _UntoldError as error:
            if build_name:
                return _given(build_name)
            raise ConfigError(str(error)) from error

    return storage.load(path, dense)


class _UntoldError(PrunusError):
    """A record does not say in a harmless way what a model was made from; the user can, by --build."""


def _recorded(path: Path, record: Record | None, build_name: str, trail: tuple[Path, ...]) -> nn.Module:
    """What a compact model was cut from. A record may name a network of ours or of a library, or another
    compact model by a path relative to itself; what else it was is said by the user, as nothing that a file
    names is called.
    """
    from prunus.models.catalogue import build_recorded, is_plain_name

    if record is None or not record.name:
        raise _UntoldError(f"Nothing beside {path} says what it was made from: give --build NAME.")
    if not is_plain_name(record.name):
        found = _recorded_file(record, trail)
        return _load(found, record_beside(found), build_name, trail)
    try:
        return build_recorded(record.name, record.options)
    except ModelNameError as error:
        raise _UntoldError(
            f"The record {record.file} makes no model: {clause(error)}; give --build NAME."
        ) from error


def _recorded_file(record: Record, trail: tuple[Path, ...]) -> Path:
    """The file of the other compact model that a record names."""
    from prunus.storage.file import file_in

    shown = record.name if len(record.name) <= 120 else f"{record.name[:117]}…"
    made = f"The record {record.file} says that the model was made from {shown}"
    path = Path(record.name)
    if ":" in record.name:
        raise _UntoldError(
            f"{made}, and prunus does not call what a file names: give --build {shown} if it is yours."
        )
    if path.is_absolute():
        raise _UntoldError(
            f"{made}, and prunus follows only paths that are relative to the record: give --build {shown} if"
            " it is yours."
        )
    try:
        found = (record.file.resolve().parent / path).resolve()
        found = file_in(found)
        there = found.suffix in MODEL_SUFFIXES and found.is_file()
    except (OSError, ValueError, RuntimeError):  # no path at all, one that is too long, links in a circle
        there = False
    if not there:
        raise _UntoldError(
            f"{made}, which is not there, seen from its folder: give --build with the name or the place of"
            " that model."
        )
    if found in trail:
        raise _UntoldError(
            f"{made}, which in the end was made from itself: give --build with what it was made from."
        )
    if len(trail) >= MOST_STEPS:
        raise _UntoldError(
            f"{made}, the {MOST_STEPS}th model in a row that was made from another: give --build with what"
            " that was made from."
        )
    return found


def _given(name: str) -> nn.Module:
    """What the user says that a compact model was made from: a name, a factory, or another compact model."""
    from prunus import models

    check_kind(name)
    return open_model(name).model if _is_model_path(name) else models.build(name)


__all__ = ["MODEL_FILE", "Opened", "open_data", "open_model", "split_samples", "usual_augmentation"]
