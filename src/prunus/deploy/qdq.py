"""ONNX Runtime's static quantiser at arm's length: a file is prepared and calibrated once, and quantised as
often as wanted.

Written are QDQ files: ordinary ONNX operators between QuantizeLinear and DequantizeLinear, which runtimes
fuse into 8-bit kernels. Activations are unsigned with a zero point, so that behind a rectifier no code is
wasted on numbers below zero; weights are signed, with one scale per output channel.
"""

from __future__ import annotations

import copy
import importlib
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from prunus._foundation.environment import processor
from prunus._foundation.system_faults import refused
from prunus.deploy.constants import condense
from prunus.deploy.onnx import silenced
from prunus.deploy.onnx_file import first_cause, session
from prunus.errors import ConfigError, DataError, FileFormatError, PrunusError

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What may lie between two layers without a conversion to float and back. Norms and softmax stay in float:
# they are cheap, and lose most.
BETWEEN = tuple(
    (
        "Add Mul Relu Clip LeakyRelu Sigmoid MaxPool AveragePool GlobalAveragePool Concat Split Slice Pad "
        "Resize Reshape Transpose Squeeze Unsqueeze Flatten"
    ).split()
)
OLDEST_OPSET = 13  # the first whose QuantizeLinear knows channels
COMPARED = 64  # calibration inputs on which noise is measured, at most
_NO_SATURATION = {"avx512_vnni", "avx_vnni", "amx_int8"}


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A float file that is ready to be quantised.

    Attributes:
        model: the prepared ONNX model, with shapes.
        ranges: lowest and highest value of every activation over the calibration inputs.
        inputs: some of these, as sessions take them.
        outputs: what the float file says to them.
        layers: layer -> its nodes (several where a weight is shared), in the order of the graph.
    """

    model: Any
    ranges: Any
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[list[Any], ...]
    layers: dict[str, tuple[str, ...]]


def calibrated(source: Path, calibration: Iterable[Tensor], folder: Path) -> Calibrated:
    """Prepare a float file, and find the ranges of its activations.

    Args:
        source: a file with one input.
        calibration: batches of inputs; for a file with a fixed batch they are cut to it, and what is left
            over is not used.
        folder: for drafts.

    Raises:
        FileFormatError: the file cannot be read.
        DataError: there are no calibration inputs.
        PrunusError: the file cannot be quantised, or the inputs do not fit.
    """
    prepared = folder / "prepared.onnx"
    model = _prepared(source, prepared)
    quantisation: Any = importlib.import_module("onnxruntime.quantization")
    with told(source):
        opened = session(prepared, threads=1)
        reader = _Reader(_cut(opened, calibration))
        calibrator = quantisation.create_calibrator(
            str(prepared), [*LAYERS, *BETWEEN], augmented_model_path=str(folder / "augmented.onnx")
        )
        if reader.waiting is None:
            raise DataError(
                f"{source.name} is quantised by the ranges that its activations have, and there are no"
                " calibration inputs to see them."
            )
        calibrator.collect_data(reader)
        outputs = tuple(opened.run(None, feed) for feed in reader.first)
    return Calibrated(model, calibrator.compute_data(), tuple(reader.first), outputs, _layers(model))


def layers_of(source: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """Layer -> its nodes, as in `Calibrated`; arguments and errors as for `calibrated`."""
    return _layers(_prepared(source, folder / "prepared.onnx"))


def quantised(ready: Calibrated, keep_float: Sequence[str], bits: int, only: bool = False) -> Any:
    """A copy of the model, quantised, as an ONNX model without remarks on where it was made.

    Args:
        ready: the calibrated model.
        keep_float: layers that stay in float; what lies between two of these does, too.
        bits: of the weights, 8 or 7.
        only: quantise the other layers, and nothing between layers.
    """
    quantisation: Any = importlib.import_module("onnxruntime.quantization")
    model, kept = copy.deepcopy(ready.model), {node for layer in keep_float for node in ready.layers[layer]}
    outside = (
        {node.name for node in model.graph.node} - _nodes(ready.layers)
        if only
        else _untouched(model, ready.layers, kept)
    )
    signed, unsigned = quantisation.QuantType.QInt8, quantisation.QuantType.QUInt8
    with silenced():
        quantiser = quantisation.QDQQuantizer(
            model,
            True,
            bits == 7,
            signed,
            unsigned,
            ready.ranges,
            [],
            sorted(kept | outside),
            [*LAYERS, *BETWEEN],
            {},
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()  # the format asks for it; ONNX Runtime would not
    found = _bare(_pad_in_8_bits(quantiser.model.model))
    condense(found)  # the preparation folded what the float file fills
    return found


def layers_in_int8(model: Any, ready: Calibrated) -> tuple[str, ...]:
    """The layers whose weights are 8-bit numbers, read off the graph."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    found = {
        node.name
        for node in model.graph.node
        if any(name in made_by and _of_constants(made_by[name], model) for name in node.input)
    }
    return tuple(layer for layer, nodes in ready.layers.items() if found.issuperset(nodes))


def noise(file: Path, ready: Calibrated) -> float:
    """Root mean square of what a file's outputs differ by from the float file's, divided by that of these; on
    calibration inputs.
    """
    opened = session(file, threads=1)
    lost = total = 0.0
    for feed, expected in zip(ready.inputs, ready.outputs):
        for a, b in zip(expected, opened.run(None, feed)):
            lost += float(((a.astype(np.float64) - b) ** 2).sum())
            total += float((a.astype(np.float64) ** 2).sum())
    return (lost / total) ** 0.5 if total else float(lost > 0)


def weight_bits() -> int:
    """8, or 7 where this processor's 8-bit kernels saturate.

    x86 without VNNI adds pairs of products in 16 bits (vpmaddubsw): 255 × 127 twice is more than these hold,
    255 × 64 twice is not.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return 7 if x86 and _NO_SATURATION.isdisjoint(processor()[1]) else 8


@contextmanager
def told(source: Path) -> Iterator[None]:
    """Whatever ONNX and its runtime raise becomes one sentence."""
    try:
        with silenced():
            yield
    except (PrunusError, OSError):
        raise
    except Exception as error:  # both raise many types; none of them is the user's to know
        if (found := refused(error)) is not None:
            raise found from error
        raise PrunusError(f"{source.name} cannot be quantised: {first_cause(error)}.") from error


def _prepared(source: Path, prepared: Path) -> Any:
    """The model with constants folded, shapes inferred and a name for every node; also written to a file."""
    onnx: Any = importlib.import_module("onnx")
    quantisation: Any = importlib.import_module("onnxruntime.quantization")
    try:
        with silenced():
            given = onnx.load(str(source))
    except FileNotFoundError:
        raise FileFormatError(f"There is no ONNX file {source}.") from None
    except Exception as error:
        raise FileFormatError(
            f"{source} is not an ONNX file that can be read ({first_cause(error)})."
        ) from error
    opset = max((entry.version for entry in given.opset_import if not entry.domain), default=0)
    if opset < OLDEST_OPSET:
        raise PrunusError(
            f"{source.name} has opset {opset}; only files of opset {OLDEST_OPSET} or later are quantised."
        )
    with told(source):
        quantisation.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(str(prepared))
        if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            raise ConfigError(f"{source.name} is quantised already.")
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        model.ClearField("metadata_props")
        model.metadata_props.extend(given.metadata_props)  # what the file says of itself stays said
        onnx.save(model, str(prepared))
    return model


class _Reader:
    """Calibration inputs as the calibrator asks for them, and a memory of the first."""

    def __init__(self, feeds: Iterator[dict[str, Any]]) -> None:
        self.feeds, self.first, self.compared = feeds, list[dict[str, Any]](), 0
        self.waiting = next(feeds, None)

    def get_next(self) -> dict[str, Any] | None:
        """The next inputs, None at the end."""
        feed, self.waiting = self.waiting, next(self.feeds, None)
        if feed is not None and self.compared < COMPARED:
            self.first.append(feed)
            self.compared += len(next(iter(feed.values())))
        return feed


def _cut(opened: Any, calibration: Iterable[Tensor]) -> Iterator[dict[str, Any]]:
    """Batches as the file takes them."""
    entries = opened.get_inputs()
    if len(entries) != 1:
        raise ConfigError(
            "Only files with one input are quantised; this one takes"
            f" {', '.join(entry.name for entry in entries)}."
        )
    size = entries[0].shape[0] if entries[0].shape and isinstance(entries[0].shape[0], int) else None
    for batch in calibration:
        for start in range(0, len(batch), size or max(1, len(batch))):
            part = batch[start : start + size] if size else batch
            if size in (None, len(part)):
                yield {entries[0].name: part.detach().cpu().numpy()}


def _layers(model: Any) -> dict[str, tuple[str, ...]]:
    """Layers by the name of their weight, or of their node where the exporter has given the weight a name of
    its own.
    """
    constants, found = {entry.name for entry in model.graph.initializer}, dict[str, tuple[str, ...]]()
    for node in model.graph.node:
        weights = [name for name in node.input[:2] if name in constants] if node.op_type in LAYERS else []
        if weights:
            name = weights[0].removesuffix(".weight") if weights[0].endswith(".weight") else node.name
            found[name] = (*found.get(name, ()), node.name)
    return found


def _untouched(model: Any, layers: dict[str, tuple[str, ...]], kept: set[str]) -> set[str]:
    """Nodes between layers that no layer in 8 bits reaches, forwards or backwards: in 8 bits they would only
    lose.
    """
    of_layers = _nodes(layers)
    makes: dict[str, list[Any]] = {}
    takes: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.output:
            makes.setdefault(name, []).append(node)
        for name in node.input:
            takes.setdefault(name, []).append(node)

    def reached(start: Any, following: Callable[[Any], list[Any]]) -> set[str]:
        found, waiting = set[str](), following(start)
        while waiting:
            node = waiting.pop()
            if node.name not in found and node.name not in of_layers:
                found.add(node.name)
                waiting += following(node)
        return found

    touched = set[str]()
    for node in model.graph.node:
        if node.name in of_layers - kept:
            touched |= reached(
                node, lambda one: [after for name in one.output for after in takes.get(name, [])]
            )
            touched |= reached(
                node, lambda one: [before for name in one.input for before in makes.get(name, [])]
            )
    return {node.name for node in model.graph.node} - of_layers - touched


def _nodes(layers: dict[str, tuple[str, ...]]) -> set[str]:
    return {name for names in layers.values() for name in names}


def _of_constants(node: Any, model: Any) -> bool:
    """Whether a node turns stored 8-bit numbers into float."""
    if node.op_type != "DequantizeLinear":
        return False
    kinds = {entry.name: entry.data_type for entry in model.graph.initializer}
    onnx: Any = importlib.import_module("onnx")
    return kinds.get(node.input[0]) in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def _pad_in_8_bits(model: Any) -> Any:
    """Zeros put around a tensor of 8-bit numbers are its zero points: no need to go to float and back with
    the same scale.
    """
    taken = Counter(
        [name for node in model.graph.node for name in node.input] + [one.name for one in model.graph.output]
    )
    made_by = {output: node for node in model.graph.node for output in node.output}
    taken_by = {name: node for node in model.graph.node for name in node.input}
    for pad in [node for node in model.graph.node if node.op_type == "Pad"]:
        before, after = made_by.get(pad.input[0]), taken_by.get(pad.output[0])
        zeros = not any(pad.input[2:]) and all(one.s == b"constant" for one in pad.attribute)
        if not zeros or taken[pad.output[0]] != 1 or before is None or after is None:
            continue
        between = (before.op_type, after.op_type) == ("DequantizeLinear", "QuantizeLinear")
        if between and before.input[1:] == after.input[1:] and len(after.input) == 3:
            pad.input[:] = [before.input[0], pad.input[1], after.input[2]]
            pad.output[:] = after.output
            model.graph.node.remove(after)
            if taken[before.output[0]] == 1:
                model.graph.node.remove(before)
    return model


def _bare(model: Any) -> Any:
    """Without the exporter's notes (source lines among them) and inferred shapes, which in small files take
    as many bytes as the weights.
    """
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(kept)
    return model
