"""The Python function of a traced graph: names of any kind are written safely, and operators that trust their
arguments are guarded.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx


def copy_graph(graph: fx.Graph) -> fx.Graph:
    """A copy of the nodes; the descriptions of inputs and outputs are shared, because torch warns when they
    are copied.
    """
    result = fx.Graph()
    nodes: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        nodes[node] = result.node_copy(node, nodes.__getitem__)
    result.set_codegen(graph._codegen)
    return result


def compile_graph(graph: fx.Graph) -> Callable[..., Any]:
    """The Python function of a graph; its first argument is the module that owns the tensors."""
    written = copy_graph(graph)
    for node in written.nodes:
        if node.op in ("get_attr", "call_module"):
            node.target = ".".join(map(as_written, str(node.target).split(".")))
        elif node.op == "call_function":
            node.target = _GUARDS.get(node.target, node.target)
    code = written.python_code("self")
    scope = dict(code.globals)
    exec(compile(code.src, "<prunus traced graph>", "exec"), scope)
    function: Callable[..., Any] = scope["forward"]
    return function


def as_written(name: str) -> str:
    """A part of a tensor's or module's name as torch.fx may write it into source.

    It writes a plain name behind a dot, and anything else between quotation marks as it is; so what is a
    keyword of Python, changes under Python's own normalisation, or has quotation marks itself, is written in
    escapes.
    """
    if name.isidentifier() and not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name:
        return name
    return name if name.isascii() and name.isdigit() else "".join(f"\\U{ord(letter):08x}" for letter in name)


def attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Scaled dot-product attention; torch's kernel for the CPU reads past the keys where there are more
    values than keys.
    """
    if key.dim() < 2 or value.dim() < 2 or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"Attention needs as many values as keys; these are of shapes {tuple(value.shape)} and"
            f" {tuple(key.shape)}."
        )
    result: Tensor = torch.ops.aten.scaled_dot_product_attention.default(query, key, value, *args, **kwargs)
    return result


def lstm(
    x: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    both: bool,
    first: bool,
) -> Any:
    """An LSTM; torch's kernel for the CPU trusts the shapes of its states and weights."""
    ways, per, hidden = 1 + both, 4 if has_biases else 2, hx[0].shape[-1]
    state = [layers * ways, *x.shape[0 if first else 1 :][:1], hidden]
    fits = (
        x.dim() == 3
        and len(hx) == 2
        and all(list(one.shape) == state for one in hx)
        and len(params) == per * layers * ways
    )
    for place, tensor in enumerate(params if fits else ()):
        inputs = hidden if place % per == 1 else x.shape[2] if place < per * ways else hidden * ways
        fits = fits and list(tensor.shape) == [4 * hidden, inputs][: 2 if place % per < 2 else 1]
    if not fits:
        raise ValueError(
            f"An LSTM needs inputs, states and weights that fit together; inputs of shape {tuple(x.shape)}"
            f" and states {state} do not."
        )
    return torch.ops.aten.lstm.input(x, hx, params, has_biases, layers, dropout, train, both, first)


def device_of(tensor: Tensor) -> torch.device:
    """The device of a tensor; an operator of TorchScript says it to no compiler."""
    return tensor.device


def dtype_of(tensor: Tensor) -> torch.dtype:
    """The type of a tensor; the operator of TorchScript gives a number."""
    return tensor.dtype


_GUARDS: dict[Any, Callable[..., Any]] = {
    torch.ops.prim.device.default: device_of,
    torch.ops.prim.dtype.default: dtype_of,
    torch.ops.aten.scaled_dot_product_attention.default: attention,
    torch.ops.aten.lstm.input: lstm,
}

__all__ = ["as_written", "attention", "compile_graph", "copy_graph", "device_of", "dtype_of", "lstm"]
