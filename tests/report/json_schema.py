"""As much of JSON Schema as the schema of results uses; a word that it does not know is an error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

SCHEMA: dict[str, Any] = json.loads(
    files("prunus.report").joinpath("result.schema.json").read_text(encoding="utf-8")
)
KINDS = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}
SILENT = {"$schema", "$defs", "title", "description", "format"}  # they judge nothing


def faults(value: Any, kind: str) -> list[str]:
    """What is wrong with a value of one of the kinds that the schema defines, a line each."""
    return list(wrong(json.loads(json.dumps(value)), {"$ref": f"#/$defs/{kind}"}, kind))


def wrong(value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """What is wrong with a value at a place."""
    for word, rule in schema.items():
        if word not in SILENT:
            yield from JUDGES[word](value, rule, schema, place)


def _type(value: Any, rule: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    kinds = rule if isinstance(rule, list) else [rule]
    if not any(KINDS[kind](value) for kind in kinds):
        yield f"{place} is {value!r:.40}, no {' or '.join(kinds)}"


def _ref(value: Any, rule: str, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    assert rule.startswith("#/$defs/")
    yield from wrong(value, SCHEMA["$defs"][rule.removeprefix("#/$defs/")], place)


def _any_of(value: Any, rule: list[Any], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    found = [list(wrong(value, one, place)) for one in rule]
    if all(found):
        yield from min(found, key=len)


def _properties(value: Any, rule: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    for name, one in rule.items() if isinstance(value, dict) else ():
        if name in value:
            yield from wrong(value[name], one, f"{place}.{name}")


def _others(value: Any, rule: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        if name not in schema.get("properties", {}):
            yield from wrong(value[name], rule, f"{place}.{name}")


def _required(value: Any, rule: list[str], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{place} lacks {name}" for name in rule if name not in value)


def _items(value: Any, rule: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    for index, one in enumerate(value) if isinstance(value, list) else ():
        yield from wrong(one, rule, f"{place}[{index}]")


def _bound(low: bool, strict: bool = False) -> Any:
    def judge(value: Any, rule: float, schema: Mapping[str, Any], place: str) -> Iterator[str]:
        if KINDS["number"](value) and ((value < rule if low else value > rule) or (strict and value == rule)):
            yield f"{place} is {value}, beyond {rule}"

    return judge


def _few(value: Any, rule: int, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    if isinstance(value, list) and len(value) < rule:
        yield f"{place} has {len(value)} entries, fewer than {rule}"


def _one_of(value: Any, rule: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    if value not in rule:
        yield f"{place} is {value!r:.40}, none of {rule}"


JUDGES: dict[str, Any] = {
    "type": _type,
    "$ref": _ref,
    "anyOf": _any_of,
    "properties": _properties,
    "additionalProperties": _others,
    "required": _required,
    "items": _items,
    "minimum": _bound(low=True),
    "maximum": _bound(low=False),
    "exclusiveMinimum": _bound(low=True, strict=True),
    "minItems": _few,
    "enum": _one_of,
    "const": lambda value, rule, schema, place: _one_of(value, [rule], schema, place),
}
