"""Compiled training: norms written out are torch's own, and shapes are compiled that come twice in a row."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import load
from prunus.training import TrainConfig, train
from prunus.training.compiled import Compiled, batch_norm

DRAW = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 5, 2), (2, 3, 2, 3, 2)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
def test_norms_written_out_are_torchs_own(shape: tuple[int, ...], affine: bool, tracked: bool) -> None:
    def once(norm: Any) -> list[Tensor | None]:
        leaves = [torch.randn(size, generator=draw, dtype=torch.float64) for size in (shape, (3,), (3,))]
        x, weight, bias = (leaf.requires_grad_() for leaf in leaves)
        running = [torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)]
        own: Any = (weight, bias) if affine else (None, None)
        kept: Any = running if tracked else (None, None)
        y = norm(x, own, kept)
        (y * torch.arange(y.numel()).view(shape).sin()).sum().backward()
        return [y, x.grad, weight.grad, bias.grad, *running]

    draw = torch.Generator().manual_seed(1)
    ours = once(lambda x, own, kept: batch_norm(x, kept[0], kept[1], own[0], own[1], True, 0.3, 1e-4))
    draw = torch.Generator().manual_seed(1)
    theirs = once(lambda x, own, kept: F.batch_norm(x, kept[0], kept[1], own[0], own[1], True, 0.3, 1e-4))
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)


def test_half_precision_stays_half_and_is_computed_in_single() -> None:
    x = (torch.randn(64, 3, 8, 8, generator=DRAW) + 30).bfloat16()
    weight, bias = torch.ones(3), torch.zeros(3)
    found = batch_norm(x, None, None, weight, bias)
    wanted = F.batch_norm(x.float(), None, None, weight, bias, True, 0.1, 1e-5)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, rtol=1e-2, atol=1e-2)


def test_shapes_are_compiled_that_come_twice_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def compile(model: nn.Module, **options: Any) -> Any:
        assert options == {"dynamic": False}

        def run(x: Tensor) -> Any:
            ran.append(("compiled", len(x)))
            return model(x)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    model = nn.Linear(2, 2)
    forward = Compiled(model)
    for length in (8, 8, 8, 3, 8, 8, 1):
        before = len(ran)
        x = torch.randn(length, 2)
        assert torch.equal(forward(x), model(x))
        if len(ran) == before:
            ran.append(("as it is", length))
    own, ours = "as it is", "compiled"
    assert ran == [(own, 8), (ours, 8), (ours, 8), (own, 3), (own, 8), (ours, 8), (own, 1)]


def test_a_compiled_training_learns_what_another_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the tracer, without the compiler's back end, which needs one for C++."""
    graphs: list[list[Any]] = []

    def backend(graph: Any, inputs: list[Tensor]) -> Any:
        graphs.append([node.target for node in graph.graph.nodes])
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    samples = load("digits").train.subset(torch.arange(200))

    def once(compile: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)
        ).double()
        config = TrainConfig(epochs=2, batch_size=64, lr=0.01, compile=compile)
        train(model, samples, config, normalise=((0.5,), (0.25,)))
        return model.state_dict()

    plain, compiled = once(False), once(True)
    assert len(graphs) == 1 and F.batch_norm not in graphs[0] and torch.rsqrt in graphs[0]
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-8, atol=1e-10)
