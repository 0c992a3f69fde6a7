"""Exported graphs are rewritten where that changes nothing, and left alone where it would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.deploy import onnx, onnx_file
from prunus.deploy.tidy import tidy

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
onnx_format = pytest.importorskip("onnx", reason="the extra onnx is not installed")


class Does(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def sliced_twice(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first slice is taken by others too."""
    half = x[:, :, ::2]
    return half[:, :, :, ::2] + 0, half * 2


CASES: dict[str, tuple[Callable[[Tensor], object], dict[str, int]]] = {
    "strided pixels": (lambda x: x[:, :, ::2, ::2] * 2, {"Slice": 1}),
    "three axes": (lambda x: x[:, 1:, ::2, :-1] * 2, {"Slice": 1}),
    "one axis twice": (lambda x: x[:, :, ::2].relu()[:, :, 1:] * 2, {"Slice": 2}),
    "one axis twice at once": (lambda x: x[:, :, 1:][:, :, ::2] * 2, {"Slice": 2}),
    "a slice for two": (sliced_twice, {"Slice": 2}),
    "a slice that is an output": (lambda x: (x[:, :, ::2], x[:, :, ::2][:, :, :, ::2]), {}),
    "mean of pixels": (lambda x: x.mean((2, 3), keepdim=True) * 2, {"GlobalAveragePool": 1}),
    "mean without the axes": (lambda x: x.mean((2, 3)) * 2, {"ReduceMean": 1}),
    "mean of channels": (lambda x: x.mean((1, 2), keepdim=True) * 2, {"ReduceMean": 1}),
    "mean of three axes": (lambda x: x.flatten(0, 1).mean((1, 2), keepdim=True) * 2, {"ReduceMean": 1}),
    "adaptive pooling": (
        lambda x: F.adaptive_avg_pool2d(x.relu(), 1).flatten(1) * 2,
        {"GlobalAveragePool": 1, "Reshape": 1, "Relu": 1, "Mul": 1},
    ),
    "adaptive pooling, four axes": (
        lambda x: F.adaptive_avg_pool2d(x, 1) * 2,
        {"GlobalAveragePool": 1, "Gather": 0, "Mul": 1},
    ),
    "some elements": (lambda x: torch.as_strided(x.contiguous(), (1, 4), (4, 1)) * 2, {"Gather": 1}),
    "elements in another order": (
        lambda x: torch.as_strided(x.contiguous(), (9, 6, 3, 1), (1, 9, 54, 1)) * 2,
        {"Gather": 1},
    ),
    "zeros, said": (lambda x: F.pad(x, (1, 1), value=0.0) * 2, {"Pad": 1}),
    "zeros": (lambda x: F.pad(x, (1, 1)) * 2, {"Pad": 1}),
    "a length that is taken over": (lambda x: x.reshape(-1, 9).reshape(2, -1) * 2, {}),
}


POOLED = [case for case, (_, wanted) in CASES.items() if "GlobalAveragePool" in wanted]


@pytest.mark.parametrize(
    ("case", "double"), [(case, False) for case in CASES] + [(case, True) for case in POOLED]
)
def test_same_numbers_by_fewer_nodes(case: str, double: bool, tmp_path: Path) -> None:
    function, wanted = CASES[case]
    x = torch.randn(1, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    if double:  # means stay what they are: runtimes pool in 32 bits only
        wanted = {
            "ReduceMean" if kind == "GlobalAveragePool" else kind: count for kind, count in wanted.items()
        }
    onnx.export(
        Does(function),
        x.double() if double else x,
        tmp_path / "model.onnx",
        tolerance=1e-14 if double else 1e-6,
    )
    graph = onnx_format.load(tmp_path / "model.onnx").graph
    found = Counter(node.op_type for node in graph.node)
    assert all(len(node.input) == 2 for node in graph.node if node.op_type == "Pad"), "zeros need not be said"
    assert {kind: found[kind] for kind in wanted} == wanted
    onnx_format.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    taken = {name for node in graph.node for name in node.input}
    assert taken.issuperset(one.name for one in graph.initializer), "constants that nothing takes are gone"


def test_any_batch(tmp_path: Path) -> None:
    model = Does(lambda x: F.pad(F.adaptive_avg_pool2d(x[:, :, ::2, ::2].relu(), 1).flatten(1), (1, 1)))
    onnx.export(model, torch.randn(2, 3, 6, 9), tmp_path / "model.onnx", dynamic_batch=True)
    run = onnx_file.runner(tmp_path / "model.onnx")
    for size in (1, 2, 5):
        x = torch.randn(size, 3, 6, 9)
        torch.testing.assert_close(torch.as_tensor(run(x)[0]), model(x))


def test_what_a_branch_takes_stays(tmp_path: Path) -> None:
    """The first slice is taken by the second, and by one branch of an If."""
    helper, kinds = onnx_format.helper, onnx_format.TensorProto
    tensor = helper.make_tensor_value_info
    branches = [
        helper.make_graph(
            [helper.make_node("Mul", ["half", name], ["made"])], name, [], [tensor("made", kinds.FLOAT, None)]
        )
        for name in ("one", "two")
    ]
    nodes = [
        helper.make_node("Slice", ["x", "zero", "end", "axis2", "step"], ["half"]),
        helper.make_node("Slice", ["half", "zero", "end", "axis3", "step"], ["quarter"]),
        helper.make_node("If", ["which"], ["branch"], then_branch=branches[0], else_branch=branches[1]),
    ]
    numbers = {"zero": 0, "end": 1 << 60, "axis2": 2, "axis3": 3, "step": 2}
    constants = [helper.make_tensor(name, kinds.INT64, [1], [value]) for name, value in numbers.items()]
    constants += [
        helper.make_tensor(name, kinds.FLOAT, [], [value])
        for name, value in {"one": 1.0, "two": 2.0, "nobody's": 3.0}.items()
    ]
    inputs = [tensor("x", kinds.FLOAT, [1, 1, 4, 4]), tensor("which", kinds.BOOL, [])]
    outputs = [tensor("branch", kinds.FLOAT, [1, 1, 2, 4]), tensor("quarter", kinds.FLOAT, [1, 1, 2, 2])]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Pad", ["x", "zeros", "zero padded"], ["padded"])],
        "graph",
        inputs,
        outputs,
        constants,
    )
    graph.initializer.extend(
        [
            helper.make_tensor("zeros", kinds.INT64, [8], [0] * 8),
            helper.make_tensor("zero padded", kinds.FLOAT, [], [0.0]),
        ]
    )
    onnx_format.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "model.onnx",
    )
    tidy(tmp_path / "model.onnx")  # the padding is what is rewritten
    again = onnx_format.load(tmp_path / "model.onnx").graph
    assert [node.op_type for node in again.node] == ["Slice", "Slice", "If", "Pad"]
    assert sorted(one.name for one in again.initializer) == sorted([*numbers, "one", "two", "zeros"])
    x, run = torch.randn(1, 1, 4, 4), onnx_file.runner(tmp_path / "model.onnx")
    for which in (True, False):
        branch, quarter = (torch.as_tensor(one) for one in run((x, torch.tensor(which))))
        assert torch.equal(branch, x[:, :, ::2] * (1 if which else 2)) and torch.equal(
            quarter, x[:, :, ::2, ::2]
        )


class Twice(nn.Module):
    """A branch inside, so that the file has graphs within its graph."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x.sin() * 2, lambda x: x.cos() + 1, (x,))


@pytest.mark.parametrize("model", [Twice(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())])
def test_a_file_says_nothing_of_the_source_that_it_was_made_from(tmp_path: Path, model: nn.Module) -> None:
    onnx.export(model.eval(), torch.rand(2, 3, 8, 8), tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    assert not [
        word for word in (b".py", b"site-packages", b"stack_trace", b"File ", b"test_tidy") if word in content
    ]
