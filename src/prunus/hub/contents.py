"""What goes up: the files of a run, and what says what they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prunus import storage
from prunus._foundation.scratch import scratch_folder
from prunus._foundation.system_faults import no_room
from prunus.errors import FileFormatError, HubError, PrunusError, clause
from prunus.hub.public import without_paths
from prunus.methods.common import Outcome
from prunus.models.catalogue import build_recorded, is_plain_name
from prunus.plans.described import rebuild_inputs
from prunus.plans.plan import Plan
from prunus.report.result import Result, read, understood
from prunus.runs.describe import files as described
from prunus.runs.records import RESULT_FILE, TRAINING_FILE
from prunus.storage.lock import settle

if TYPE_CHECKING:
    from prunus.tasks import Task

CARD_FILE = "README.md"
CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
GATES_FILE = "gates.safetensors"
MODELS = {
    "model": MODEL_FILE,
    "gates": GATES_FILE,
    "plan": "plan.json",
    "onnx": "model.onnx",
    "onnx-data": "model.onnx.data",
    "int8": "model.int8.onnx",
    "int8-data": "model.int8.onnx.data",
}
PURPOSE = "a model card"
FILES = (*MODELS.values(), RESULT_FILE, CONFIG_FILE, CARD_FILE)


@dataclass(frozen=True)
class Made:
    """What a network that has no run was cut from, and is for.

    Attributes:
        name: of the dense network: one of ours, timm/NAME or torchvision/NAME; "" = what the run says.
        options: what it was built with.
        task: by which it was measured.
    """

    name: str = ""
    options: Mapping[str, Any] | None = None
    task: Task | None = None


@dataclass(frozen=True)
class Contents:
    """What goes up.

    Attributes:
        result: without paths of this machine.
        models: files of networks and plans, by the names that they get.
        alone: whether the network is loaded without its dense one being given.
        folder: of the run, where there is one: its result may be anybody's.
        call: the network, called with made-up inputs of its kinds, as code; "" = nobody knows them.
    """

    result: Mapping[str, Any]
    models: Mapping[str, Path]
    alone: bool
    folder: Path | None = None
    call: str = ""

    def records(self) -> dict[str, bytes]:
        """`result.json` and `config.json`."""
        return {RESULT_FILE: _json(self.result), CONFIG_FILE: _json(config(self.result))}


@contextmanager
def contents_of(out: Path | str | Outcome | Mapping[str, Any], made: Made) -> Iterator[Contents]:
    """What goes up of a run's folder, of the result that the run returned, or of an outcome; files that had
    to be written for it are there until the block ends.

    Raises:
        HubError: it is none of these, or the named network is not the one that was cut.
        FileFormatError: a file of the folder is missing, damaged, or of something else.
    """
    if isinstance(out, Outcome):
        with scratch_folder() as place:
            yield _checked(_written(out, made, Path(place)), Path(place), made)
        return
    if isinstance(out, Mapping) and not isinstance(out, Result):
        raise HubError(
            "A dictionary does not say where the files of its run are: give the folder, or what a job of"
            " prunus.runs returned, unchanged."
        )
    folder = out.folder if isinstance(out, Result) else Path(out)
    with scratch_folder() as place:
        held = _held(folder, Path(place))
        with understood(f"The record in {folder}", PURPOSE):
            found = _checked(_read(held, folder), held, made, folder)
        yield replace(found, folder=folder)


def config(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the network is, for whoever looks at no other file: its name, its inputs, and how wide every layer
    was and is.
    """
    model = result["model"]
    data = model.get("data") or {}
    return {
        "library_name": "prunus",
        "prunus_version": (result["environment"].get("versions") or {}).get("prunus", ""),
        "network": model.get("name", ""),
        "class": model.get("class", ""),
        "options": model.get("options") or {},
        "input_shape": model.get("input_shape") or [],
        **{key: data[key] for key in ("mean", "std", "classes") if data.get(key)},
        "widths": {
            row["name"]: {"before": row["width_before"], "after": row["width_after"]}
            for row in result["layers"]
        },
    }


def _held(folder: Path, place: Path) -> Path:
    """A copy of what may go up, so that a run that ends meanwhile does not mix its files with these. Raises
    HubError where one has just done so.
    """
    if not folder.is_dir():
        raise FileFormatError(f"{folder} is not the folder of a run: it is not there, or is a file.")
    settle(folder)
    before = _stamps(folder)
    for name in before:
        try:
            shutil.copyfile(folder / name, place / name)
        except FileNotFoundError:
            break  # it has another stamp now
        except OSError as error:
            if no_room(error) is not None:
                raise
            raise FileFormatError(f"{folder / name} cannot be read ({error.strerror or error}).") from error
    if _stamps(folder) != before:
        raise HubError(f"{folder} was written to by a run while it was read: push it again.")
    return place


def _stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """The files of a folder that may go up, and what tells one that takes the place of another."""
    found: dict[str, tuple[int, ...]] = {}
    for name in (*MODELS.values(), RESULT_FILE, TRAINING_FILE):
        with suppress(OSError):
            stat = (folder / name).stat()
            if S_ISREG(stat.st_mode):
                found[name] = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _read(held: Path, folder: Path) -> dict[str, Any]:
    """The result of a run of which a copy is held."""
    if not (held / RESULT_FILE).is_file():
        why = (
            "its network was trained and not pruned"
            if (held / TRAINING_FILE).is_file()
            else f"it holds no {RESULT_FILE}"
        )
        raise FileFormatError(f"{folder} is not the folder of a run that pruned: {why}.")
    try:
        return read(held / RESULT_FILE)
    except FileFormatError as error:
        raise FileFormatError(str(error).replace(str(held), str(folder))) from error


def _written(out: Outcome, made: Made, place: Path) -> dict[str, Any]:
    """The files of an outcome, and its result."""
    from prunus._foundation.environment import environment
    from prunus.runs.describe import Provenance, describe
    from prunus.storage import save, write_atomically

    save(out.model, place / MODEL_FILE)
    write_atomically(place / MODELS["plan"], f"{out.plan.to_json()}\n".encode())
    dense = made.name or type(out.dense if out.dense is not None else out.model).__name__
    model = {"name": dense, "class": type(out.model).__name__, "input_shape": _input_shape(out)}
    about = Provenance(model, task=made.task)
    result = describe(out, about, environment=environment())
    if out.steps and made.task is None:
        steps = [{"step": one.step, "value": one.value, "loss": one.loss} for one in out.steps]
        result["accuracy"] = {"metric": "metric", "count": 0, "note": "", "steps": steps}
    return result


def _input_shape(out: Outcome) -> list[int]:
    """What the network is called with."""
    from prunus.deploy.inputs import main_shape

    return list(main_shape(rebuild_inputs(out.plan.inputs)) or ()) if out.plan.inputs else []


def _checked(result: dict[str, Any], folder: Path, made: Made, shown: Path | None = None) -> Contents:
    """The files and what they say; `shown` is the folder by which errors name them."""
    shown = shown or folder
    models = {name: folder / name for name in MODELS.values() if (folder / name).is_file()}
    if MODEL_FILE not in models:
        raise FileFormatError(f"{shown} holds no {MODEL_FILE}.")
    model = dict(result["model"])
    if made.name:
        model |= {"name": made.name, "options": dict(made.options or {})}
    try:
        alone = _loads_alone(models[MODEL_FILE], model, bool(made.name))
    except FileFormatError as error:
        raise FileFormatError(str(error).replace(str(folder), str(shown))) from error
    named = {key: models[name] for key, name in MODELS.items() if name in models}
    result = result | {"model": model, "files": described(named, folder)}
    return Contents(without_paths(result, shown), models, alone, call=_call(models[MODEL_FILE]))


def _call(file: Path) -> str:
    """The network of a file, called with tensors of the shapes and types that its plan was made for."""
    try:
        plan = Plan.from_json(str(storage.read_header(file).get("plan") or ""))
        args, kwargs = rebuild_inputs(plan.inputs)
    except PrunusError:  # it has none, or one that says nothing of inputs
        return ""
    named = {"": args} | {f"{name}=": (value,) for name, value in kwargs.items()}
    said = [(name, _input(value)) for name, values in named.items() for value in values]
    if any(not text for _, text in said) or not all(name.isidentifier() for name in kwargs):
        return "model(inputs)"
    return f"model({', '.join(name + text for name, text in said)})"


def _input(value: Any) -> str:
    """An input as code; "" for what a line has no room for."""
    if not isinstance(value, Tensor):
        return repr(value) if value is None or isinstance(value, (bool, int, float)) else ""
    shape = ", ".join(map(str, value.shape))
    if not value.is_floating_point():
        return f"torch.zeros({shape}, dtype={value.dtype})"
    return (
        f"torch.randn({shape})"
        if value.dtype == torch.float32
        else f"torch.randn({shape}, dtype={value.dtype})"
    )


def _loads_alone(file: Path, model: Mapping[str, Any], named: bool) -> bool:
    """Whether `from_pretrained` needs no `build`, by trying it. Raises HubError where it does although the
    dense network was named.
    """
    name, options = str(model.get("name", "")), model.get("options") or {}

    def dense() -> nn.Module:
        if not is_plain_name(name):
            raise HubError(f"{name!r} is not the name of a network of prunus, timm or torchvision.")
        return build_recorded(name, options)

    storage.read_header(file)  # a damaged file is an error of its own
    try:
        storage.load(file, dense)
    except PrunusError as error:
        if named:
            raise HubError(f"The network was not cut from {name}: {clause(error)}.") from error
        return False
    return True


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(
        errors="backslashreplace"
    )
