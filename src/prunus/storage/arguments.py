"""Arguments of operators in a traced graph, checked against what the operator says that it takes, before
anything is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from prunus.errors import FileFormatError
from prunus.storage.arithmetic import ON_TENSORS, SIZE, Number, number_of, result_of

MOST_STEPS = 1 << 16  # of a kernel, a stride, a dilation, a padding [pixels]
_MOST_SCALE = float(1 << 16)

_REAL = "float32 float64 float16 bfloat16".split()
_OTHER = "complex64 complex128 bool uint8 int8 int16 int32 int64".split()
DTYPES = frozenset(getattr(torch, name) for name in (*_REAL, *_OTHER))
MEMORY_FORMATS = frozenset(
    (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
)
TEXTS = {
    "mode": {"constant", "reflect", "replicate", "circular"},
    "padding": {"valid", "same"},
    "rounding_mode": {"trunc", "floor"},
    "approximate": {"none", "tanh"},
    "reduce": {"sum", "prod", "mean", "amax", "amin", "add", "multiply"},
    "indexing": {"ij", "xy"},
    "norm": {"backward", "forward", "ortho"},
    "ord": {"fro", "nuc"},
}
_AT_LEAST = {
    "kernel_size": 1,
    "stride": 1,
    "dilation": 1,
    "padding": 0,
    "output_padding": 0,
    "groups": 1,
    "pad": -MOST_STEPS,
}

Kind = Number | str  # of what a node gives: a number, "tensor", "tensors", "dtype", "device" or "other"
_READERS = {torch.ops.prim.dtype.default: "dtype", torch.ops.prim.device.default: "device"}


def kind_of_call(node: fx.Node, kinds: Mapping[fx.Node, Kind]) -> Kind:
    """What a call of an operator gives; raises FileFormatError where its arguments are not such as the
    operator takes, within bounds.
    """
    schema = node.target._schema  # type: ignore[union-attr]
    given, known = dict(node.kwargs), {argument.name for argument in schema.arguments}
    places = [argument for argument in schema.arguments if not argument.kwarg_only]
    if len(node.args) > len(places) or not given.keys() <= known:
        _refuse(node, "with an argument that it does not have")
    for argument, value in zip(places, node.args):
        if argument.name in given:
            _refuse(node, f"with {argument.name} given twice")
        given[argument.name] = value
    for argument in schema.arguments:
        if argument.name not in given:
            if not argument.has_default_value():
                _refuse(node, f"without {argument.name}")
        elif not _fits(str(argument.real_type), argument.name, given[argument.name], kinds):
            _refuse(node, f"with another {argument.name} than it takes, or one out of bounds")
    return _READERS.get(node.target) or _given_by([str(result.real_type) for result in schema.returns])  # type: ignore[call-overload]


def kind_of_arithmetic(node: fx.Node, name: str, kinds: Mapping[fx.Node, Kind]) -> Kind:
    """What a function of sizes or tensors gives, or an entry of a tuple of tensors; raises FileFormatError
    for other operands and endless numbers.
    """
    if node.kwargs:
        _refuse(node, "with keywords")
    if name == "getitem":
        source, position = (*node.args, None, None)[:2]
        if (
            len(node.args) != 2
            or not isinstance(source, fx.Node)
            or kinds[source] != "tensors"
            or type(position) is not int
        ):
            _refuse(node, "on something else than a tuple of tensors and a position")
        return "tensor"

    def operand(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [operand(item) for item in value]
        return kinds[value] if isinstance(value, fx.Node) else value

    operands = [operand(value) for value in node.args]
    if name in ON_TENSORS and "tensor" in operands:
        if all(
            value == "tensor" or isinstance(value, Number) or number_of(value) is not None
            for value in operands
        ):
            return "tensor"
        _refuse(node, "on something else than tensors and numbers")
    return result_of(name, operands)


def _given_by(types: list[str]) -> Kind:
    if len(types) == 1:
        return (
            "tensor"
            if types[0] == "Tensor"
            else "tensors"
            if types[0] == "List[Tensor]"
            else SIZE
            if types[0] in ("int", "SymInt")
            else "other"
        )
    return "tensors" if types and all(text == "Tensor" for text in types) else "other"


def _fits(type_text: str, name: str, value: Any, kinds: Mapping[fx.Node, Kind]) -> bool:
    """Whether a value is of a type that a schema names, as "Optional[List[int]]"."""
    if type_text.startswith("Optional["):
        return value is None or _fits(type_text[9:-1], name, value, kinds)
    if type_text.startswith("List["):
        inner = type_text[5:-1]
        if isinstance(value, fx.Node):
            return inner == "Tensor" and kinds[value] == "tensors"
        if isinstance(value, (list, tuple)):
            return all(_fits(inner, name, item, kinds) for item in value)
        return inner in ("int", "float") and _fits(inner, name, value, kinds)
    check = _CHECKS.get(type_text)
    return check is not None and check(name, value, kinds)


def _tensor(name: str, value: Any, kinds: Mapping[fx.Node, Kind]) -> bool:
    """A tensor, or a number where torch makes a tensor of one."""
    if isinstance(value, fx.Node):
        return kinds[value] == "tensor" or isinstance(kinds[value], Number)
    return number_of(value) is not None


def _whole(name: str, value: Any, kinds: Mapping[fx.Node, Kind]) -> bool:
    if isinstance(value, fx.Node):
        kind = kinds[value]
        return isinstance(kind, Number) and kind.whole
    if type(value) is not int or value.bit_length() > 63:
        return False
    if name in ("interpolation_mode", "padding_mode"):
        return 0 <= value <= 2
    least = _AT_LEAST.get(name)
    return least is None or (value >= least and (name == "groups" or value <= MOST_STEPS))


def _real(name: str, value: Any, kinds: Mapping[fx.Node, Kind]) -> bool:
    """Any number; a scale that sizes are computed from is a literal, and neither tiny nor huge, because
    kernels compute indices from it.
    """
    if "scales" in name or name == "scale_factors":
        return (
            type(value) in (int, float) and math.isfinite(value) and 1 / _MOST_SCALE <= value <= _MOST_SCALE
        )
    return isinstance(kinds[value], Number) if isinstance(value, fx.Node) else number_of(value) is not None


def _truth(name: str, value: Any, kinds: Mapping[fx.Node, Kind]) -> bool:
    return isinstance(kinds[value], Number) if isinstance(value, fx.Node) else isinstance(value, bool)


def _text(name: str, value: Any, kinds: Mapping[fx.Node, Kind]) -> bool:
    if name == "equation":
        return isinstance(value, str) and len(value) <= 256 and value.isascii()
    return isinstance(value, str) and value in TEXTS.get(name, ())


def _read(value: Any, kinds: Mapping[fx.Node, Kind], what: str) -> bool:
    """Whether a value is a type or a device that the graph reads off a tensor."""
    return isinstance(value, fx.Node) and kinds[value] == what


_CHECKS: dict[str, Callable[[str, Any, Mapping[fx.Node, Kind]], bool]] = {
    "Tensor": _tensor,
    "int": _whole,
    "SymInt": _whole,
    "float": _real,
    "number": _real,
    "bool": _truth,
    "str": _text,
    "ScalarType": lambda _, value, kinds: (
        _read(value, kinds, "dtype") or (isinstance(value, torch.dtype) and value in DTYPES)
    ),
    "Layout": lambda _, value, kinds: value is torch.strided,
    "Device": lambda _, value, kinds: _read(value, kinds, "device") or isinstance(value, torch.device),
    "MemoryFormat": lambda _, value, kinds: (
        isinstance(value, torch.memory_format) and value in MEMORY_FORMATS
    ),
}


def _refuse(node: fx.Node, how: str) -> None:
    raise FileFormatError(f"The traced graph calls {node.target} at {node.name} {how}.")


__all__ = ["DTYPES", "Kind", "kind_of_arithmetic", "kind_of_call"]
