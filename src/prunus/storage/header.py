"""The header of a model file: one place that says what it holds, and that refuses everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from prunus._foundation.wording import short
from prunus.errors import FileFormatError
from prunus.paint.widths import Width
from prunus.plans.plan import Plan
from prunus.storage.names import check_path
from prunus.surgery.slicing import Rebind

SCHEMA = 1
Mode = Literal["dense", "eager", "traced"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Traced:
    """What a traced model needs besides its tensors.

    `places` says, in the order of the model's own tensors, under which name which tensor of the file goes:
    tied tensors have several names. `buffers` are the names that are buffers, `transient` those of them that
    are not in the state dict. `norms` holds eps and momentum per batch norm. `inputs` says what the model is
    called with, as a plan does, and `lengths` which sizes of that cannot be others.
    """

    places: dict[str, str]
    buffers: frozenset[str]
    transient: frozenset[str]
    norms: dict[str, tuple[float, float | None]]
    graph: dict[str, Any]
    inputs: str
    lengths: tuple[tuple[int | None, ...], ...] = ()


@dataclass(frozen=True)
class Header:
    """What a file says of its model; `sha256` covers all of it and the tensors.

    `apart` are the modules that are not in the mode of the whole: frozen batch norms, say.
    """

    mode: Mode
    class_name: str
    training: bool
    apart: frozenset[str]
    frozen: frozenset[str]
    plan: Plan | None
    rebinds: tuple[Rebind, ...]
    widths: tuple[Width, ...]
    left_out: tuple[str, ...]
    traced: Traced | None

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Header:
        """Check every field; raises FileFormatError where one is missing or of another type, PlanError where
        the plan is none.
        """
        mode = _field(data, "mode", str)
        if mode not in ("dense", "eager", "traced"):
            raise FileFormatError(
                f"The file has the unknown mode {mode!r}; prunus writes 'dense', 'eager' and 'traced'."
            )
        if mode == "eager" and "plan" not in data:
            raise FileFormatError("The file holds a compact model of its own class but no plan.")
        if mode == "dense" and "plan" in data:
            raise FileFormatError("The file holds a dense model and yet a plan.")
        planned = "plan" in data
        return Header(
            mode=mode,  # type: ignore[arg-type]
            class_name=_field(data, "class", str),
            training=_field(data, "training", bool),
            apart=frozenset(_texts(data, "apart") if "apart" in data else ()),
            frozen=frozenset(_texts(data, "frozen")),
            plan=Plan.from_json(_field(data, "plan", str)) if planned else None,
            rebinds=tuple(_rebind(r) for r in _field(data, "rebinds", list)) if planned else (),
            widths=tuple(_width(w) for w in _field(data, "widths", list)) if "widths" in data else (),
            left_out=tuple(_texts(data, "left_out")) if "left_out" in data else (),
            traced=traced_fields(data) if mode == "traced" else None,
        )


def parse(text: str) -> dict[str, Any]:
    """The JSON object of a header of a known schema; raises FileFormatError."""
    try:
        data = json.loads(text)
        whole = json.dumps(data) == text
    except (ValueError, RecursionError) as error:
        raise FileFormatError(
            f"Its prunus header is no JSON that prunus wrote ({type(error).__name__})."
        ) from error
    if not isinstance(data, dict):
        raise FileFormatError("Its prunus header is no JSON object.")
    if type(data.get("schema")) is not int or data["schema"] != SCHEMA:
        raise FileFormatError(
            f"It has schema {short(data.get('schema'))}; this version of prunus reads schema {SCHEMA}."
        )
    if not whole:
        raise FileFormatError("Its prunus header has been changed since it was written.")
    return data


def is_size(value: object) -> bool:
    """Whether a value is a whole number, or a tuple or list of them: what surgery rebinds."""
    return type(value) is int or (isinstance(value, (tuple, list)) and all(type(v) is int for v in value))


def _rebind(data: Any) -> Rebind:
    if not isinstance(data, dict) or not is_size(data.get("value")):
        raise FileFormatError(
            f"The file's header sets an attribute by {data!r}; prunus sets whole numbers and lists of them."
        )
    value, as_tuple = data["value"], _field(data, "tuple", bool)
    if as_tuple and not isinstance(value, list):
        raise FileFormatError(f"The file's header calls {value!r} a tuple.")
    return Rebind(_field(data, "module", str), _field(data, "name", str), tuple(value) if as_tuple else value)


def _width(data: Any) -> Width:
    kinds = [type(value) for value in data] if isinstance(data, list) else []
    if (
        kinds[:3] != [str, int, float]
        or kinds[3:] not in ([], [int, int], [type(None), int])
        or not 0 < data[2] <= 1
    ):
        raise FileFormatError(
            f"The file's header keeps a width by {data!r}; prunus writes a module, the number of its norm and"
            " the share that is left."
        )
    return Width(*data)


def traced_fields(data: Mapping[str, Any]) -> Traced:
    """What a traced model needs, checked field by field; raises FileFormatError."""
    places: dict[str, str] = {}
    for pair in _field(data, "places", list):
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(p, str) for p in pair)
            or pair[0] in places
        ):
            raise FileFormatError(
                f"The file's header places a tensor by {pair!r}; prunus writes a new name and the tensor's"
                " name in the file."
            )
        places[check_path(pair[0], "a tensor")] = pair[1]
    buffers, transient = frozenset(_texts(data, "buffers")), frozenset(_texts(data, "transient"))
    if not transient <= buffers or not buffers <= set(places):
        raise FileFormatError("The file's header names buffers that it does not place.")
    norms = {
        check_path(name, "a batch norm"): _norm(name, value)
        for name, value in _field(data, "norms", dict).items()
    }
    return Traced(
        places,
        buffers,
        transient,
        norms,
        _field(data, "graph", dict),
        _field(data, "inputs", str),
        _lengths(data),
    )


def _lengths(data: Mapping[str, Any]) -> tuple[tuple[int | None, ...], ...]:
    found = _field(data, "lengths", list) if "lengths" in data else []
    if not all(
        isinstance(one, list) and all(n is None or (type(n) is int and n >= 0) for n in one) for one in found
    ):
        raise FileFormatError(
            f"The file's header ties sizes by {found!r}; prunus writes lists of lengths, and none for axes"
            " that are free."
        )
    return tuple(map(tuple, found))


def _norm(name: str, value: Any) -> tuple[float, float | None]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or type(value[0]) is not float
        or type(value[1]) not in (float, type(None))
    ):
        raise FileFormatError(
            f"The file's header gives {value!r} for the batch norm {name}; eps and momentum are two numbers."
        )
    return value[0], value[1]


def _texts(data: Mapping[str, Any], key: str) -> list[str]:
    values: list[Any] = _field(data, key, list)
    if not all(isinstance(v, str) for v in values):
        raise FileFormatError(f"The file's header has a {key!r} that is no list of names.")
    return values


def _field(data: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    if key not in data:
        raise FileFormatError(f"The file's header has no {key!r}.")
    value = data[key]
    if type(value) is not kind:
        raise FileFormatError(
            f"The file's header has {type(value).__name__} for {key!r}; prunus writes {kind.__name__}."
        )
    return value
