"""A cascade as one ONNX file that decides inside: every later stage lies in a branch of an `If`, so stock runtimes skip it."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from prunus.deploy import onnx as plain
from prunus.dynamic.cascade import Cascade


def export_cascade(cascade: Cascade, example_inputs: Tensor, path: Path | str) -> plain.OnnxCheck:
    """Export for one input at a time, with the threshold as it is, and check that every stage answers as in PyTorch.

    Args:
        cascade: on the CPU.
        example_inputs: a batch; each of its inputs is tried on its own.
        path: where to write; an existing file is replaced only when the check has passed.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        VerifyError: the file computes something else.
        PrunusError: a stage cannot be exported.
    """
    plain.require()
    onnx: Any = importlib.import_module("onnx")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        models = []
        for number, stage in enumerate(cascade.stages):
            file = Path(folder) / f"{number}.onnx"
            opset = plain.export(stage, example_inputs[:1], file).opset
            models.append(onnx.compose.add_prefix(onnx.load(file), f"stage{number}/"))
        merged = _nested(onnx, models, cascade.threshold)
        draft = Path(folder) / "model.onnx"
        onnx.save(merged, draft)
        return plain.check_each(cascade, example_inputs, draft, path, opset)


def _nested(onnx: Any, models: list[Any], threshold: float) -> Any:
    """The first stage, and the rest in the branch for inputs that it is not sure of."""
    make, shared = onnx.helper, models[0].graph.input[0]
    inner: Any = None
    for number in reversed(range(len(models))):
        graph = models[number].graph
        nodes = [make.make_node("Identity", [shared.name], [graph.input[0].name])] if graph is not models[0].graph else []
        nodes += list(graph.node)
        constants, logits = list(graph.initializer), graph.output[0].name
        kind = graph.output[0].type
        result = make.make_value_info(f"stage{number}/answer", kind)
        if inner is None:
            nodes.append(make.make_node("Identity", [logits], [result.name]))
        else:
            here = make.make_value_info(f"stage{number}/here", kind)
            stay = make.make_graph([make.make_node("Identity", [logits], [here.name])], f"stage{number} is sure", [], [here])
            more, numbers = _deciding(onnx, logits, f"stage{number}/", threshold)
            nodes += more
            nodes.append(make.make_node("If", [f"stage{number}/unsure"], [result.name], then_branch=inner, else_branch=stay))
            constants += numbers
        inputs = [shared] if number == 0 else []
        inner = make.make_graph(nodes, f"stage{number}", inputs, [result], constants)
    model = make.make_model(inner, opset_imports=models[0].opset_import, ir_version=models[0].ir_version, producer_name="prunus")
    model.functions.extend(function for one in models for function in one.functions)
    onnx.checker.check_model(model)
    return model


def _deciding(onnx: Any, logits: str, prefix: str, threshold: float) -> tuple[list[Any], list[Any]]:
    """Nodes from logits to the flag "unsure", and the constants that they need."""
    make, constant = onnx.helper.make_node, onnx.numpy_helper.from_array
    names = {name: f"{prefix}{name}" for name in ("probabilities", "highest", "places", "first", "second", "margin", "few", "unsure")}
    numbers = [
        constant(np.array([2], np.int64), f"{prefix}two"),
        constant(np.array(0, np.int64), f"{prefix}zero"),
        constant(np.array(1, np.int64), f"{prefix}one"),
        constant(np.array([threshold], np.float32), f"{prefix}threshold"),
        constant(np.array([], np.int64), f"{prefix}scalar"),
    ]
    nodes = [
        make("Softmax", [logits], [names["probabilities"]], axis=1),
        make("TopK", [names["probabilities"], f"{prefix}two"], [names["highest"], names["places"]], axis=1),
        make("Gather", [names["highest"], f"{prefix}zero"], [names["first"]], axis=1),
        make("Gather", [names["highest"], f"{prefix}one"], [names["second"]], axis=1),
        make("Sub", [names["first"], names["second"]], [names["margin"]]),
        make("Less", [names["margin"], f"{prefix}threshold"], [names["few"]]),
        make("Reshape", [names["few"], f"{prefix}scalar"], [names["unsure"]]),
    ]
    return nodes, numbers
