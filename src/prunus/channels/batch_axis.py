"""The batch of an exported graph: forwards that say `len(x)` tie the graph to the example's, and are untied again.

The example gets a batch of a size that nothing else has, so that the number shows where it was written down.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from prunus.channels.rewrite import operator_name
from prunus.channels.trace import tensors_in

BATCH = 23  # inputs: a number that no other size is likely to be
_SIZED = frozenset({"view", "_unsafe_view", "reshape", "expand", "zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "empty", "new_empty"})


def common_batch(inputs: Any) -> int | None:
    """The length of the first axis, where all inputs with two axes or more have the same; else None."""
    lengths = {tensor.shape[0] for tensor in tensors_in(inputs) if tensor.dim() > 1}
    return int(lengths.pop()) if len(lengths) == 1 else None


def with_batch(tensor: Tensor, size: int) -> list[int]:
    """The shape of an input in a batch of another size."""
    return [size, *tensor.shape[1:]] if tensor.dim() > 1 else list(tensor.shape)


def untie_batch(graph: fx.Graph, batched: list[bool]) -> None:
    """Let sizes that were written down as `BATCH` follow the first input that has such an axis; `batched` says of every input whether it has."""
    nodes = [node for node in graph.nodes if node.op == "call_function" and operator_name(node) in _SIZED and _place(node) is not None]
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    first = next((node for node, has in zip(inputs, batched) if has), None)
    if not nodes or first is None:
        return
    with graph.inserting_after(inputs[-1]):
        size = graph.call_function(torch.ops.aten.sym_size.int, (first, 0))
    for node in nodes:
        place = _place(node)
        assert place is not None
        sizes: Any = node.args[place]
        node.update_arg(place, [size, *sizes[1:]])


def _place(node: fx.Node) -> int | None:
    """Which argument is a list of sizes that begins with the batch."""
    for place, value in enumerate(node.args[:2]):
        if isinstance(value, (list, tuple)) and value and value[0] == BATCH:
            return place
    return None
