"""Constants of one value, which a file need not spell out: planes of zeros that a shortcut is padded with, or
that unpooling writes into.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

LEAST = 512  # bytes: below that a node and its shape take as much
KINDS = ("FLOAT", "DOUBLE", "FLOAT16", "INT8", "UINT8", "INT32", "INT64", "BOOL")
# What layers learnt stays stored, whatever it is: quantisers look for it there, and so do runtimes that lay
# weights out anew. All inputs but the first are weights, and of a product of matrices either may be.
SCALED = ("DequantizeLinear",)  # between a weight in 8 bits and its layer
WEIGHTED = set(
    (
        "BatchNormalization Conv ConvTranspose DequantizeLinear GRU Gemm GroupNormalization "
        "InstanceNormalization LSTM LayerNormalization MatMul PRelu QuantizeLinear RNN"
    ).split()
)


def condense(model: Any) -> int:
    """Let nodes fill the large constants of a model that have one value everywhere; the bytes that this
    saves.

    Runtimes fold such nodes when they read the file, so that nothing is slower for it.
    """
    onnx: Any = importlib.import_module("onnx")
    kinds = {getattr(onnx.TensorProto, name) for name in KINDS}
    graph = model.graph
    weights = set(_weights(graph))
    weights |= {node.input[0] for node in graph.node if node.op_type in SCALED and weights & {*node.output}}
    kept = weights | {one.name for one in graph.input}
    taken = {one.name for one in graph.initializer} | {name for node in graph.node for name in node.output}
    saved, fillings = 0, []
    for one in list(graph.initializer):
        if one.external_data or one.data_type not in kinds or one.name in kept:
            continue
        values = onnx.numpy_helper.to_array(one)
        if values.nbytes < LEAST or not _of_one_value(values):
            continue
        shape = _free(f"{one.name}/shape", taken)
        taken.add(shape)
        value = onnx.numpy_helper.from_array(values.reshape(-1)[:1], "value")
        fillings.append(onnx.helper.make_node("ConstantOfShape", [shape], [one.name], value=value))
        graph.initializer.remove(one)
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(values.shape, np.int64), shape))
        saved += values.nbytes
    nodes = [*fillings, *graph.node]  # what makes a tensor comes before what takes it
    if fillings:
        del graph.node[:]
        graph.node.extend(nodes)
    return saved


def _of_one_value(values: Any) -> bool:
    """Whether every number has the bits of the first: -0 is another than 0."""
    rows = np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8)
    return bool((rows == rows[0]).all())


def _weights(graph: Any) -> Iterator[str]:
    """Names of the tensors that layers take as weights, those in branches among them."""
    for node in graph.node:
        if node.op_type in WEIGHTED:
            yield from node.input[0 if node.op_type == "MatMul" else 1 :]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _weights(inner)


def _free(name: str, taken: set[str]) -> str:
    """A name that nothing has."""
    number = 0
    while (found := f"{name}{number or ''}") in taken:
        number += 1
    return found
