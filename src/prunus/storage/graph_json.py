"""A traced graph as plain JSON data, and back. Only listed operators with arguments such as they take are
accepted, and no name reaches generated code unchecked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any

import torch
from torch import fx
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

from prunus.errors import FileFormatError, clause
from prunus.storage.arguments import DTYPES, MEMORY_FORMATS, Kind, kind_of_arithmetic, kind_of_call
from prunus.storage.arithmetic import NAMES, SYMBOLIC
from prunus.storage.names import check_name, check_path
from prunus.storage.operators import operator_named

_KINDS = frozenset({"placeholder", "get_attr", "call_function", "call_module", "output"})


def graph_to_data(graph: fx.Graph) -> dict[str, Any]:
    """Nodes, arguments and the structure of inputs and outputs. Raises FileFormatError for what has no form
    in a file.
    """
    info = graph._codegen.pytree_info  # type: ignore[attr-defined]
    nodes = [[n.op, n.name, _target_name(n), _encode(n.args), _encode(n.kwargs)] for n in graph.nodes]
    try:
        structures = {"in": pytree.treespec_dumps(info.in_spec), "out": pytree.treespec_dumps(info.out_spec)}
    except (NotImplementedError, TypeError) as error:
        raise FileFormatError(
            f"The inputs or outputs of the traced model have no form in a file ({clause(error)}); save its"
            " state_dict instead."
        ) from error
    _check_structures(structures)
    return {"nodes": nodes, "arguments": [check_name(a, "an argument") for a in info.orig_args], **structures}


def graph_from_data(
    data: dict[str, Any], tensors: Collection[str], modules: Collection[str], device: torch.device
) -> fx.Graph:
    """Build the graph; `tensors` and `modules` are the names that it may use, `device` replaces every device
    in it. Raises FileFormatError.
    """
    try:
        graph, nodes, kinds = fx.Graph(), dict[str, fx.Node](), dict[fx.Node, Kind]()
        for op, name, target, args, kwargs in data["nodes"]:
            if op not in _KINDS or name in nodes:
                raise FileFormatError(
                    f"The traced graph in the file has a node {name!r} of kind {op!r}, which prunus does not"
                    " write."
                )
            inputs = _arguments(op, _decode(args, nodes, device), _decode(kwargs, nodes, device))
            resolved = _resolve(op, target, modules if op == "call_module" else tensors)
            nodes[name] = node = graph.create_node(op, resolved, *inputs, name=check_name(name, "a value"))
            kinds[node] = _kind(node, target, kinds)
        _check_structures(data)
        arguments = [check_name(a, "an argument") for a in data["arguments"]]
        info = _PyTreeInfo(arguments, pytree.treespec_loads(data["in"]), pytree.treespec_loads(data["out"]))
        _check_ends(graph, info)
        graph.set_codegen(_PyTreeCodeGen(info))
        graph.lint()
        return graph
    except FileFormatError:
        raise
    # torch checks much by itself, with errors of many kinds; a RecursionError is one of them
    except Exception as error:
        raise FileFormatError(
            f"The traced graph in the file cannot be read ({type(error).__name__}: {clause(error)})."
        ) from error


def _arguments(op: str, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a node; the keywords are written into source."""
    if not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise FileFormatError("The traced graph in the file has a node without arguments.")
    if op in ("placeholder", "get_attr") and (args or kwargs):
        raise FileFormatError(f"The traced graph in the file has a {op} with arguments.")
    return args, {check_name(key, "a keyword"): value for key, value in kwargs.items()}


def _kind(node: fx.Node, target: str, kinds: dict[fx.Node, Kind]) -> Kind:
    """What a node gives; raises FileFormatError where it is called with anything that it does not take."""
    if node.op == "call_module" and (
        node.kwargs
        or len(node.args) != 1
        or not isinstance(node.args[0], fx.Node)
        or kinds[node.args[0]] != "tensor"
    ):
        raise FileFormatError(
            f"The traced graph calls the batch norm {target} on something else than one tensor."
        )
    if node.op != "call_function":
        return "other" if node.op == "output" else "tensor"
    return kind_of_arithmetic(node, target, kinds) if target in SYMBOLIC else kind_of_call(node, kinds)


def _check_ends(graph: fx.Graph, info: _PyTreeInfo) -> None:
    """One output, at the end, and as many inputs and outputs as the structures have."""
    kinds = [node.op for node in graph.nodes]
    if kinds.count("output") != 1 or kinds[-1] != "output":
        raise FileFormatError("The traced graph in the file must end with its only output.")
    results = list(graph.nodes)[-1].args
    if (
        len(results) != 1
        or not isinstance(results[0], (list, tuple))
        or info.out_spec is None
        or len(results[0]) != info.out_spec.num_leaves
    ):
        raise FileFormatError(
            "The traced graph in the file has another number of outputs than their structure."
        )
    if kinds.count("placeholder") != info.in_spec.num_leaves:
        raise FileFormatError(
            "The traced graph in the file has another number of inputs than their structure."
        )


def _check_structures(data: dict[str, Any]) -> None:
    """Look at torch's descriptions of inputs and outputs before torch reads them: some would import any
    module by its name.
    """
    for key in ("in", "out"):
        version_and_root = json.loads(data[key])
        _check_structure(version_and_root[1])
        if key == "in":
            children = version_and_root[1]["children_spec"]
            if (
                len(children) == 2 and children[1]["type"] == "builtins.dict"
            ):  # keywords, which are written into source
                for name in json.loads(children[1]["context"]):
                    check_name(name, "a keyword")


def _check_structure(spec: dict[str, Any]) -> None:
    """Containers that torch rebuilds from plain values: no enums, no default factories."""
    kind, context = spec["type"], spec["context"]
    if kind is not None and kind != "collections.namedtuple":
        known = pytree.SUPPORTED_SERIALIZED_TYPES.get(pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.get(kind))  # type: ignore[arg-type]
        values = json.loads(context) if known is not None and known.from_dumpable_context is None else {}
        if not all(
            v is None or isinstance(v, (str, int, float))
            for v in (values if isinstance(values, list) else [values])
        ):
            raise FileFormatError(
                f"The traced model has inputs or outputs in a {kind}, which has no form in a file, or is not"
                " known before its import."
            )
    for child in spec["children_spec"]:
        _check_structure(child)


def _target_name(node: fx.Node) -> str:
    if node.op in ("get_attr", "call_module"):
        return check_path(node.target, "a tensor or module")
    if node.op != "call_function":
        return str(node.target)
    if isinstance(node.target, torch._ops.OpOverload):
        return str(operator_named(str(node.target)))
    name = NAMES.get(node.target)  # type: ignore[arg-type]
    if name is None:
        raise FileFormatError(
            f"The traced model calls {node.target}, which has no form in a file; save its state_dict instead."
        )
    return name


def _resolve(op: str, target: Any, names: Collection[str]) -> Any:
    if not isinstance(target, str):
        raise FileFormatError(f"The traced graph in the file has the target {target!r}, which is no name.")
    if op in ("get_attr", "call_module"):
        if target not in names:
            raise FileFormatError(f"The traced graph uses {target!r}, which is not in the file.")
        return check_path(target, "a tensor or module")
    if op in ("placeholder", "output"):
        return check_name(target, "an input")
    return SYMBOLIC[target] if target in SYMBOLIC else operator_named(target)


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
    raise FileFormatError(
        f"The traced model holds an argument of type {type(value).__name__}, which has no form in a file."
    )


def _decode(value: Any, nodes: dict[str, fx.Node], device: torch.device) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
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
        found = vars(torch).get(content)
        if (isinstance(found, torch.dtype) and found in DTYPES) or (
            isinstance(found, torch.memory_format) and found in MEMORY_FORMATS
        ):
            return found
        if found is torch.strided:
            return found
    raise ValueError(f"An argument of kind {kind!r}.")
