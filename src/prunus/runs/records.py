"""What lies beside a model: the record of the run that wrote it. It is data of a file, so nothing in it is
imported or called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.json_files import read_json
from prunus._foundation.run_files import INDEX
from prunus._foundation.sizes import shape_fault
from prunus._foundation.wording import short
from prunus.errors import FileFormatError

if TYPE_CHECKING:
    from prunus.training import Normalise

TRAINING_FILE, RESULT_FILE = INDEX
MOST_PLANES = 4096
MOST_TILES = 2**16


@dataclass(frozen=True)
class Record:
    """What a run says of the model that it wrote, checked.

    Attributes:
        file: where it says so.
        name: what the model was made from, as written there; "" where it does not say.
        options: what that was built with; whether they are harmless is checked where they are used.
        input_shape: of one input, batch axis included, where it says so.
        normalise: (mean, std) of the planes of what it was trained on, where it says so.
        classes: their names, where it says so.
        block: side of the squares of tiles that were held out together.
        split: the data that it was trained on, and the seed by which samples were held out of them.
    """

    file: Path
    name: str
    options: Mapping[str, Any]
    input_shape: tuple[int, ...] | None
    normalise: Normalise | None
    classes: tuple[str, ...] = ()
    block: int = 1
    split: tuple[str, int] | None = None


def record_beside(model: Path) -> Record | None:
    """What the run that wrote a model file says of it, and what a coded file says of itself; None where
    neither says anything.

    Raises FileFormatError, naming the file and its field, where it cannot be read.
    """
    from prunus.storage.coded_file import is_coded_file

    beside = _record_beside(model)
    return _with_notes(model, beside) if is_coded_file(model) else beside


def _with_notes(model: Path, beside: Record | None) -> Record | None:
    """What the notes of a coded file say of its inputs goes before what lies beside it."""
    from prunus.storage.coded_file import read_about

    notes = {key: value for key, value in read_about(model).items() if value not in (None, [])}
    if not notes:
        return beside
    own = _record(model, {"input_shape": notes.get("input_shape"), "data": notes})
    return own if beside is None else replace(own, file=beside.file, name=beside.name, options=beside.options)


def _record_beside(model: Path) -> Record | None:
    pruned, trained = model.parent / RESULT_FILE, model.parent / TRAINING_FILE
    if pruned.is_file():
        from prunus.report.result import read

        result = read(pruned)
        return _split(_record(pruned, result["model"]), result["model"], result.get("seed"))
    if not trained.is_file():
        return None
    training = read_training(trained)
    made = training.get("training")
    config = made.get("config") if isinstance(made, dict) else None
    seed = config.get("seed") if isinstance(config, dict) else None
    return _split(_record(trained, training["model"]), training["model"], seed)


def _split(record: Record, model: Mapping[str, Any], seed: object) -> Record:
    """With what says which samples were held out, where the record does."""
    name = (model.get("data") or {}).get("name")
    if not isinstance(name, str) or not name or not isinstance(seed, int):
        return record
    return replace(record, split=(name, seed))


def read_training(path: Path) -> dict[str, Any]:
    """What a training without pruning says of itself.

    Raises:
        FileFormatError: it cannot be read, or is something else.
    """
    found = read_json(path, "the record of a training")
    if not isinstance(found.get("model"), dict):
        raise FileFormatError(f"{path} cannot be read as the record of a training: its model is no object.")
    return found


def _record(file: Path, found: object) -> Record:
    model = _field(file, "model", found, dict)
    data = _field(file, "model.data", model.get("data") or {}, dict)
    shape = model.get("input_shape")
    if shape is not None and (fault := shape_fault(shape)):
        raise FileFormatError(f"{file} gives {short(shape)} as model.input_shape: {fault}.")
    return Record(
        file,
        _field(file, "model.name", model.get("name", ""), str),
        _field(file, "model.options", model.get("options") or {}, dict),
        None if shape is None else tuple(shape),
        _normalise(file, data),
        _classes(file, data.get("classes") or []),
        _block(file, data.get("block", 1)),
    )


def _normalise(file: Path, data: Mapping[str, Any]) -> Normalise | None:
    """Mean and standard deviation of the planes."""
    if data.get("mean") is None and data.get("std") is None:
        return None
    mean, std = (_planes(file, key, data.get(key)) for key in ("mean", "std"))
    if len(mean) != len(std) or min(std) <= 0:
        raise FileFormatError(
            f"{file} must give one model.data.mean and one model.data.std above 0 for every plane."
        )
    return mean, std


def _classes(file: Path, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise FileFormatError(
            f"{file} gives {short(found)} as model.data.classes: it must be a list of names."
        )
    return tuple(found)


def _block(file: Path, found: Any) -> int:
    if type(found) is not int or not 1 <= found <= MOST_TILES:
        raise FileFormatError(
            f"{file} gives {short(found)} as model.data.block: it must be a number of tiles, 1 to"
            f" {MOST_TILES:,}."
        )
    return found


def _planes(file: Path, key: str, value: Any) -> tuple[float, ...]:
    plain = (
        isinstance(value, list)
        and 1 <= len(value) <= MOST_PLANES
        and all(type(one) in (int, float) for one in value)
    )
    if not plain or not all(abs(one) < 1e6 and math.isfinite(one) for one in value):
        raise FileFormatError(
            f"{file} gives {short(value)} as model.data.{key}: it must be a list of numbers, one per plane."
        )
    return tuple(float(one) for one in value)


def _field(file: Path, key: str, value: Any, kind: type[Any]) -> Any:
    """A value of the kind that a field has."""
    if not isinstance(value, kind):
        raise FileFormatError(
            f"{file} gives {short(value)} as {key}: it must be {'a text' if kind is str else 'an object'}."
        )
    return value
