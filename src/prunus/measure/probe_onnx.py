"""Layers timed inside ONNX Runtime, by its own profiler: what a kernel takes, without the conversions of
layout around it.
"""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prunus._foundation.scratch import scratch_folder
from prunus.deploy.onnx_file import require
from prunus.measure.shapes import Pair, Shape

WARM_UP = 1
FEWEST, MOST = 4, 60  # passes that are timed; in between, as many as take this long:
TIMED_S = 0.5
LARGEST = 256 * 2**20  # bytes of weights in one session
_OPSET, _IR = 18, 9
_KERNELS = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul")


def probe_onnx(shape: Shape, pairs: Sequence[Pair], threads: int) -> list[float]:
    """Milliseconds of a shape's kernel at every pair of widths: medians over some passes through a file that
    holds them all.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
    """
    require()
    found: dict[Pair, float] = {}
    for part in _portions(shape, list(dict.fromkeys(pairs))):
        found |= _timed(shape, part, threads)
    return [found[pair] for pair in pairs]


def _portions(shape: Shape, pairs: list[Pair]) -> Iterator[list[Pair]]:
    """Pairs whose weights fit into one session together."""
    part: list[Pair] = []
    size = 0
    for pair in pairs:
        own = 4 * int(np.prod(_weight_shape(shape, pair)))
        if part and size + own > LARGEST:
            yield part
            part, size = [], 0
        part.append(pair)
        size += own
    if part:
        yield part


def _weight_shape(shape: Shape, pair: Pair) -> tuple[int, ...]:
    read, made = pair
    groups = shape.groups_at(read)
    if shape.kind == "linear":
        return read, made
    return (
        (read, made // groups, *shape.kernel)
        if shape.kind == "transposed"
        else (made, read // groups, *shape.kernel)
    )


def _timed(shape: Shape, pairs: list[Pair], threads: int) -> dict[Pair, float]:
    """Median milliseconds of the kernels of one file."""
    runtime: Any = importlib.import_module("onnxruntime")
    with scratch_folder() as folder:
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        opened = runtime.InferenceSession(_file(shape, pairs), options, providers=["CPUExecutionProvider"])
        widest = max(read for read, _ in pairs)
        x = np.full((shape.batch, widest, *shape.spatial), 0.1, dtype=np.float32)
        for _ in range(_repeats(opened, x)):
            opened.run(None, {"x": x})
        events = json.loads(Path(opened.end_profiling()).read_text())
    kernels: dict[Pair, list[float]] = {}
    for event in events:
        if event["name"].endswith("_kernel_time") and event["args"]["op_name"] in _KERNELS:
            kernels.setdefault(_pair(event["name"]), []).append(event["dur"] / 1e3)
    return {pair: float(np.median(kernels[pair][WARM_UP:])) for pair in pairs}


def _repeats(opened: Any, x: Any) -> int:
    """Passes that fill the time, after a first one that is thrown away."""
    start = time.perf_counter()
    opened.run(None, {"x": x})
    return min(MOST, max(FEWEST, round(TIMED_S / max(1e-6, time.perf_counter() - start))))


def _name(pair: Pair) -> str:
    return f"p{pair[0]}_{pair[1]}"


def _pair(event: str) -> Pair:
    """The pair whose kernel an event is of; ONNX Runtime writes what it made of a node around the node's
    name.
    """
    read, made = re.findall(r"p(\d+)_(\d+)", event)[-1]
    return int(read), int(made)


def _file(shape: Shape, pairs: list[Pair]) -> bytes:
    """A model in which every pair is a branch of its own: a slice of the input, the layer, a rectifier, and a
    mean, so that little comes out.
    """
    onnx: Any = importlib.import_module("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights, nodes, outputs = (
        [
            onnx.numpy_helper.from_array(np.array([1]), "axis"),
            onnx.numpy_helper.from_array(np.array([0]), "zero"),
        ],
        [],
        [],
    )
    for read in sorted({read for read, _ in pairs}):
        weights.append(onnx.numpy_helper.from_array(np.array([read]), f"end{read}"))
        nodes.append(helper.make_node("Slice", ["x", "zero", f"end{read}", "axis"], [f"x{read}"]))
    for pair in pairs:
        name = _name(pair)
        weights.append(
            onnx.numpy_helper.from_array(
                np.full(_weight_shape(shape, pair), 0.01, dtype=np.float32), f"w{name}"
            )
        )
        weights.append(onnx.numpy_helper.from_array(np.zeros(pair[1], dtype=np.float32), f"b{name}"))
        nodes += _branch(helper, shape, pair, name)
        outputs.append(helper.make_tensor_value_info(f"o{name}", floats, None))
    widest = max(read for read, _ in pairs)
    inputs = [helper.make_tensor_value_info("x", floats, [shape.batch, widest, *shape.spatial])]
    graph = helper.make_graph(nodes, "probe", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    return bytes(model.SerializeToString())


def _branch(helper: Any, shape: Shape, pair: Pair, name: str) -> list[Any]:
    """The nodes of one pair. A rectifier behind a convolution becomes part of it, and gives the kernel its
    name.
    """
    inputs = [f"x{pair[0]}", f"w{name}", f"b{name}"]
    if shape.kind == "linear":
        return [helper.make_node("Gemm", inputs, [f"o{name}"], name=name)]
    given: dict[str, Any] = {
        "kernel_shape": shape.kernel,
        "strides": shape.stride,
        "pads": [*shape.padding, *shape.padding],
        "dilations": shape.dilation,
        "group": shape.groups_at(pair[0]),
    }
    if shape.kind == "transposed":
        given["output_padding"] = shape.output_padding
        return [
            helper.make_node("ConvTranspose", inputs, [f"y{name}"], name=name, **given),
            helper.make_node("GlobalAveragePool", [f"y{name}"], [f"o{name}"]),
        ]
    return [
        helper.make_node("Conv", inputs, [f"y{name}"], name=name, **given),
        helper.make_node("Relu", [f"y{name}"], [f"{name}"]),
        helper.make_node("GlobalAveragePool", [f"{name}"], [f"o{name}"]),
    ]
