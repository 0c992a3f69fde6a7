"""Histories and pairs: the formulas of METHODS section 5 again, pair by pair."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.paint.nets import Net, channels, randomised
from torch import nn

import prunus
from prunus import data, models
from prunus.errors import FileFormatError, PlanError
from prunus.scores.history import NormHistory, closest_pairs, filter_l1, from_checkpoints, pair_distance
from prunus.training import TrainConfig, train

IMAGE = torch.randn(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def residual() -> nn.Module:
    """Channels of a and b are coupled; c is alone."""
    layers = {
        "a": nn.Conv2d(3, 6, 3),
        "b": nn.Conv2d(6, 6, 3, padding=1),
        "c": nn.Conv2d(6, 8, 1),
        "d": nn.Linear(8, 2),
    }
    return randomised(
        Net(lambda m, x: m.d(m.c(m.a(x).relu() + m.b(m.a(x).relu())).relu().mean((2, 3))), **layers)
    )


def test_norms_of_coupled_filters_are_added() -> None:
    model = residual()
    graph = prunus.trace(model, IMAGE)
    found = filter_l1(graph)
    sums = {name: getattr(model, name).weight.detach().abs().sum((1, 2, 3)) for name in "abc"}
    assert torch.allclose(found[channels(graph, "a.weight")], sums["a"] + sums["b"])
    assert torch.allclose(found[channels(graph, "c.weight")], sums["c"])


def slow_pairs(norms: torch.Tensor, count: int) -> list[tuple[int, int]]:
    """Sort all pairs by the sum over epochs of |l1(i) - l1(j)|; the smaller sum goes."""
    size = norms.shape[1]
    pairs = [
        (sum(abs(float(row[i] - row[j])) for row in norms), i, j)
        for i in range(size)
        for j in range(i + 1, size)
    ]
    gone: list[tuple[int, int]] = []
    for _, i, j in sorted(pairs):
        if len(gone) == count:
            break
        if {i, j} & {first for first, _ in gone}:
            continue
        gone.append((i, j) if norms[:, i].sum() <= norms[:, j].sum() else (j, i))
    return gone


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_pairs_are_the_nearest_histories(count: int) -> None:
    graph = prunus.trace(residual(), IMAGE)
    history = torch.rand(
        7, graph.num_channels, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    for group in graph.groups:
        found = closest_pairs(graph, history, {group.index: count})[group.index]
        wanted = slow_pairs(history[:, torch.from_numpy(group.channels)], count)
        assert [(pair.goes, pair.stays) for pair in found] == [
            (group.channels[i], group.channels[j]) for i, j in wanted
        ]
        assert len({pair.goes for pair in found}) == count


def test_a_pair_far_apart_later_is_not_taken() -> None:
    graph = prunus.trace(residual(), IMAGE)
    group = graph.groups[1]
    history = torch.zeros(3, graph.num_channels)
    history[:, group.channels] = torch.arange(group.size).float() * 10
    first, second, third = group.channels[:3]
    history[0, second] = history[0, first]  # alike at first, apart later
    history[:, third] = history[:, first] + 0.5  # alike all the time
    (pair,) = closest_pairs(graph, history, {1: 1})[1]
    assert (pair.goes, pair.stays) == (first, third)


def test_the_distance_is_the_formula_and_pulls() -> None:
    model = residual()
    graph = prunus.trace(model, IMAGE)
    history = filter_l1(graph)[None]
    pairs = closest_pairs(graph, history, {0: 2, 1: 3})
    norms = filter_l1(graph)
    wanted = 0.0
    for index, chosen in pairs.items():
        mean = float(norms[graph.groups[index].channels].mean())
        wanted += sum(abs(float(norms[p.goes] - norms[p.stays])) for p in chosen) / len(chosen) / mean
    assert float(pair_distance(model, graph, pairs).detach()) == pytest.approx(wanted, rel=1e-6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        pair_distance(model, graph, pairs).backward()
        optimizer.step()
    assert float(pair_distance(model, graph, pairs).detach()) < 0.2 * wanted


def test_a_training_writes_its_history_down_and_resumes_it(tmp_path: Path) -> None:
    digits = data.load("digits")
    split = digits.train.subset(torch.arange(200))

    def run(epochs: int, name: str) -> tuple[NormHistory, nn.Module]:
        torch.manual_seed(0)
        model = models.lenet5(image_size=8)
        history = NormHistory(torch.zeros(1, 1, 8, 8))
        config = TrainConfig(epochs=epochs, schedule="constant", batch_size=64, lr=0.05)
        train(
            model,
            split,
            config,
            normalise=digits.normalise,
            pruning=history,
            checkpoint=tmp_path / name,
            resume=True,
        )
        return history, model

    history, model = run(3, "one")
    assert len(history.norms) == 3
    graph = prunus.trace(model, torch.zeros(1, 1, 8, 8))
    assert torch.equal(history.norms[-1], filter_l1(graph))
    assert not torch.equal(history.norms[0], history.norms[-1])
    again, _ = run(3, "one")  # finished: the checkpoint has it all
    assert all(torch.equal(a, b) for a, b in zip(history.norms, again.norms, strict=True))


def test_a_history_is_read_from_checkpoints(tmp_path: Path) -> None:
    wanted, files = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        model = models.lenet5(image_size=8)
        files.append(tmp_path / f"epoch-{seed}.pt")
        torch.save({"state_dict": model.state_dict()}, files[-1])
        wanted.append(filter_l1(prunus.trace(model, torch.zeros(1, 1, 8, 8))))
    model = models.lenet5(image_size=8)
    before = model.conv1.weight.detach().clone()
    graph = prunus.trace(model, torch.zeros(1, 1, 8, 8))
    assert torch.equal(from_checkpoints(graph, files), torch.stack(wanted))
    assert torch.equal(model.conv1.weight, before)
    with pytest.raises(PlanError, match="no checkpoints"):
        from_checkpoints(graph, [])
    torch.save(models.lenet5(image_size=28).state_dict(), files[0])
    with pytest.raises(FileFormatError, match="does not fit LeNet5"):
        from_checkpoints(graph, files)


def test_wrong_histories_are_named() -> None:
    graph = prunus.trace(residual(), IMAGE)
    with pytest.raises(PlanError, match=r"A history has shape \(epochs, 14\)"):
        closest_pairs(graph, torch.zeros(3, 5), {0: 1})
    with pytest.raises(PlanError, match="has 6 channels, of which 0 to 5 can go, not 6"):
        closest_pairs(graph, torch.zeros(3, 14), {0: 6})
