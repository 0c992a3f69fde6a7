"""Reconstruction error: against refitting from scratch for every candidate, one channel at a time."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, channels, randomised
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import prunus
from prunus import models, scores
from prunus.errors import PlanError
from prunus.scores import products
from prunus.scores.reconstruction import Problem

MODULE = importlib.import_module("prunus.scores.reconstruction")  # `scores.reconstruction` is the function
BATCHES = [
    torch.randn(16, 3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
    for i in range(3)
]


def two_readers(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x).relu()
    return m.head(m.b(x).relu().mean((2, 3))) + m.other(x.flatten(1))


def network() -> nn.Module:
    return randomised(
        Net(
            two_readers,
            a=nn.Conv2d(3, 6, 3),
            b=nn.Conv2d(6, 4, 3, bias=False),
            head=nn.Linear(4, 2),
            other=nn.Linear(150, 2),
        )
    )


def windows(x: Tensor) -> Tensor:
    return F.unfold(x, 3).transpose(1, 2).flatten(0, 1)


def left_over(rows: Tensor, matrix: Tensor, kept: list[int], damp: float) -> float:
    """What the best weight on some columns cannot make of rows @ matrix.T, with the ridge that keeps all of
    them apart.
    """
    squares = rows.T @ rows / len(rows) + damp * torch.eye(rows.shape[1], dtype=torch.float64)
    products = squares @ matrix.T
    best = torch.linalg.solve(squares[kept][:, kept], products[kept])
    return float((matrix @ squares * matrix).sum() - (best * products[kept]).sum())


@torch.no_grad()
def slow(model: nn.Module, ridge: float) -> tuple[list[int], list[float]]:
    """Greedy elimination of the first layer's channels: order and cost of each."""
    hidden = model.a(torch.cat(BATCHES)).relu()
    views = []
    for rows, matrix, each, centred in (
        (windows(hidden), model.b.weight.flatten(1), 9, False),
        (hidden.flatten(1), model.other.weight, 25, True),
    ):
        rows = rows - rows.mean(0) * centred
        squares = rows.T @ rows / len(rows)
        views.append(
            (
                rows,
                matrix,
                each,
                ridge * float(squares.diagonal().mean()),
                float((matrix @ squares * matrix).sum()),
            )
        )
    left, order, costs, spent = list(range(6)), [], [], [0.0, 0.0]
    while left:
        trials = []
        for gone in left:
            errors = []
            for rows, matrix, each, damp, _ in views:
                columns = [c * each + k for c in left if c != gone for k in range(each)]
                errors.append(left_over(rows, matrix, columns, damp))
            trials.append((sum((e - s) / view[4] for e, s, view in zip(errors, spent, views)), gone, errors))
        cost, gone, spent = min(trials)
        left.remove(gone)
        order.append(gone)
        costs.append(cost)
    return order, costs


@pytest.mark.parametrize("pending", [1, 2, 20, 256])
def test_it_is_greedy_elimination_with_a_refit_at_every_step(
    pending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "PENDING", pending)
    model = network()
    graph = prunus.trace(model, BATCHES[0])
    found = scores.reconstruction(graph, BATCHES, ridge=1e-2)
    order, costs = slow(model, 1e-2)
    mine = channels(graph, "a.weight")
    ranked = [mine.index(c) for c in sorted(mine, key=lambda c: float(found[c]))]
    assert ranked == order
    running = 0.0
    for position, cost in zip(order, costs):
        running = max(running, cost)
        assert float(found[mine[position]]) == pytest.approx(running, rel=1e-6)


def test_what_others_can_make_costs_nothing() -> None:
    model = network()
    with torch.no_grad():
        model.a.weight[5], model.a.bias[5] = 3 * model.a.weight[2], 3 * model.a.bias[2]
    graph = prunus.trace(model, BATCHES[0])
    mine = channels(graph, "a.weight")
    found = scores.reconstruction(graph, BATCHES, ridge=1e-9)
    cheap = min(mine, key=lambda c: float(found[c]))
    assert mine.index(cheap) in (2, 5) and float(found[cheap]) < 1e-6
    norms = scores.norm(graph)
    assert min(mine, key=lambda c: float(norms[c])) != cheap


def test_putting_products_off_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    graph = prunus.trace(models.resnet20().eval(), torch.zeros(1, 3, 32, 32))
    batches = [torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))]
    monkeypatch.setattr(MODULE, "PENDING", 1)
    wanted = scores.reconstruction(graph, batches)
    for pending in (64, 256, 10**4):
        monkeypatch.setattr(MODULE, "PENDING", pending)
        assert torch.allclose(scores.reconstruction(graph, batches), wanted, rtol=1e-6)


def test_channels_that_become_cheaper_as_others_go_go_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # once the first is gone, the second makes up for it with a weight that cancels its own
    rows = torch.randn(4000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[:, 0] += 0.9 * rows[:, 1]
    weight = torch.tensor([[0.5, -0.4, 0.42]], dtype=torch.float64)
    layer = products.LayerProducts(torch.arange(3).numpy(), weight[:, :, None], rows.T @ rows / 4000)
    problem, found = Problem(layer, 1e-9), torch.zeros(3, dtype=torch.float64)
    before = problem.costs()
    problem.remove(0)
    assert problem.costs()[1] < 0.2 * before[1]
    MODULE._eliminate([Problem(layer, 1e-9)], found)
    left, order = [0, 1, 2], []
    while left:
        costs = {
            gone: left_over(
                rows, weight, [one for one in left if one != gone], 1e-9 * float(rows.square().mean())
            )
            for gone in left
        }
        order.append(min(costs, key=costs.__getitem__))
        left.remove(order[-1])
    assert found.argsort().tolist() == order


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = prunus.trace(models.CifarResNet(1).eval(), torch.zeros(1, 3, 32, 32))
    batches = [torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))]
    wanted = scores.reconstruction(graph, batches)
    assert wanted.isfinite().all() and len(wanted.unique()) == graph.num_channels
    monkeypatch.setattr(products, "_BUDGET", 1)
    assert torch.allclose(scores.reconstruction(graph, batches), wanted, rtol=1e-3)


@torch.no_grad()
def test_a_wide_layer_is_judged_by_what_new_scales_of_its_channels_can_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "MOST_COLUMNS", 10)
    net = network()
    graph = prunus.trace(net, BATCHES[0])
    found = scores.reconstruction(graph, BATCHES, ridge=1e-9)
    hidden = net.a(torch.cat(BATCHES)).relu()
    outputs = []  # of both readers, what each channel adds: (channels, rows)
    for inputs, weight, centred in (
        (windows(hidden), net.b.weight, False),  # 6 channels of 9 columns, and no bias that takes a mean
        (hidden.flatten(1), net.other.weight, True),  # of 25 columns, pixels of a picture
    ):
        split = inputs.view(len(inputs), 6, -1)
        each = [split[:, c] @ weight.view(len(weight), 6, -1)[:, c].T for c in range(6)]
        outputs.append(torch.stack([(one - one.mean(0) * centred).flatten() for one in each]))
    left, order = list(range(6)), []
    while left:
        order.append(
            min(left, key=lambda one: sum(misfit(z, [c for c in left if c != one]) for z in outputs))
        )
        left.remove(order[-1])
    assert found[channels(graph, "a.weight")].argsort().tolist() == order


def misfit(added: Tensor, kept: list[int]) -> float:
    """What is left of the sum of all rows, relative to it, by the best scales of those that are kept."""
    wanted = added.sum(0)
    if not kept:
        return 1.0
    best = torch.linalg.lstsq(added[kept].T, wanted[:, None]).solution[:, 0]
    return float((wanted - best @ added[kept]).square().sum() / wanted.square().sum())


def test_layers_of_too_many_channels_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "MOST_COLUMNS", 5)
    graph = prunus.trace(network(), BATCHES[0])
    found = scores.reconstruction(graph, BATCHES)
    own = channels(graph, "a.weight")  # both of its readers are
    assert torch.equal(found[own].argsort(), scores.norm(graph)[own].argsort())
    assert len(found[channels(graph, "b.weight")].unique()) == 4


def test_inputs_are_needed() -> None:
    graph = prunus.trace(network(), BATCHES[0])
    with pytest.raises(PlanError, match="at least one is needed"):
        scores.reconstruction(graph, [])
    with pytest.raises(PlanError, match="instead of an iterator"):
        scores.reconstruction(graph, iter(BATCHES))


def test_channels_that_nobody_knows_about_follow_their_norms() -> None:
    layers = [weight_norm(nn.Conv1d(2, 6, 3)), nn.ReLU(), weight_norm(nn.Conv1d(6, 5, 3)), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv1d(5, 2, 1)).eval()
    graph = prunus.trace(model, torch.randn(2, 2, 12))
    found = scores.reconstruction(graph, [torch.randn(4, 2, 12)])
    unknown, known = (
        torch.from_numpy(next(one.channels for one in graph.groups if one.name.startswith(name)))
        for name in ("0", "2")
    )
    norms = scores.norm(graph)[unknown]
    assert torch.equal(found[unknown].argsort(), norms.argsort())
    assert found[unknown].mean() == pytest.approx(float(found[known].mean()))
