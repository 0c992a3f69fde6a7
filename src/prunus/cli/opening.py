"""From what a user types to a model and its data: names, `NAME@WEIGHTS`, and the folders that `prune` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.errors import ConfigError, FileFormatError, clause

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunus.data import ImageData
    from prunus.methods.one_shot import Material
    from prunus.training import Normalise
    from prunus.training.config import Augment

MODEL_FILE = "model.safetensors"
RESULT_FILE = "result.json"
GATES_FILE = "gates.safetensors"
TRAINING_FILE = "training.json"

# Our networks are for CIFAR, but these.
OUR_SHAPES = {"lenet5": (1, 1, 28, 28), "unet": (1, 3, 256, 256), "ternausnet": (1, 3, 256, 256)}
CIFAR_SHAPE = (1, 3, 32, 32)
TORCHVISION_SIZES = {"inception_v3": 299}


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
    """

    model: nn.Module
    name: str
    input_shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    random: bool = False
    normalise: Normalise | None = None

    def inputs(self, seed: int = 0) -> Tensor:
        """Seeded normal inputs."""
        import torch

        return torch.randn(self.input_shape, generator=torch.Generator().manual_seed(seed))

    def notes(self) -> tuple[str, ...]:
        """What a reader of results should know."""
        return (f"The weights of {self.name} are random: none were given.",) if self.random else ()

    def record(self) -> dict[str, Any]:
        """For `result.json`: enough to build the model again."""
        return {
            "name": self.name,
            "class": type(self.model).__name__,
            "input_shape": list(self.input_shape),
            "options": dict(self.options),
            "weights": self.weights,
        }


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
        build_name: for a compact model's file without a result beside it: what it was made from.
        gated: take a folder with gates as a network with gates; others cannot use it.

    Raises:
        ModelNameError, FileFormatError, ConfigError: no such model, a file that does not fit, a shape that is unknown.
    """
    path = Path(text)
    if path.is_dir() and (path / GATES_FILE).is_file():
        return _open_gated(path, shape, build_name, gated)
    path = path / MODEL_FILE if path.is_dir() else path
    if path.is_file() or (path.suffix == ".safetensors" and "@" not in text):
        return _open_file(path, shape, build_name)
    name, _, after = text.partition("@")
    return _open_name(name, weights or (Path(after) if after else None), shape, data, pretrained, options or {})


def parse_shape(text: str) -> tuple[int, ...] | None:
    """ "1,3,32,32" -> (1, 3, 32, 32); "" -> None."""
    if not text:
        return None
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if len(shape) < 2 or min(shape) < 1:
        raise ConfigError(f"An input shape is whole numbers with commas, batch first, such as 1,3,32,32, not {text!r}.")
    return shape


def parse_planes(text: str, planes: int, what: str) -> tuple[float, ...] | None:
    """ "0.485,0.456,0.406" -> three floats; one number counts for every plane; "" -> None."""
    if not text:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, planes):
        raise ConfigError(f"--{what} takes one number per plane ({planes}), with commas, not {text!r}.")
    return values * planes if len(values) == 1 else values


def split_samples(images: ImageData, mean: str, std: str, held_out: float, seed: int) -> Material:
    """The splits of a data set and how they are normalised; a share of the training samples is held out (0 = none)."""
    from prunus.methods.one_shot import Material

    planes = images.image_shape[0]
    normalise = parse_planes(mean, planes, "mean") or images.mean, parse_planes(std, planes, "std") or images.std
    if not held_out:
        return Material(images.train, images.test, normalise)
    train, validation = images.hold_out(held_out, seed)
    return Material(train, images.test, normalise, validation)


def usual_augmentation(images: ImageData) -> Augment:
    """Photographs are shifted and mirrored; digits and other grey images are left as they are."""
    return "crop-flip" if images.image_shape[0] == 3 else "none"


def open_data(
    name: str,
    root: Path | None,
    image_size: int | None = None,
    watch: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> ImageData:
    """Load a data set; image folders are brought to a size, known sets have their own."""
    from prunus import data

    size = None if name in data.names() else image_size
    return data.load(name, root, image_size=size, progress=lambda what, done, total: watch(f"reading {what}", done, total or 0))


def natural_shape(name: str) -> tuple[int, ...] | None:
    """The input shape that a name stands for, without its weights; None where only the user can know it."""
    source, _, rest = name.partition("/")
    if source == "timm" and rest:
        return (1, *_timm_size(rest))
    if source == "torchvision" and rest:
        side = TORCHVISION_SIZES.get(rest, 224)
        return (1, 3, side, side)
    if ":" in name:
        return None
    return OUR_SHAPES.get(name, CIFAR_SHAPE)


def _open_name(
    name: str, weights: Path | None, shape: tuple[int, ...] | None, data: ImageData | None, pretrained: bool, given: Mapping[str, Any]
) -> Opened:
    from prunus import models

    if shape is None and data is not None:
        shape = (1, *data.image_shape)
    options = dict(given)
    if data is not None and ":" not in name:  # a factory of the user's own knows its classes
        options["num_classes"] = len(data.classes)
    if name == "lenet5" and shape is not None:
        options |= {"in_channels": shape[1], "image_size": shape[-1]}
    model = models.build(name, pretrained=pretrained, **options).eval()
    if weights is not None:
        models.load_weights(model, weights)
    shape = shape or natural_shape(name) or _own_shape(model)
    if shape is None:
        raise ConfigError(f"Nobody knows the input shape of {name}: give --input-shape, such as 1,3,224,224.")
    random = weights is None and not pretrained and ":" not in name
    return Opened(model, name, shape, options, str(weights) if weights else "", random)


def _open_file(path: Path, shape: tuple[int, ...] | None, build_name: str) -> Opened:
    from prunus import storage

    if not path.is_file():
        raise FileFormatError(f"There is no compact model {path}.")
    record = _record_beside(path)
    name = build_name or record.get("name", "")
    options = {} if build_name else record.get("options", {})
    model = storage.load(path, (lambda: _dense(name, options)) if name else None).eval()
    shape = shape or _planned_shape(model) or (tuple(record["input_shape"]) if "input_shape" in record else None)
    if shape is None:
        raise ConfigError(f"Nobody knows the input shape of {path}: give --input-shape, such as 1,3,224,224.")
    data = record.get("data") or {}
    normalise = (tuple(data["mean"]), tuple(data["std"])) if "mean" in data else None
    return Opened(model, str(path), shape, options, str(path), normalise=normalise)


def _open_gated(folder: Path, shape: tuple[int, ...] | None, build_name: str, gated: bool) -> Opened:
    """A network and the gates beside it."""
    from prunus.dynamic import load_gates

    if not gated:
        raise ConfigError(
            f"{folder} holds a network with gates, which this command cannot take: {folder / MODEL_FILE} is the same network without them."
        )
    plain = _open_file(folder / MODEL_FILE, shape, build_name)
    return replace(plain, model=load_gates(plain.model, plain.inputs(), folder / GATES_FILE), name=str(folder))


def _record_beside(path: Path) -> Mapping[str, Any]:
    """What the run that wrote a model says of it, if it is there."""
    pruned, trained = path.parent / RESULT_FILE, path.parent / TRAINING_FILE
    if pruned.is_file():
        from prunus.report.result import read

        found: Mapping[str, Any] = read(pruned)["model"]
        return found
    return read_training(trained)["model"] if trained.is_file() else {}


def read_training(path: Path) -> dict[str, Any]:
    """What a training without pruning says of itself.

    Raises:
        FileFormatError: it cannot be read, or is something else.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(found["model"], dict):
            raise TypeError("its model is no object")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FileFormatError(f"{path} cannot be read as the record of a training: {clause(error)}.") from error
    return found


def _dense(name: str, options: Mapping[str, Any]) -> nn.Module:
    """What a compact model was cut from: a name, or another compact model."""
    from prunus import models

    if Path(name).exists():
        return open_model(name).model
    return models.build(name, **options)


def _planned_shape(model: nn.Module) -> tuple[int, ...] | None:
    """Shape of the first tensor that the model's plan was made with."""
    from prunus.channels.plan import rebuild_inputs
    from prunus.deploy.inputs import tensors

    origin: Any = getattr(model, "prunus", None)
    found = tensors(rebuild_inputs(origin.plan.inputs)) if origin is not None else []
    return tuple(found[0].shape) if found else None


def _timm_size(architecture: str) -> tuple[int, ...]:
    """The input size (C, H, W) in timm's own table."""
    import torch

    from prunus import models

    with torch.device("meta"):
        model = models.build(f"timm/{architecture}")
    found: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    return tuple(found.get("input_size", (3, 224, 224)))


def _own_shape(model: nn.Module) -> tuple[int, ...] | None:
    """A model may say what it takes by an attribute `input_shape`, batch axis included."""
    found: Any = getattr(model, "input_shape", None)
    return tuple(int(length) for length in found) if isinstance(found, (tuple, list)) else None
