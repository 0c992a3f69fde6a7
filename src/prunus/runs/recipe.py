"""The recipe of a training: every setting of `prunus train`, from a file, from flags, or from both."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from prunus._foundation.json_files import check_depth
from prunus._foundation.wording import short
from prunus.errors import ConfigError, MissingExtraError, clause
from prunus.methods.registry import METHODS
from prunus.methods.settings import as_float
from prunus.runs.limits import check_settings
from prunus.runs.of_use import check_of_use
from prunus.training.config import Flips, Keep, OptimizerName, Precision, Schedule, TrainConfig

MOST_BYTES = 2**20
BUNDLED = Path(__file__).parent / "recipes"  # by their names

Select = Literal[
    "all",
    "lower-bound",
    "easy-dropped",
    "importance",
    "sliding-window",
    "proxy",
    "critical",
    "critical-softer",
    "fixed-ratio",
    "mean-division",
    "area",
    "random",
]
NO_METHOD = "none"
LossName = Literal["cross-entropy", "dice", "log-jaccard", "cross-entropy+log-jaccard"]


@dataclass(frozen=True)
class Recipe:
    """Every key has a flag of the same name, with hyphens. What a key means is said by the flag's help,
    `prunus train --help`.

    `settings` are no key: they are those of the method, keys of their own, which `prunus train --method NAME
    --help` lists.
    """

    data: str
    model: str
    data_dir: str = ""
    weights: str = ""
    build: str = ""
    mean: str = ""
    std: str = ""
    limit: int = 0
    workers: int = 0
    validation: float = 0.1
    block: int = 1
    ignore: int = 255
    window: int = 256
    windows: int = 512
    seed: int = TrainConfig.seed

    epochs: int = TrainConfig.epochs
    batch_size: int = TrainConfig.batch_size
    first_batch: float = TrainConfig.first_batch
    same_steps: bool = TrainConfig.same_steps
    lr: float = TrainConfig.lr
    optimizer: OptimizerName = TrainConfig.optimizer
    momentum: float = TrainConfig.momentum
    weight_decay: float = TrainConfig.weight_decay
    schedule: Schedule = TrainConfig.schedule
    milestones: tuple[float, ...] = TrainConfig.milestones
    warmup_steps: int = TrainConfig.warmup_steps
    rewind: int = TrainConfig.rewind
    precision: Precision = TrainConfig.precision
    channels_last: bool = TrainConfig.channels_last
    augment: Literal["auto", "none", "crop", "crop-flip", "crop-flip-cutout"] = "auto"
    flips: Flips = TrainConfig.flips
    shift: int = TrainConfig.shift
    first_size: float = TrainConfig.first_size
    full_size_from: float = TrainConfig.full_size_from
    label_smoothing: float = TrainConfig.label_smoothing
    loss: LossName = "cross-entropy"
    clip: float = TrainConfig.clip
    ema: float = TrainConfig.ema
    average: float = TrainConfig.average
    keep: Keep = TrainConfig.keep
    compile: bool = TrainConfig.compile

    select: Select = "all"
    drop: float = 0.5
    select_every: int = 1
    warmup_epochs: int = 1
    annealing: float = 0.0
    least: float = 0.0
    subset_size: int = 100
    fine_ratio: float = 0.3
    attributes: int = 16

    method: str = NO_METHOD
    tune_epochs: int = 0
    tune_lr: float = 0.02
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_toml(self) -> str:
        """The recipe as TOML, every key with its value, and the settings of the method that were given."""
        values = {name: getattr(self, name) for name in KEYS} | dict(self.settings)
        return "".join(f"{name} = {json.dumps(_plain(value))}\n" for name, value in values.items())

    def values(self) -> dict[str, Any]:
        """All keys with their values."""
        return {name: getattr(self, name) for name in KEYS} | dict(self.settings)


KEYS = tuple(f.name for f in fields(Recipe) if f.name != "settings")


def read(path: Path) -> dict[str, Any]:
    """Keys and values of a TOML or YAML file, or of a recipe of ours by its name. Raises ConfigError if it is
    none of these.
    """
    path = _by_name(path)
    if not path.is_file():
        raise ConfigError(f"There is no recipe {path}; by name there are: {', '.join(bundled())}.")
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise ConfigError(f"A recipe is a .toml, .yaml or .yml file, not {path.name}.")
    try:
        text = _text(path)
        found = tomllib.loads(text) if path.suffix == ".toml" else _read_yaml(text)
        check_depth(found)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else clause(error)
        raise ConfigError(f"{path} cannot be read: {reason}.") from error
    return found


def bundled() -> list[str]:
    """The names of the recipes that are part of prunus."""
    return sorted(path.stem for path in BUNDLED.glob("*.toml"))


def _by_name(path: Path) -> Path:
    """The file of a recipe of ours, where there is no file of the user's, and the name is one of ours."""
    ours = BUNDLED / f"{path}.toml"
    return ours if not path.is_file() and str(path) in bundled() else path


def _text(path: Path) -> str:
    """What a file of a sensible size says."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB, and no recipe is")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text (byte {error.start})") from error


def resolve(values: Mapping[str, Any], source: str, flags: Collection[str] = ()) -> Recipe:
    """A recipe from keys and values; the others have their defaults.

    Args:
        values: of the keys.
        source: where they are from.
        flags: keys whose values are from flags instead.

    Raises:
        ConfigError: an unknown key (with the nearest one that there is), a missing one, or a value of the
            wrong kind, or a flag that changes nothing beside the others.
    """
    known = {name: kind for name, kind in typing.get_type_hints(Recipe).items() if name in KEYS}
    values = _of_rule(values) | dict(values)
    method = values.get("method", NO_METHOD)
    if method != NO_METHOD and (not isinstance(method, str) or method not in METHODS):
        flag = "--method" if "method" in flags else f"{source}: method"
        raise ConfigError(f"{flag} must be one of {', '.join((NO_METHOD, *METHODS))}, not {short(method)}.")
    own = {key: value for key, value in values.items() if key not in known}
    for key in ("data", "model"):
        if not values.get(key):
            raise ConfigError(
                f"{source} does not say which {key} to train {'on' if key == 'data' else ''}".rstrip() + "."
            )
    names = {
        key: f"--{key.replace('_', '-')}" if key in flags else f"{source}: {key}" for key in (*known, *own)
    }
    settings = _settings(own, method, source, names)
    recipe = Recipe(
        **{key: _checked(names[key], value, known[key]) for key, value in values.items() if key in known},
        settings=settings,
    )
    if recipe.epochs == 0:
        raise ConfigError(f"{names['epochs']} must be at least 1: there is nothing to train otherwise.")
    check_settings(recipe.values(), names)
    check_of_use(recipe, flags, names)
    return recipe


def _of_rule(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule of selection wants of keys that are not given: the lower bound sees all samples in the
    first two epochs and in the last fifth.
    """
    epochs = values.get("epochs", Recipe.epochs)
    if values.get("select") != "lower-bound" or type(epochs) is not int:
        return {}
    return {"warmup_epochs": min(2, max(epochs - 1, 0)), "annealing": 0.2}


def _settings(own: Mapping[str, Any], method: str, source: str, names: Mapping[str, str]) -> dict[str, Any]:
    """What is no key of every training, as settings of the method. Raises ConfigError for what is neither."""
    if not own:
        return {}
    from prunus.methods.settings import owners, settings_of

    known = {} if method == NO_METHOD else settings_of(method)
    found = {}
    for key, value in own.items():
        if key not in known:
            others = owners(key)
            if others:
                raise ConfigError(
                    f"{names[key]} is a setting of the method {', '.join(others)}, and the method is"
                    f" {method}."
                )
            near = difflib.get_close_matches(key, [*KEYS, *known], n=1)
            hint = f": did you mean {near[0]!r}?" if near else "."
            raise ConfigError(
                f"{source} has an unknown key {short(key)}{hint} All are listed by prunus train --help."
            )
        try:
            found[key] = known[key].read(value)
        except ValueError as error:
            raise ConfigError(f"{names[key]} must be {error}, not {short(value)}.") from None
    return found


def _checked(name: str, value: Any, kind: Any) -> Any:
    """A value of the kind that its key has."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{name} must be one of {', '.join(arguments)}, not {short(value)}.")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name} must be a list, not {short(value)}.")
        return tuple(_checked(name, item, arguments[0]) for item in value)
    if kind is float and type(value) is int:
        try:
            return as_float(value)
        except ValueError as error:
            raise ConfigError(f"{name} must be {error}, not {short(value)}.") from None
    if type(value) is not kind:
        words = {
            int: "a whole number",
            float: "a number (in YAML 1.0e-3, not 1e-3)",
            bool: "true or false",
            str: "a text",
        }
        raise ConfigError(f"{name} must be {words[kind]}, not {short(value)}.")
    if kind is str and not _may_be_name(value):
        raise ConfigError(f"{name} must be a text that may name a file, not {short(value)}.")
    return value


def _may_be_name(text: str) -> bool:
    """Whether a file may be called so: no zero bytes, and no halves of characters."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read_yaml(text: str) -> dict[str, Any]:
    """Keys and values; an anchor may stand for a plain value alone, as those that stand for lists of each
    other grow without end.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("Recipes in YAML need the extra prunus[yaml]; TOML needs none.") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types here
        def compose_node(self, parent: Any, index: Any) -> Any:
            node = super().compose_node(parent, index)
            if isinstance(node, yaml.MappingNode):
                names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                for name in names:
                    if names.count(name) > 1:
                        raise ValueError(f"it has the key {name!r} twice")
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            return super().compose_mapping_node(_plain_anchor(anchor))

        def compose_sequence_node(self, anchor: Any) -> Any:
            return super().compose_sequence_node(_plain_anchor(anchor))

    try:
        found = yaml.load(text, Loader)  # a safe loader, with less than it takes
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # what its constructors make of a tag before a value of another kind
        raise ValueError(
            f"a tag stands before a value of another kind ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(found, dict):
        raise ValueError("it holds no keys with values")
    return {str(key): value for key, value in found.items()}


def _plain_anchor(anchor: Any) -> Any:
    """Raises ValueError for a list or a mapping with an anchor."""
    if anchor is not None:
        raise ValueError(f"its anchor &{anchor} stands for more than a plain value")
    return anchor
