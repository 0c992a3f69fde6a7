"""Cascades in an ONNX file, which decides inside."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.deploy.onnx_file import runner
from prunus.dynamic import Cascade, export_cascade
from prunus.dynamic.cascade import NEVER_SURE
from prunus.errors import VerifyError
from tests.paint.nets import randomised

DRAW = torch.Generator().manual_seed(0)
IMAGES = torch.randn(40, 1, 12, 12, generator=DRAW, dtype=torch.float64)


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    """Three stages, of which each is sure of some inputs."""
    torch.manual_seed(0)
    large = randomised(models.lenet5(image_size=12))
    graph = prunus.trace(large, IMAGES[:1])
    stages = [
        prunus.compact(large, prunus.plan(graph, prunus.scores.norm(graph), macs=share), check=False)
        for share in (0.2, 0.5)
    ]
    found = Cascade([*stages, large], IMAGES[:1])
    found.threshold = 0.4
    with torch.no_grad():
        for stage in (
            found.stages
        ):  # scores that depend on the input, and lie as far apart as those of a trained network
            last = [module for module in stage.modules() if isinstance(module, nn.Linear)][-1]
            last.bias.copy_(-(stage(IMAGES) - last.bias).mean(0))
            scale = 2 / stage(IMAGES).std()
            last.weight.mul_(scale)
            last.bias.mul_(scale)
    assert {stage_of(found, x) for x in IMAGES} == {0, 1, 2}
    return found


def gap(logits: Tensor) -> float:
    ranked = sorted(logits.softmax(0).tolist())
    return ranked[-1] - ranked[-2]


@torch.no_grad()
def stage_of(cascade: Cascade, x: Tensor) -> int:
    for number, stage in enumerate(cascade.stages):
        if gap(stage(x[None])[0]) >= cascade.threshold:
            return number
    return len(cascade.stages) - 1


@torch.no_grad()
def one_by_one(cascade: Cascade, images: Tensor) -> Tensor:
    return torch.cat([cascade.stages[stage_of(cascade, x)](x[None]) for x in images])


@pytest.mark.parametrize("threshold", [0.4, NEVER_SURE])
def test_the_onnx_file_decides_inside(cascade: Cascade, threshold: float, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    single = copy.deepcopy(cascade).float()
    single.threshold = threshold
    check = export_cascade(single, IMAGES.float(), tmp_path / "cascade.onnx")
    assert check.relative < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["cascade.onnx"]
    graph = onnx.load(check.path).graph
    assert [len(graph.input), len(graph.output)] == [1, 1]
    (choice,) = [node for node in graph.node if node.op_type == "If"]
    branches = {attribute.name: attribute.g for attribute in choice.attribute}
    assert [node.op_type for node in branches["else_branch"].node] == ["Identity"]
    assert sum(node.op_type == "Conv" for node in branches["then_branch"].node) == 2


@pytest.mark.parametrize("threshold", [0.0, 0.4])
@torch.no_grad()
def test_the_onnx_file_of_batches_passes_on_what_is_left(
    cascade: Cascade, threshold: float, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    single = copy.deepcopy(cascade).float()
    single.threshold = threshold
    check = export_cascade(single, IMAGES.float(), tmp_path / "cascade.onnx", dynamic_batch=True)
    assert check.relative < 1e-5
    run = runner(check.path)
    for images in IMAGES.float().split(7):  # the last batch has five
        wanted = one_by_one(single, images)
        assert torch.allclose(torch.as_tensor(run(images)[0]), wanted, atol=1e-4)
    (choice,) = [node for node in onnx.load(check.path).graph.node if node.op_type == "If"]
    branch = next(attribute.g for attribute in choice.attribute if attribute.name == "then_branch")
    assert (branch.node[0].op_type, branch.node[-1].op_type) == (
        "Gather",
        "ScatterND",
    )  # only the unsure ones are computed


def test_an_onnx_file_that_computes_something_else_is_not_written(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr("prunus.deploy.onnx.check_each.__defaults__", (-1.0,))
    with pytest.raises(VerifyError, match="nothing was written"):
        export_cascade(copy.deepcopy(cascade).float(), IMAGES[:4].float(), tmp_path / "cascade.onnx")
    assert not list(tmp_path.iterdir())
