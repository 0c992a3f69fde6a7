"""What README and docs show is run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import prunus
from prunus import models
from prunus.paint.rules import RULES
from tests.torchvision_shim import missing

ROOT = Path(__file__).parent.parent


def blocks(name: str) -> list[str]:
    """The Python blocks of a Markdown file."""
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def test_the_training_of_the_docs_ends_in_a_compact_network() -> None:
    block, own_loop, of_batches = blocks("docs/training.md")
    scope: dict[str, Any] = {}
    exec(block, scope)
    assert [epoch.samples for epoch in scope["history"].epochs[:2]] == [1442, 1442] and scope[
        "history"
    ].epochs[3].samples < 1442
    assert scope["small"].prunus.verification.relative < 1e-5
    exec(own_loop, scope)
    assert scope["pruning"].plan.removed > 0 and scope["small"].prunus.verification.relative < 1e-5
    exec(of_batches, scope)
    assert scope["history"].kept in (1, 2) and scope["history"].epochs[0].accuracy is None


def test_the_timing_of_the_docs_compares_two_networks() -> None:
    (block,) = blocks("docs/latency.md")
    scope: dict[str, Any] = {}
    exec(block, scope)
    assert list(scope["times"]) == ["dense", "small"] and 0 <= scope["found"].wins <= 1


def test_the_job_of_the_docs_leaves_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("docs/runs.md")
    scope: dict[str, Any] = {}
    exec(block, scope)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors",
        "plan.json",
        "result.json",
    }
    assert 0 < scope["left"] < 0.6 and scope["small"]["cost"] == scope["result"]["cost"]["after"]


@pytest.mark.parametrize("name", ["README.md", "docs/getting-started.md"])
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = {"model": models.resnet20(), "example_inputs": torch.randn(1, 3, 32, 32), "torch": torch}
    for block in blocks(name):
        exec(block, scope)
    small = scope["small"]
    assert isinstance(small, nn.Module)
    assert (tmp_path / "small.safetensors").exists()


@pytest.mark.parametrize(
    "path",
    [
        *sorted((ROOT / "docs" / "methods").glob("*.md")),
        ROOT / "docs" / "int8.md",
        ROOT / "docs" / "tasks.md",
    ],
    ids=lambda path: path.stem,
)
def test_methods_run_as_shown(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(str(path.relative_to(ROOT))):
        scope: dict[str, Any] = {}
        exec(block, scope)
        if "small" in scope:
            assert scope["small"].prunus.verification.relative < 1e-4
        if "out" in scope:
            assert scope["out"].verification.relative < 1e-4 and scope["out"].model is not None


def _of_integrations() -> list[Any]:
    """The blocks of the page, each by the heading that it stands under."""
    page = (ROOT / "docs" / "integrations.md").read_text()
    parts = [part.split("\n", 1) for part in page.split("\n## ")[1:]]
    found = [
        (title, block)
        for title, text in parts
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]
    return [pytest.param(block, id=f"{number}: {title}") for number, (title, block) in enumerate(found)]


@pytest.mark.filterwarnings("ignore")  # of the packages
@pytest.mark.parametrize("block", _of_integrations())
def test_integrations_run_as_shown(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = re.match(r"# needs: (.*)\n", block)
    for package in needs[1].split(", ") if needs else ():
        if reason := missing(package):
            pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(block, scope)
    if "small" in scope:
        assert scope["small"].prunus.verification.relative < 1e-4


def test_the_score_of_the_docs_is_the_largest_weight() -> None:
    (block,) = blocks("docs/adding-a-score.md")
    scope: dict[str, object] = {}
    exec(block, scope)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    graph = prunus.trace(model, torch.randn(1, 3, 8, 8))
    scores = scope["largest_weight"](graph)  # type: ignore[operator]
    first, second = model[0].weight.detach(), model[2].weight.detach()
    slow = [max(float(first[i].abs().max()), float(second[:, i].abs().max())) for i in range(4)]
    assert scores.tolist() == pytest.approx(slow)


@torch.library.custom_op("mylib::blur", mutates_args=())
def _blur(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return x * kernel.mean()


@_blur.register_fake
def _(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


_OTHERS = {
    "swish": "(Tensor x)",
    "fast_softmax": "(Tensor x, int dim, bool half)",
    "scale_rows": "(Tensor x, Tensor factors)",
}
for _name, _arguments in _OTHERS.items():
    torch.library.define(f"mylib::{_name}", f"{_arguments} -> Tensor")


class Blurred(nn.Module):
    """A network with an operator that prunus has never heard of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)
        self.register_buffer("kernel", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.ops.mylib.blur(self.first(x), self.kernel))


def test_the_rule_of_the_docs_frees_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Blurred().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    pinned = prunus.trace(model, x)
    assert pinned.num_channels == 0
    (pin,) = [p for p in pinned.pinned if "no rule" in p.reason]
    assert "mylib::blur" in pin.operator
    assert "torch.ops.mylib.blur(self.first(x), self.kernel)" in pin.where
    (block,) = blocks("docs/adding-an-operator-rule.md")
    before = dict(RULES)
    try:
        exec(block, {})
        graph = prunus.trace(model, x)
        assert graph.num_channels == 8
        plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
        small = prunus.compact(model, plan)
        assert small.first.out_channels == 4
        assert torch.allclose(prunus.mask(model, plan)(x), small(x), rtol=1e-12, atol=1e-14)
    finally:
        RULES.clear()
        RULES.update(before)
