"""Compiled training: norms written out are torch's own, and batches of all lengths share what is compiled."""

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
    found = batch_norm(x, None, None, weight, bias, True)
    wanted = F.batch_norm(x.float(), None, None, weight, bias, True, 0.1, 1e-5)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, rtol=1e-2, atol=1e-2)


def test_lengths_share_what_is_compiled_and_sizes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    ran: list[int] = []

    def backend(graph: Any, inputs: list[Tensor]) -> Any:
        number = len(made)
        made.append(graph)

        def run(*given: Tensor) -> Any:
            ran.append(number)
            return graph(*given)

        return run

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    forward = Compiled(model)
    for length, side in ((8, 6), (7, 6), (8, 6), (3, 6), (1, 6), (8, 9), (5, 9), (6, 6)):
        x = torch.randn(length, 1, side, side)
        torch.testing.assert_close(forward(x), model(x))
    assert len(made) == 2 and ran == [0, 0, 0, 0, 1, 1, 0]


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
