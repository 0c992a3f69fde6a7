"""A traced graph as plain JSON data, and back. Only torch's own operators are accepted, and no name reaches generated code unchecked."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import fx
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

from ..errors import FileFormatError

_SYMBOLIC: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in ("mul", "add", "sub", "floordiv", "truediv", "mod", "neg", "pow", "getitem")},
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_")},
    **{name: getattr(torch, name) for name in ("sym_max", "sym_min", "sym_int", "sym_float", "sym_not", "sym_ite")},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
}
_SYMBOLIC_NAMES = {function: name for name, function in _SYMBOLIC.items()}
_REFUSED = frozenset({"from_file"})  # operators that touch files


def graph_to_data(graph: fx.Graph) -> dict[str, Any]:
    """Nodes, arguments and the structure of inputs and outputs. Raises FileFormatError for an operator or argument that has no JSON form."""
    info = graph._codegen.pytree_info  # type: ignore[attr-defined]
    nodes = [[n.op, n.name, _target_name(n), _encode(n.args), _encode(n.kwargs)] for n in graph.nodes]
    specs = {
        "arguments": list(info.orig_args),
        "in": pytree.treespec_dumps(info.in_spec),
        "out": pytree.treespec_dumps(info.out_spec),
    }
    return {"nodes": nodes, **specs}


def graph_from_data(data: dict[str, Any], tensors: Collection[str], modules: Collection[str], device: torch.device) -> fx.Graph:
    """Build the graph; `tensors` and `modules` are the names that it may use, `device` replaces every device in it. Raises FileFormatError."""
    try:
        graph, nodes = fx.Graph(), dict[str, fx.Node]()
        for op, name, target, args, kwargs in data["nodes"]:
            if op in ("placeholder", "get_attr", "output", "call_function", "call_module") and isinstance(name, str) and name.isidentifier():
                resolved = _resolve(op, target, modules if op == "call_module" else tensors)
                nodes[name] = graph.create_node(op, resolved, _decode(args, nodes, device), _decode(kwargs, nodes, device), name=name)
            else:
                raise FileFormatError(f"the traced graph in the file has a node {name!r} of kind {op!r}, which prunus does not write")
        arguments = [a for a in data["arguments"] if isinstance(a, str) and a.isidentifier()]
        if len(arguments) != len(data["arguments"]):
            raise FileFormatError("the traced graph in the file has an argument whose name is no Python name")
        info = _PyTreeInfo(arguments, pytree.treespec_loads(data["in"]), pytree.treespec_loads(data["out"]))
        graph.set_codegen(_PyTreeCodeGen(info))
        graph.lint()
        return graph
    except (KeyError, TypeError, ValueError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise FileFormatError(f"the traced graph in the file cannot be read ({type(error).__name__}: {error})") from error


def _target_name(node: fx.Node) -> str:
    if node.op != "call_function":
        return str(node.target)
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target)
    name = _SYMBOLIC_NAMES.get(node.target)  # type: ignore[arg-type]
    if name is None:
        raise FileFormatError(f"the traced model calls {node.target}, which has no form in a file; save its state_dict instead")
    return name


def _resolve(op: str, target: str, names: Collection[str]) -> Any:
    if op in ("get_attr", "call_module"):
        if target not in names:
            raise FileFormatError(f"the traced graph uses {target!r}, which is not in the file")
        return target
    if op in ("placeholder", "output"):
        if not str(target).isidentifier():
            raise FileFormatError(f"the traced graph in the file has an input named {target!r}, which is no Python name")
        return target
    if target in _SYMBOLIC:
        return _SYMBOLIC[target]
    parts = str(target).split(".")
    if len(parts) != 3 or parts[0] != "aten" or parts[1] in _REFUSED or not all(p.isidentifier() for p in parts):
        raise FileFormatError(f"the traced graph in the file calls {target!r}, which is not one of torch's own operators")
    return getattr(getattr(torch.ops.aten, parts[1]), parts[2])


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return {"tuple" if isinstance(value, tuple) else "list": [_encode(v) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[k, _encode(v)] for k, v in value.items()]}
    if isinstance(value, slice):
        return {"slice": [_encode(v) for v in (value.start, value.stop, value.step)]}
    for kind in (torch.dtype, torch.layout, torch.memory_format):
        if isinstance(value, kind):
            return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    raise FileFormatError(f"the traced model holds an argument of type {type(value).__name__}, which has no form in a file")


def _decode(value: Any, nodes: dict[str, fx.Node], device: torch.device) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return nodes[content]
    if kind == "float":
        return float(content)
    if kind in ("list", "tuple", "slice"):
        items = [_decode(v, nodes, device) for v in content]
        return {"list": list, "tuple": tuple, "slice": lambda x: slice(*x)}[kind](items)  # type: ignore[operator]
    if kind == "dict":
        return {k: _decode(v, nodes, device) for k, v in content}
    if kind == "device":
        return device
    if kind == "torch":
        found = getattr(torch, content)
        if isinstance(found, (torch.dtype, torch.layout, torch.memory_format)):
            return found
    raise ValueError(f"an argument of kind {kind!r}")
