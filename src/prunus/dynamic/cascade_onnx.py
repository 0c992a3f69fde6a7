"""A cascade as one ONNX file that decides inside: every later stage lies in a branch of an `If`, so stock
runtimes skip it.

With any number of inputs at a time, the branch gathers those that the stage before is not sure of, and
scatters their answers among the others.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from prunus._foundation.arguments import door
from prunus._foundation.atomic import draft_folder
from prunus.deploy import onnx as plain
from prunus.deploy import onnx_file
from prunus.dynamic.cascade import Cascade


@door()
def export_cascade(
    cascade: Cascade, example_inputs: Tensor, path: Path | str, *, dynamic_batch: bool = False
) -> plain.OnnxCheck:
    """Export with the threshold as it is, and check that every stage answers as in PyTorch.

    Args:
        cascade: on the CPU.
        example_inputs: a batch; each of its inputs is tried on its own.
        path: where to write; an existing file is replaced only when the check has passed.
        dynamic_batch: take any number of inputs at a time, and not just one; then the batch is tried as a
            whole, too.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        VerifyError: the file computes something else.
        PrunusError: a stage cannot be exported.
    """
    onnx_file.require()
    onnx: Any = importlib.import_module("onnx")
    path = Path(path)
    with draft_folder(path) as folder:
        models = []
        for number, stage in enumerate(cascade.stages):
            file = folder / f"{number}.onnx"
            opset = plain.export(
                stage, example_inputs[: 2 if dynamic_batch else 1], file, dynamic_batch=dynamic_batch
            ).opset
            models.append(onnx.compose.add_prefix(onnx.load(file), f"stage{number}/"))
        merged = _nested(onnx, models, cascade.threshold, dynamic_batch)
        draft = folder / "model.onnx"
        onnx.save(merged, draft)
        return plain.check_each(cascade, example_inputs, draft, path, opset, together=dynamic_batch)


def _nested(onnx: Any, models: list[Any], threshold: float, many: bool) -> Any:
    """The first stage, and the rest in the branch for inputs that it is not sure of."""
    make = onnx.helper
    inner: Any = None
    for number in reversed(range(len(models))):
        graph, before = models[number].graph, models[number - 1].graph if number else None
        nodes, constants, logits = list(graph.node), list(graph.initializer), graph.output[0].name
        if before is not None:
            nodes.insert(
                0, _passed_on(onnx, before.input[0].name, graph.input[0].name, f"stage{number - 1}/", many)
            )
        answer = make.make_tensor_value_info(
            f"stage{number}/answer", graph.output[0].type.tensor_type.elem_type, None
        )
        if inner is None:
            nodes.append(make.make_node("Identity", [logits], [answer.name]))
        else:
            more, numbers = _deciding(onnx, logits, f"stage{number}/", threshold, many)
            here = make.make_tensor_value_info(
                f"stage{number}/here", graph.output[0].type.tensor_type.elem_type, None
            )
            stay = make.make_graph(
                [make.make_node("Identity", [logits], [here.name])], f"stage {number} is sure", [], [here]
            )
            nodes += [
                *more,
                make.make_node(
                    "If", [f"stage{number}/unsure"], [answer.name], then_branch=inner, else_branch=stay
                ),
            ]
            constants += numbers
        if before is not None and many:
            whole = make.make_tensor_value_info(
                f"stage{number}/whole", graph.output[0].type.tensor_type.elem_type, None
            )
            nodes.append(
                make.make_node(
                    "ScatterND",
                    [before.output[0].name, f"stage{number - 1}/where", answer.name],
                    [whole.name],
                )
            )
            answer = whole
        result = answer if number else make.make_value_info(answer.name, graph.output[0].type)
        inner = make.make_graph(
            nodes, f"stage{number}", [] if number else [graph.input[0]], [result], constants
        )
    model = make.make_model(
        inner, opset_imports=models[0].opset_import, ir_version=models[0].ir_version, producer_name="prunus"
    )
    model.functions.extend(function for one in models for function in one.functions)
    onnx.checker.check_model(model)
    return model


def _passed_on(onnx: Any, images: str, name: str, before: str, many: bool) -> Any:
    """What a later stage gets of the images of the stage before it."""
    return (
        onnx.helper.make_node("Gather", [images, f"{before}rows"], [name], axis=0)
        if many
        else onnx.helper.make_node("Identity", [images], [name])
    )


def _deciding(
    onnx: Any, logits: str, prefix: str, threshold: float, many: bool
) -> tuple[list[Any], list[Any]]:
    """Nodes from logits to the flag "unsure" and, for many inputs, which "rows" are, also as indices for
    scattering, "where"; and their constants.
    """
    constant = onnx.numpy_helper.from_array

    def make(kind: str, inputs: list[str], output: str, more: tuple[str, ...] = (), **attributes: Any) -> Any:
        return onnx.helper.make_node(
            kind,
            [f"{prefix}{name}" for name in inputs],
            [f"{prefix}{name}" for name in (output, *more)],
            **attributes,
        )

    numbers = [
        constant(np.array([2], np.int64), f"{prefix}two"),
        constant(np.array([0], np.int64), f"{prefix}first"),
        constant(np.array([1], np.int64), f"{prefix}second"),
        constant(np.array([threshold], np.float32), f"{prefix}threshold"),
        constant(np.array([-1] if many else [], np.int64), f"{prefix}shape"),
    ]
    nodes = [
        onnx.helper.make_node("Softmax", [logits], [f"{prefix}probabilities"], axis=1),
        make("TopK", ["probabilities", "two"], "highest", ("places",), axis=1),
        make("Gather", ["highest", "first"], "top", axis=1),
        make("Gather", ["highest", "second"], "next", axis=1),
        make("Sub", ["top", "next"], "margin"),
        make("Less", ["margin", "threshold"], "less"),
        make("Reshape", ["less", "shape"], "few" if many else "unsure"),
    ]
    if many:
        numbers.append(constant(np.array(0, np.int64), f"{prefix}none"))
        nodes += [
            make("NonZero", ["few"], "found"),
            make("Squeeze", ["found", "first"], "rows"),
            make("Transpose", ["found"], "where", perm=[1, 0]),
            make("Size", ["rows"], "count"),
            make("Greater", ["count", "none"], "unsure"),
        ]
    return nodes, numbers
