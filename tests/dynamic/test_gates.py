"""Gates of every kind against the formulas written out."""

from __future__ import annotations

import threading
from math import ceil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import prunus
from prunus import models
from prunus.dynamic import DynamicNetwork, KernelActivation, Widths, Winners, activity, anneal, attach
from prunus.errors import ConfigError
from prunus.training import TrainConfig, train
from tests.dynamic.nets import network, shut


def apart(maps: Tensor) -> Tensor:
    """The mean of every map, brought to mean 0 and variance 1 over the maps of an input."""
    means = torch.tensor([[float(plane.double().mean()) for plane in sample] for sample in maps.detach()])
    centred = means - means.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()


def test_logits_are_those_of_means_and_a_linear_layer() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5, 7)
    gate = KernelActivation(6, 9)
    gate.last.weight.data.normal_()
    slow = apart(x) @ gate.last.weight.T + gate.last.bias
    assert torch.allclose(gate.logits(x), slow, atol=1e-4)
    one = KernelActivation(1, 3)
    one.last.weight.data.normal_()  # of one map there is nothing to bring to variance 1
    assert torch.allclose(
        one.logits(x[:, :1]), x[:, :1].mean((2, 3)) @ one.last.weight.T + one.last.bias, atol=1e-5
    )
    two = KernelActivation(6, 9, hidden=3)
    two.last.weight.data.normal_()
    assert two.first is not None
    maps = F.relu(F.conv2d(x, two.first.weight[:, :, None, None], two.first.bias))
    assert torch.allclose(two.logits(x), apart(maps) @ two.last.weight.T + two.last.bias, atol=1e-4)
    assert two.macs(35) == 6 * 3 * 35 + 3 * 9 and gate.macs(35) == 6 * 9


def test_weaker_channels_begin_nearer_to_closing() -> None:
    gate = KernelActivation(2, 5, order=torch.tensor([3, 0, 4, 1, 2]))
    logits = gate.logits(torch.zeros(1, 2))[0]
    assert logits.argsort(descending=True).tolist() == [3, 0, 4, 1, 2]
    assert logits.tolist() == pytest.approx([2.35, 0.85, 0.1, 3.1, 1.6], abs=1e-5)
    pairs = KernelActivation(2, 5, block=2, order=torch.tensor([0, 1, 4, 2, 3]))
    assert pairs.logits(torch.zeros(1, 2))[0].argsort(descending=True).tolist() == [0, 2, 1]


def test_soft_gates_are_sigmoids_and_hard_ones_have_their_gradient() -> None:
    gate = KernelActivation(3, 4).train()
    gate.last.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    gate.last.bias.data = torch.tensor([-1.0, 0.5, 2.0, -3.0])
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    gate.slope, gate.hard = 3.0, False
    soft = gate(x).open
    assert torch.allclose(soft, torch.sigmoid(3 * gate.logits(x)))
    (wanted,) = torch.autograd.grad(soft.sum(), gate.last.bias)
    gate.hard = True
    hard = gate(x).open
    assert torch.equal(hard.detach().round(), (gate.logits(x) >= 0).float())
    assert torch.allclose(torch.autograd.grad(hard.sum(), gate.last.bias)[0], wanted)
    gate.eval()
    gate.last.bias.data.fill_(-50)
    assert (gate(x).open.sum(1) >= 1).all()  # the highest stays open


def test_annealing() -> None:
    model, x = network("lenet5")
    dynamic = attach(model, x)
    (first, *_) = dynamic.gates.values()
    assert isinstance(first, KernelActivation)
    slopes = []
    for done in (0.0, 1 / 3, 2 / 3, 1.0):
        anneal(dynamic, done)
        slopes.append((round(first.slope, 6), first.hard))
    assert slopes == [(1.0, False), (round(20**0.5, 6), False), (20.0, True), (20.0, True)]


@torch.no_grad()
def test_winners_are_the_largest_saliencies_and_boost() -> None:
    """METHODS T7: ceil(d C) channels alive for every sample."""
    model, x = network("vgg", batch=5)
    dynamic = attach(model, x, kind="winners").eval()
    generator = torch.Generator().manual_seed(4)
    for gate in dynamic.gates.values():
        assert isinstance(gate, Winners)
        gate.density = 0.3
        gate.last.weight.data.normal_(0, 0.01, generator=generator)
    for name, opening in dynamic.openings(x).items():
        gate = dynamic.gates[name]
        assert (opening.open.sum(1) == ceil(0.3 * gate.channels)).all()
        for sample in range(5):
            alive = opening.open[sample] > 0
            assert opening.boost is not None
            assert opening.boost[sample][alive].min() >= opening.boost[sample][~alive].max()


@torch.no_grad()
def test_a_boost_multiplies_what_is_normalised() -> None:
    """y = pi (g gamma x_hat + beta), layer by layer."""
    model, x = network("separable")
    dynamic = attach(model, x, ["expand.0"], "winners").eval()
    gate = next(iter(dynamic.gates.values()))
    assert isinstance(gate, Winners)
    gate.density = 0.5
    gate.last.weight.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(5))
    found = dynamic(x)
    stem = model.stem(x)
    opening = gate(stem)
    each = (opening.boost * opening.open)[:, :, None, None], opening.open[:, :, None, None]
    y = stem
    for part in (model.expand, model.deep):
        norm = part[1]
        shift = norm.bias[None, :, None, None]
        y = part[2](each[0] * (norm(part[0](y)) - shift) + each[1] * shift)
    assert torch.allclose(found, model.head((stem + model.project(y)).mean((2, 3))), atol=1e-10)


@torch.no_grad()
def test_widths_open_the_first_of_an_order() -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    gate = Widths(2, 5, (0.2, 0.5, 1.0), order).eval()
    x = torch.zeros(1, 2)
    assert gate(x).open.sum() == 5
    gate.last.bias.data = torch.tensor([0.0, 3.0, 1.0])
    assert gate(x).open.tolist() == [[1, 0, 0, 1, 1]]
    gate.bias = -5.0
    assert gate(x).open.sum() == 5
    with pytest.raises(ConfigError, match="rising up to 1"):
        Widths(2, 5, (0.5, 0.2), order)


def test_the_penalty_is_the_published_one() -> None:
    model, x = network("resnet14")
    dynamic = attach(model, x)
    with pytest.raises(ConfigError, match="must have run"):
        dynamic.penalty(1.0)
    shut(dynamic, 0.5)
    dynamic.train()(x)
    slow = 0.0
    for opening in dynamic._live.openings.values():
        sizes = [
            float(opening.open[sample].detach().sum()) / (2 * opening.open.shape[1])
            for sample in range(len(x))
        ]
        slow += 0.7 * sum(sizes) / len(sizes)
    assert dynamic.penalty(0.7).item() == pytest.approx(slow)
    assert dynamic.penalty(dict.fromkeys(dynamic.gates, 0.7)).item() == pytest.approx(slow)


def test_more_gain_leaves_fewer_macs() -> None:
    """METHODS T8."""
    digits = prunus.data.load("digits")
    torch.manual_seed(0)
    model = models.lenet5(image_size=8)
    train(model, digits.train, TrainConfig(epochs=1, batch_size=64, lr=0.05), normalise=digits.normalise)
    left = []
    for gain in (0.0, 4.0, 50.0):
        dynamic = attach(model, torch.zeros(1, 1, 8, 8), ["conv2"])
        for gate in dynamic.gates.values():
            gate.last.bias.data.uniform_(0, 0.5, generator=torch.Generator().manual_seed(8))

        def loss(
            outputs: Tensor, labels: Tensor, dynamic: DynamicNetwork = dynamic, gain: float = gain
        ) -> Tensor:
            return F.cross_entropy(outputs, labels) + dynamic.penalty(gain)

        train(
            dynamic,
            digits.train,
            TrainConfig(epochs=1, lr=0.05, batch_size=64),
            normalise=digits.normalise,
            loss=loss,
        )
        images = next(iter(prunus.training.batches(digits.test, digits.normalise, 200)))[0]
        left.append(activity(dynamic, [images]).expected)
    assert left[0] > left[1] > left[2]


@torch.no_grad()
def test_activity_counts() -> None:
    model, x = network("resnet14", batch=6)
    dynamic = attach(model, x)
    opens = shut(dynamic, 0.3)
    found = activity(dynamic, [x[:4], x[4:]])
    assert all(torch.equal(found.opened[name] > 0, opens[name]) for name in opens)
    assert found.macs.shape == (6,) and found.expected == pytest.approx(
        float(found.macs[0]) / found.dense_macs
    )


@torch.no_grad()
def test_threads_do_not_see_each_others_gates() -> None:
    model, x = network("resnet14", batch=16)
    dynamic = attach(model, x[:1]).eval()
    for gate in dynamic.gates.values():
        gate.last.weight.data.normal_(0, 3, generator=torch.Generator().manual_seed(6))
    wanted = [dynamic(x[i : i + 1]) for i in range(16)]
    found: dict[int, Tensor] = {}

    def work(numbers: range) -> None:
        for i in numbers:
            found[i] = dynamic(x[i : i + 1])

    threads = [threading.Thread(target=work, args=(range(start, 16, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(found[i], wanted[i], atol=1e-12) for i in range(16))
