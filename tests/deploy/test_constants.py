"""Constants of one value are filled where they are needed, and everything else stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.deploy import onnx, onnx_file, tidy
from prunus.deploy.constants import LEAST, condense
from prunus.deploy.int8 import quantise

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
onnx_format = pytest.importorskip("onnx", reason="the extra onnx is not installed")
helper = onnx_format.helper


class Padded(nn.Module):
    """A shortcut whose missing planes are zeros, as in ENet and in the first residual networks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 2)
        zeros = torch.zeros(x.shape[0], 5, *pooled.shape[2:])
        added: Tensor = self.conv(x) + torch.cat([pooled, zeros], 1)
        return added


class Unpooled(nn.Module):
    """Pooling, and unpooling to where the largest were."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled, places = F.max_pool2d(self.first(x), 2, return_indices=True)
        return F.max_unpool2d(self.second(pooled), places, 2)  # type: ignore[arg-type]


def exported(model: nn.Module, x: Tensor, folder: Path, free: bool = False) -> dict[str, Path]:
    """The file of a model, and what it would be with all constants stored."""
    files = {name: folder / f"{name}.onnx" for name in ("filled", "stored")}

    def noted(graph: Any) -> int:
        onnx_format.save(graph, files["stored"])
        return condense(graph)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tidy, "condense", noted)
        onnx.export(model.eval(), x, files["filled"], dynamic_batch=free, tolerance=1e-6)
    return files


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Tensor, dict[str, Path]]:
    model, x = Padded(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return model, x, exported(model, x, tmp_path_factory.mktemp("padded"))


def check(model: nn.Module, x: Tensor, files: dict[str, Path]) -> dict[str, int]:
    """The sizes of both files [bytes], which compute the same, and of which one spells out weights alone."""
    sizes = {name: file.stat().st_size for name, file in files.items()}
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    assert sizes["filled"] <= sizes["stored"] and sizes["filled"] < weights + 7000
    large = [one for one in onnx_format.load(files["filled"]).graph.initializer if _nbytes(one) >= LEAST]
    assert all(one.name.endswith("weight") for one in large)
    np.testing.assert_array_equal(*(onnx_file.runner(file)(x)[0] for file in files.values()))
    onnx_format.checker.check_model(str(files["filled"]), full_check=True)
    return sizes


def test_zeros_that_a_shortcut_is_padded_with_are_not_spelled_out(
    padded: tuple[nn.Module, Tensor, dict[str, Path]],
) -> None:
    sizes = check(*padded)
    assert sizes["stored"] - sizes["filled"] > 0.95 * 4 * 2 * 5 * 32 * 32, "that is what the zeros took"


@pytest.mark.parametrize(("side", "free"), [(64, False), (8, True)])
def test_zeros_that_unpooling_writes_into_are_not_spelled_out(side: int, free: bool, tmp_path: Path) -> None:
    model, x = Unpooled(), torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    files = exported(model, x, tmp_path, free)
    check(model, x, files)
    if free:
        check(model, x[:1], files)


def test_a_file_in_8_bits_is_made_of_a_filled_one(
    padded: tuple[nn.Module, Tensor, dict[str, Path]], tmp_path: Path
) -> None:
    files = padded[2]
    found = quantise(files["filled"], tmp_path / "int8.onnx", [torch.randn(8, 3, 64, 64)])
    assert found.quantised == ("conv",) and found.noise < 0.05
    size = (tmp_path / "int8.onnx").stat().st_size
    assert size < 2 * 5 * 32 * 32, "zeros are not spelled out there either"


def test_a_runtime_folds_what_is_filled(
    padded: tuple[nn.Module, Tensor, dict[str, Path]], tmp_path: Path
) -> None:
    """So that nothing is filled anew for every input."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    runtime.InferenceSession(str(padded[2]["filled"]), options, providers=["CPUExecutionProvider"])
    filled, optimised = (
        {node.op_type for node in onnx_format.load(file).graph.node}
        for file in (padded[2]["filled"], tmp_path / "optimised.onnx")
    )
    assert "ConstantOfShape" in filled and "ConstantOfShape" not in optimised


def _nbytes(stored: Any) -> int:
    return int(onnx_format.numpy_helper.to_array(stored).nbytes)


def graph_of(nodes: list[Any], constants: dict[str, np.ndarray[Any, Any]], output: str = "y") -> Any:
    """A model that takes x, (4, 300) in floats, and gives y."""
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [tensor("x", onnx_format.TensorProto.FLOAT, [4, 300])],
        [onnx_format.ValueInfoProto(name=output)],
        [onnx_format.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def stored(model: Any) -> set[str]:
    return {one.name for one in model.graph.initializer}


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 3.25, np.inf, np.nan])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_])
def test_any_value_of_any_kind_is_filled_bit_by_bit(value: float, kind: type[Any]) -> None:
    if not np.isfinite(value) and not issubclass(kind, np.floating):
        value = 1.0
    constant = np.full((4, 300), value).astype(kind)
    model = graph_of([helper.make_node("Identity", ["c"], ["y"])], {"c": constant})
    assert condense(model) == constant.nbytes and stored(model) == {"c/shape"}
    filling = model.graph.node[0]
    (made,) = (onnx_format.numpy_helper.to_array(one.t) for one in filling.attribute)
    assert filling.op_type == "ConstantOfShape" and list(filling.output) == ["c"]
    assert made.dtype == constant.dtype and made.tobytes() == constant[:1, :1].tobytes()
    assert onnx_format.numpy_helper.to_array(model.graph.initializer[0]).tolist() == [4, 300]


def test_what_differs_anywhere_stays() -> None:
    other = np.zeros((4, 300), np.float32)
    other[3, 299] = 1e-30
    signed = np.zeros((4, 300), np.float32)
    signed[2, 7] = -0.0
    small = np.zeros(LEAST // 4 - 1, np.float32)
    nodes = [helper.make_node("Sum", ["other", "signed"], ["y"]), helper.make_node("Neg", ["small"], ["z"])]
    model = graph_of(nodes, {"other": other, "signed": signed, "small": small})
    before = model.SerializeToString()
    assert condense(model) == 0 and model.SerializeToString() == before


def test_what_layers_learnt_stays_whatever_it_is() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["a"]),
        helper.make_node("Gemm", ["a", "other weight", "bias"], ["y"]),
    ]
    constants = {
        "weight": np.zeros((300, 300), np.float32),
        "other weight": np.zeros((300, 300), np.float32),
        "bias": np.zeros(300, np.float32),
    }
    model = graph_of(nodes, constants)
    assert condense(model) == 0 and stored(model) == set(constants)


def test_weights_in_8_bits_stay_where_their_layer_is_found() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("DequantizeLinear", ["zeros", "scale"], ["z"]),
        helper.make_node("Add", ["a", "z"], ["y"]),
    ]
    constants: dict[str, np.ndarray[Any, Any]] = {
        "weight": np.zeros((300, 300), np.int8),
        "zeros": np.zeros((4, 300), np.int8),
        "scale": np.array(0.1, np.float32),
    }
    model = graph_of(nodes, constants)
    assert condense(model) == 1200 and stored(model) == {"weight", "scale", "zeros/shape"}


def test_what_branches_take_is_made_before_them_and_names_stay_apart() -> None:
    tensor, kinds = helper.make_tensor_value_info, onnx_format.TensorProto
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["x", "c"], [kind])], kind, [], [tensor(kind, kinds.FLOAT, [4, 300])]
        )
        for kind in ("Add", "Sub")
    ]
    nodes = [
        helper.make_node("If", ["which"], ["a"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Reshape", ["a", "c/shape"], ["y"]),
    ]
    constants = {
        "c": np.full((4, 300), 2, np.float32),
        "which": np.array(True),
        "c/shape": np.array([300, 4], np.int64),
    }
    x = np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32)
    outputs = []
    for filled in (False, True):
        model = graph_of(nodes, constants)
        model.graph.output[0].CopyFrom(tensor("y", kinds.FLOAT, [300, 4]))
        assert not filled or condense(model) == 4800
        onnx_format.checker.check_model(model, full_check=True)
        runtime = pytest.importorskip("onnxruntime")
        opened = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs.append(opened.run(None, {"x": x})[0])
    np.testing.assert_array_equal(*outputs)
    np.testing.assert_array_equal(outputs[0], (x + 2).reshape(300, 4))
