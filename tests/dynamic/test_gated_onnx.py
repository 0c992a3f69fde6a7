"""Gated networks as ONNX files that decide inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.dynamic import KernelActivation, Winners, attach, export_gated
from prunus.dynamic.gated_onnx import alike, live
from prunus.errors import VerifyError
from tests.dynamic.nets import network
from tests.dynamic.test_skipping import lively

CASES = [
    ("vgg", "auto", "activation", 1),
    ("vgg", "auto", "activation", 4),
    ("projected", ["layer2.*"], "winners", 1),
    ("separable", ["*"], "activation", 3),
]


@pytest.mark.parametrize(("name", "layers", "kind", "block"), CASES)
def test_the_file_computes_what_the_gated_network_does(
    name: str, layers: list[str], kind: str, block: int, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    model, x = network(name, batch=3)
    dynamic = lively(attach(model.float(), x.float(), layers, kind, block=block))  # type: ignore[arg-type]
    check = export_gated(dynamic, x.float(), tmp_path / "gated.onnx")
    assert check.relative < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["gated.onnx"]
    graph = onnx.load(check.path).graph
    fixed = {constant.name for constant in graph.initializer}
    assert sum(node.op_type == "Conv" and node.input[1] not in fixed for node in graph.node) >= len(
        dynamic.gates
    )


def layers_in(graph: Any) -> list[tuple[Any, set[str]]]:
    """All nodes, those in branches included, with the constants of their graph."""
    fixed = {constant.name for constant in graph.initializer}
    found = [(node, fixed) for node in graph.node]
    for node in graph.node:
        for attribute in node.attribute:
            found += layers_in(attribute.g) if attribute.HasField("g") else []
    return found


@pytest.mark.parametrize(
    ("name", "layers", "widths"),
    [
        ("resnet14", ["layer?.0.conv1"], (0.5, 1.0)),
        ("separable", ["*"], (0.25, 0.5, 1.0)),
        ("lenet5", ["*"], (0.5, 1.0)),
    ],
)
def test_widths_are_chosen_between_fixed_weights(
    name: str, layers: list[str], widths: tuple[float, ...], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    model, x = network(name, batch=12)
    x = (
        x + 3 * torch.randn(*x.shape[:2], 1, 1, generator=torch.Generator().manual_seed(2))
    ).float()  # gates look at means
    dynamic = lively(attach(model.float(), x, layers, "widths", widths=widths))
    picked = {
        group: {int(one.sum()) for one in opening.open} for group, opening in dynamic.openings(x).items()
    }
    assert sum(len(counts) for counts in picked.values()) > len(picked)  # inputs differ in what they need
    check = export_gated(dynamic, x, tmp_path / "gated.onnx")
    assert check.relative < 1e-5
    graph = onnx.load(check.path).graph
    nodes = layers_in(graph)
    assert not any(node.domain for node, _ in nodes) and sum(
        node.op_type == "If" for node, _ in nodes
    ) >= len(dynamic.gates) * (len(widths) - 1)
    assert all(node.input[1] in fixed for node, fixed in nodes if node.op_type in ("Conv", "Gemm"))
    if name == "separable":  # of the depthwise layer, too, only live channels are computed
        groups = {
            attribute.i for node, _ in nodes for attribute in node.attribute if attribute.name == "group"
        }
        assert groups >= {round(24 * width) for width in widths}
    dynamic.tighten(1e9)  # the narrowest everywhere
    assert export_gated(dynamic, x[:2], tmp_path / "gated.onnx").relative < 1e-5


def test_too_many_parts_are_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr("prunus.dynamic.widths_onnx.MOST_PARTS", 2)
    model, x = network("vgg", batch=3)
    dynamic = lively(attach(model.float(), x.float(), ["0", "3"], "widths", widths=(0.5, 1.0)))
    check = export_gated(dynamic, x.float(), tmp_path / "gated.onnx")
    nodes = layers_in(onnx.load(check.path).graph)
    convolutions = [node.input[1] in fixed for node, fixed in nodes if node.op_type == "Conv"]
    assert check.relative < 1e-5 and any(convolutions) and not all(convolutions)


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr("prunus.deploy.onnx.check_each.__defaults__", (-1.0,))
    model, x = network("vgg", batch=1)
    with pytest.raises(VerifyError, match="nothing was written"):
        export_gated(lively(attach(model.float(), x.float(), ["0"])), x.float(), tmp_path / "gated.onnx")
    assert not list(tmp_path.iterdir())


def test_slots_that_are_always_alike() -> None:
    gate, other = KernelActivation(3, 12, block=4), Winners(3, 4)
    assert alike(torch.arange(12), [gate]) == 4
    assert alike(torch.arange(12).repeat_interleave(9), [gate]) == 36  # a linear layer behind 3 x 3 places
    assert alike(torch.arange(2, 10), [gate]) == 2  # some of the channels, in other places
    assert alike(torch.arange(16), [gate, other]) == 1
    assert alike(torch.tensor([0, 1, 2, 3, -1, -1, -1, -1]), [gate]) == 4
    assert alike(torch.tensor([4, 8, 5, 9]), [gate]) == 1


@pytest.mark.parametrize("depthwise", [False, True])
def test_the_operator_is_a_masked_convolution(depthwise: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 6, 9, 9, dtype=torch.float64, generator=draw)
    layer = nn.Conv2d(
        6,
        6,
        (3, 2),
        stride=(2, 1),
        padding="valid" if depthwise else 1,
        dilation=(1, 2),
        groups=6 if depthwise else 1,
    ).double()
    columns = torch.rand(6, generator=draw) < 0.5
    rows = columns if depthwise else torch.rand(6, generator=draw) < 0.5
    x = x * columns.view(1, -1, 1, 1)
    pads = [0] * 4 if depthwise else [1] * 4
    assert layer.bias is not None
    wanted = layer(x) * rows.view(1, -1, 1, 1)
    found = live(x, layer.weight, layer.bias, rows, columns, [1, 1], [2, 1], pads, [1, 2], depthwise)
    assert torch.allclose(found, wanted, atol=1e-12)


def test_the_operator_is_a_masked_linear_layer() -> None:
    x, layer = torch.randn(1, 5, dtype=torch.float64), nn.Linear(5, 4).double()
    rows, none = torch.tensor([True, False, True, True]), torch.zeros(0, dtype=torch.bool)
    found = live(x, layer.weight, layer.bias, rows, none, [1, 1], [], [], [], False)
    assert torch.allclose(found, F.linear(x, layer.weight, layer.bias) * rows, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_paddings_of_all_kinds_are_told_side_by_side(tmp_path: Path) -> None:
    """An even kernel that keeps the size is padded more behind than before."""
    pytest.importorskip("onnx")

    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                nn.Conv2d(3, 8, 3, padding="same"),
                nn.Conv2d(8, 8, (2, 4), padding="same"),
                nn.Conv2d(8, 4, (1, 3), padding=(0, 1)),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.c(F.relu(self.b(F.relu(self.a(x))))).mean((2, 3))

    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 9)
    dynamic = lively(attach(Uneven().eval(), x, ["a", "b"]))
    assert export_gated(dynamic, x, tmp_path / "gated.onnx").relative < 1e-5
