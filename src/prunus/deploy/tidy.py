"""Exported graphs without what the exporter needed and nobody who runs them does.

Every rewriting gives the same numbers; a mean over pixels those of another order of additions. Each costs
some microseconds at most, which counts in networks whose convolutions take no longer, and keeps runtimes from
staying in 8 bits.
"""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prunus.deploy.constants import condense

_NOTED = ("input", "output", "value_info", "initializer")


def tidy(draft: Path) -> None:
    """Rewrite a file, and take out what its nodes tell of the source code that they were made from: paths and
    lines of whoever exported it.
    """
    onnx: Any = importlib.import_module("onnx")
    graph = _Graph(onnx.load(draft, load_external_data=False))  # weights beside the file stay there
    changed = [rewrite(graph, node) for kind, rewrite in _REWRITINGS for node in graph.of_kind(kind)]
    if any(changed):
        graph.drop_unused()
    condense(graph.model)
    for part in (graph.model.graph, *graph.model.functions):
        _forget_source(part)
    onnx.save(graph.model, draft)


def _forget_source(part: Any) -> None:
    """Empty the notes of a graph or function and of all that it holds, sub-graphs included; those of the
    model itself stay.
    """
    values = [
        value for kind in _NOTED for value in getattr(part, kind, ()) if not isinstance(value, str)
    ]  # a function has only their names
    for one in (part, *part.node, *values):
        if "metadata_props" in one.DESCRIPTOR.fields_by_name:
            del one.metadata_props[:]
        one.doc_string = ""
    for node in part.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _forget_source(inner)


class _Graph:
    """A model, and what rewritings ask of it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.helper: Any = importlib.import_module("onnx.numpy_helper")
        self._initializers = {one.name: one for one in model.graph.initializer if not one.external_data}
        self._types = {
            one.name: one.type.tensor_type
            for one in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        }
        self._taken = Counter(_taken(model.graph))
        self._made_by = {output: node for node in model.graph.node for output in node.output}

    def before(self, node: Any, kind: str) -> Any:
        """The node that makes the first input, None if it is of another kind or something else takes what it
        makes; the two can become one.
        """
        found = self._made_by.get(node.input[0])
        return (
            found if found is not None and found.op_type == kind and self._taken[node.input[0]] == 1 else None
        )

    def of_kind(self, kind: str) -> list[Any]:
        """The nodes of an operator, in the order of the graph."""
        return [node for node in self.model.graph.node if node.op_type == kind and not node.domain]

    def constant(self, node: Any, number: int) -> Any:
        """An input of a node as an array, None if it is not stored or not there."""
        name = node.input[number] if number < len(node.input) else ""
        return self.helper.to_array(self._initializers[name]) if name in self._initializers else None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Of a tensor; 0 for axes that are free, None if it is not known."""
        known = self._types.get(name)
        return tuple(axis.dim_value for axis in known.shape.dim) if known is not None else None

    def of_images(self, name: str) -> bool:
        """Whether a tensor has four axes and 32-bit floats."""
        known = self._types.get(name)
        return known is not None and known.elem_type == 1 and len(known.shape.dim) == 4

    def store(self, name: str, values: Any) -> str:
        """Store a constant, and give back its name."""
        self._initializers[name] = self.helper.from_array(np.asarray(values, np.int64), name)
        self.model.graph.initializer.append(self._initializers[name])
        return name

    def become(self, node: Any, kind: str, inputs: Sequence[str], without: Any = None) -> bool:
        """Make a node one of another kind with other inputs, and remove the one before it, if it is given;
        True.
        """
        if kind != node.op_type:
            node.op_type = kind
            node.ClearField("attribute")
        node.input[:] = inputs
        if without is not None:
            self.model.graph.node.remove(without)
        return True

    def drop_unused(self) -> None:
        """Remove constants that no node takes any more."""
        taken = set(_taken(self.model.graph))
        kept = [one for one in self.model.graph.initializer if one.name in taken]
        del self.model.graph.initializer[:]
        self.model.graph.initializer.extend(kept)


def _taken(graph: Any) -> Iterator[str]:
    """Names of the tensors that nodes take, those in branches among them, or that are outputs; as often as
    they are.
    """
    yield from (one.name for one in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _taken(inner)


def _join_slices(graph: _Graph, node: Any) -> bool:
    """Slices along one axis after the other become one."""
    before = graph.before(node, "Slice")
    if before is None:
        return False
    parts = [[graph.constant(one, number) for number in (1, 2, 3, 4)] for one in (before, node)]
    if any(part is None for four in parts for part in four):
        return False
    axes = np.concatenate([parts[0][2], parts[1][2]])
    if axes.min() < 0 or len(set(axes.tolist())) < len(axes):
        return False
    names = [
        graph.store(f"{node.output[0]}/{name}", np.concatenate([first, second]))
        for name, first, second in zip(("starts", "ends", "axes", "steps"), *parts)
    ]
    return graph.become(node, "Slice", [before.input[0], *names], without=before)


def _pool_mean(graph: _Graph, node: Any) -> bool:
    """A mean over the pixels of images is a pooling, which runtimes have in 8 bits too."""
    axes, keeps_axes = graph.constant(node, 1), all(one.i for one in node.attribute if one.name == "keepdims")
    if axes is None or not keeps_axes or not graph.of_images(node.input[0]) or sorted(axes % 4) != [2, 3]:
        return False
    return graph.become(node, "GlobalAveragePool", node.input[:1])


def _reshape_in_place_of_gather(graph: _Graph, node: Any) -> bool:
    """All elements in their order, taken out of a flat tensor by their numbers: that is what an adaptive
    pooling to one pixel is exported as.
    """
    flat, numbers = graph.before(node, "Reshape"), graph.constant(node, 1)
    if flat is None or numbers is None or any(one.name == "axis" and one.i for one in node.attribute):
        return False
    shape, target = graph.shape(flat.input[0]), graph.constant(flat, 1)
    if not shape or target is None or target.tolist() != [-1] or math.prod(shape) != numbers.size:
        return False
    if not np.array_equal(numbers.reshape(-1), np.arange(numbers.size)):
        return False
    return graph.become(
        node, "Reshape", [flat.input[0], graph.store(f"{node.output[0]}/shape", numbers.shape)], without=flat
    )


def _join_reshapes(graph: _Graph, node: Any) -> bool:
    """Of two shapes after each other only the second counts, unless it takes lengths over from the first."""
    before, target = graph.before(node, "Reshape"), graph.constant(node, 1)
    if before is None or target is None or not target.all():
        return False
    return graph.become(node, "Reshape", [before.input[0], node.input[1]], without=before)


def _pad_with_nothing_said(graph: _Graph, node: Any) -> bool:
    """Zeros are what is padded with if nothing is said; a zero that is said would be quantised, with a scale
    of its own.
    """
    value = graph.constant(node, 2)
    if value is None or value.any():
        return False
    node.input[2] = ""
    while not node.input[-1]:
        node.input.pop()
    return True


def _name_padded_axes(graph: _Graph, node: Any) -> bool:
    """Write down which axes are padded in front of a max pooling.

    ONNX Runtime moves such a padding into the pooling, whatever its value is, where it counts as minus
    infinity. It leaves it alone where axes are named, which they need not be if they are all.
    """
    widths, pooled = (
        graph.constant(node, 1),
        any(node.output[0] == pool.input[0] for pool in graph.of_kind("MaxPool")),
    )
    if not pooled or widths is None or len(node.input) > 3:
        return False
    node.input.extend(
        [""] * (3 - len(node.input)) + [graph.store(f"{node.output[0]}/axes", np.arange(widths.size // 2))]
    )
    return True


_REWRITINGS = (
    ("Slice", _join_slices),
    ("ReduceMean", _pool_mean),
    ("Gather", _reshape_in_place_of_gather),
    ("Reshape", _join_reshapes),
    ("Pad", _pad_with_nothing_said),
    ("Pad", _name_padded_axes),
)
