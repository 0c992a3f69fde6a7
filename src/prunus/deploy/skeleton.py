"""ONNX files for coded networks: the graph goes into the coded file without its weights, and whoever has
numpy alone can put both together again.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.atomic import write_atomically
from prunus._foundation.scratch import scratch_folder
from prunus.coding import skeleton as skeletons
from prunus.coding.skeleton import PERMUTED, RESHAPED, SUM, Reference
from prunus.coding.table import Entry
from prunus.coding.tensors import values_of
from prunus.deploy import onnx, onnx_file
from prunus.deploy.inputs import Inputs, split, tensors
from prunus.errors import FileFormatError, PrunusError, VerifyError, clause
from prunus.plans.verify import evaluating
from prunus.storage.coded_file import file_entries, read_coded

TOLERANCE = 1e-3  # of the largest output, between the file's and the model's
_MOST_INLINE = 0.25  # of the network's bytes, that may be in the skeleton
_NEIGHBOURS = 8  # how far apart two tensors may lie that are added


@door()
def skeleton(model: nn.Module, example_inputs: Inputs, *, dynamic_batch: bool = False) -> bytes:
    """What `save_coded` takes as `skeleton`, so that the file can be made an ONNX file by `write_onnx`, or by
    the reader in `examples/coded_reader.py`.

    Args:
        model: with the values that it will have when it is read.
        example_inputs: a tensor, a tuple of positional or a dictionary of keyword arguments.
        dynamic_batch: let the first axis of every input tensor vary.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        PrunusError: the network cannot be exported, or too little of the ONNX file are its weights.
        VerifyError: the ONNX file computes something else.
    """
    onnx_file.require()
    entries = file_entries(model)
    args, kwargs = split(example_inputs)
    with scratch_folder() as folder:
        draft = Path(folder) / "model.onnx"
        with evaluating(model):
            outputs = model(*args, **kwargs)
            names = onnx.output_names(outputs)
            onnx.write(model, args, kwargs, draft, dynamic_batch, properties={}, outputs=names)
        found = _skeleton(draft, entries)
        draft.write_bytes(skeletons.composed(found, entries).content)
        actual = [torch.as_tensor(value) for value in onnx_file.runner(draft)(example_inputs)]
    apart = onnx.compared(model, tensors(outputs), actual)
    if not apart.of_largest <= TOLERANCE:
        raise VerifyError(
            f"The ONNX file of {type(model).__name__} differs from the model by {apart.of_largest:.1e}"
            f" (relative), more than {TOLERANCE:.0e}; it is not put into the coded file."
        )
    return found


@door()
def write_onnx(coded: Path | str, path: Path | str, *, int8: bool = False) -> int:
    """Make an ONNX file of a coded one; needs neither the network's class nor the extra `onnx`.

    Args:
        coded: the coded file.
        path: where to write.
        int8: weights whose integers fit into 8 bits stay integers, and nodes make numbers of them: the same
            values, in a quarter of the bytes.

    Returns:
        How many weights stayed integers.

    Raises FileFormatError where the coded file cannot be read, or was written without an ONNX skeleton.
    """
    entries, found = read_coded(coded)
    if not found:
        raise FileFormatError(
            f"{coded} holds no ONNX graph: load the network with prunus.load and export that."
        )
    try:
        made = skeletons.composed(found, entries, int8=int8)
    except FileFormatError as error:
        raise FileFormatError(f"{coded} cannot be made an ONNX file: {clause(error)}.") from error
    write_atomically(Path(path), made.content)
    return made.integers


def _skeleton(draft: Path, entries: Sequence[Entry]) -> bytes:
    """The skeleton of an exported file."""
    library: Any = importlib.import_module("onnx")
    model = library.load(draft, load_external_data=True)
    graph = model.graph
    references, names = list[Reference](), dict[str, str]()
    finder, inline, rest = _Finder(entries), 0, list[Any]()
    for one in graph.initializer:
        values = library.numpy_helper.to_array(one)
        reference = finder.find(values)
        if reference is None:
            names[one.name] = f"c{len(rest)}"
            rest.append(one)
            inline += values.nbytes
        else:
            names[one.name] = f"w{len(references)}"
            references.append(reference)
    whole = sum(values_of(entry.coded).nbytes for entry in entries)
    if inline > _MOST_INLINE * whole + 4096:
        raise PrunusError(
            f"{inline:,} bytes of the ONNX file's constants are none of the coded tensors, which have"
            f" {whole:,} together, so it is not put into the coded file."
        )
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(rest)
    _shorten(graph, names)
    graph.name = "g"
    outer = type(model)()
    outer.CopyFrom(model)
    for field in ("graph", "producer_name", "producer_version", "metadata_props"):
        outer.ClearField(field)
    return skeletons.write(
        references, outer.SerializeToString(deterministic=True), graph.SerializeToString(deterministic=True)
    )


def _shorten(graph: Any, names: dict[str, str]) -> None:
    """Give values the shortest names; inputs and outputs of the graph keep theirs."""
    ends = {one.name for one in (*graph.input, *graph.output)}
    free = (name for name in map(str, count()) if name not in ends)
    names |= {name: name for name in ends}

    def visit(part: Any) -> None:
        part.ClearField("doc_string")
        for one in (*part.initializer, *part.input, *part.output):
            one.ClearField("doc_string")
        for one in part.initializer:
            one.name = names.setdefault(one.name, "") or _fresh(names, one.name, free)
        for one in (*part.input, *part.output):
            names.setdefault(one.name, one.name)
        for node in part.node:
            node.ClearField("name")
            node.ClearField("doc_string")
            node.input[:] = [names.get(name, name) for name in node.input]
            for inner in _graphs(node):
                visit(inner)
            node.output[:] = [name and (names.get(name) or _fresh(names, name, free)) for name in node.output]
            ordered = sorted(node.attribute, key=lambda one: str(one.name))
            del node.attribute[:]
            node.attribute.extend(ordered)

    visit(graph)


def _fresh(names: dict[str, str], name: str, free: Iterator[str]) -> str:
    names[name] = next(free)
    return names[name]


def _graphs(node: Any) -> list[Any]:
    """The branches and bodies of a node."""
    return [
        inner
        for attribute in node.attribute
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]


class _Finder:
    """Finds constants among the tensors of a file, by their values."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._values = [values_of(entry.coded) for entry in entries]
        self._known: dict[tuple[str, bytes], list[int]] = {}
        for place, values in enumerate(self._values):
            self._known.setdefault(_key(values), []).append(place)

    def find(self, values: NDArray[Any]) -> Reference | None:
        """How a constant is made of a tensor; None if it is not."""
        found = self._alike(values)
        if found is not None:
            return found
        for axes in _orders(values.ndim):
            place = self._of_shape(values.transpose(axes))
            if place is not None:
                return Reference(place, PERMUTED, tuple(np.argsort(axes).tolist()))
        return self._sum(values)

    def _alike(self, values: NDArray[Any]) -> Reference | None:
        places = self._known.get(_key(values), [])
        same = self._of_shape(values)
        if same is not None:
            return Reference(same)
        return Reference(places[0], RESHAPED, tuple(values.shape)) if places and values.size > 1 else None

    def _of_shape(self, values: NDArray[Any]) -> int | None:
        places = self._known.get(_key(values), [])
        return next((place for place in places if self._values[place].shape == values.shape), None)

    def _sum(self, values: NDArray[Any]) -> Reference | None:
        """Two biases of a layer that an exporter folded into one."""
        if values.ndim != 1 or values.dtype != np.float32:
            return None
        bits = values.tobytes()
        fitting = [
            p for p, v in enumerate(self._values) if v.shape == values.shape and v.dtype == values.dtype
        ]
        for at, first in enumerate(fitting):
            for second in fitting[at + 1 : at + 1 + _NEIGHBOURS]:
                if (self._values[first] + self._values[second]).tobytes() == bits:
                    return Reference(first, SUM, (second,))
        return None


def _key(values: NDArray[Any]) -> tuple[str, bytes]:
    return values.dtype.str, np.ascontiguousarray(values).tobytes()


def _orders(axes: int) -> Iterator[tuple[int, ...]]:
    """Orders of axes that exporters write weights in."""
    if axes > 1:
        yield (*range(axes - 2), axes - 1, axes - 2)
    if axes > 2:
        yield (1, 0, *range(2, axes))
        yield tuple(reversed(range(axes)))


__all__ = ["skeleton", "write_onnx"]
