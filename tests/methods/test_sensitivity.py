"""What a network loses with one layer narrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import randomised
from torch import Tensor, nn

import prunus
from prunus import data, models, scores
from prunus.compensation import refit
from prunus.data import Split
from prunus.errors import PlanError, TargetError
from prunus.methods import sensitivity as module
from prunus.methods.sensitivity import divergence, sensitivity, sensitivity_of, squares
from prunus.paint.graph import ChannelGraph
from prunus.plans import mask
from prunus.plans.plan import make_plan
from prunus.tasks import Task
from prunus.tasks.samples import Samples


def resnet() -> tuple[ChannelGraph, list[Tensor]]:
    torch.manual_seed(0)
    net = randomised(models.resnet20(num_classes=5)).float().eval()
    return prunus.trace(net, torch.zeros(1, 3, 16, 16)), [torch.randn(24, 3, 16, 16)]


def order(graph: ChannelGraph, worth: Tensor, group: int) -> Any:
    channels = graph.groups[group].channels
    return channels[np.argsort(worth[channels].numpy(), kind="stable")]


def test_a_loss_is_that_of_the_masked_and_refitted_network() -> None:
    graph, batches = resnet()
    worth = scores.norm(graph)
    found = sensitivity(graph, worth, batches, squares, shares=(0.5,))
    for group in graph.groups[1:4]:
        count = round(0.5 * group.size)
        removed = np.zeros(graph.num_channels, dtype=bool)
        removed[order(graph, worth, group.index)[:count]] = True
        plan = make_plan(graph, removed)
        with torch.no_grad():
            masked = mask(refit(graph.model, plan, batches), plan).eval()
            wanted = squares(graph.model(batches[0]), masked(batches[0]))
            unfitted = squares(graph.model(batches[0]), mask(graph.model, plan).eval()(batches[0]))
        readers = sum(1 for name, _ in group.members if name.endswith("weight") and "conv" in name) - 1
        if readers == 1:  # several layers are refitted one after the other, each to what is left by then
            assert found[group.index][group.size - count] == pytest.approx(wanted, rel=1e-3)
        assert found[group.index][group.size - count] != pytest.approx(unfitted, rel=0.05)


def test_what_is_kept_of_earlier_runs_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, batches = resnet()
    worth = scores.random(graph, seed=1)
    quick = sensitivity(graph, worth, batches, divergence)
    monkeypatch.setattr(module._Judge, "begin", lambda self, group, family: None)
    for one, other in zip(quick, sensitivity(graph, worth, batches, divergence)):
        np.testing.assert_array_equal(one, other)


def test_the_network_stays_as_it_was() -> None:
    graph, batches = resnet()
    before = {name: tensor.clone() for name, tensor in graph.model.state_dict().items()}
    sensitivity(graph, scores.norm(graph), batches, squares)
    for name, tensor in graph.model.state_dict().items():
        assert torch.equal(tensor, before[name])


class Tied(nn.Module):
    """A convolution that runs twice, a parameter of the network itself, and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.each, self.last = nn.Conv2d(6, 6, 3, groups=6), nn.Linear(6, 3)
        self.gain = nn.Parameter(torch.rand(1, 6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) * self.gain
        x = self.twice(self.twice(x).relu()).relu()
        result: Tensor = self.last(self.each(x).mean((2, 3)))
        return result


def test_layers_that_run_twice_and_loose_parameters_are_measured_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    graph = prunus.trace(Tied().eval(), torch.zeros(1, 3, 8, 8))
    batches = [torch.randn(8, 3, 8, 8) for _ in range(2)]
    quick = sensitivity(graph, scores.norm(graph), batches, squares)
    assert all(one[0] > 0 for one in quick)
    monkeypatch.setattr(module._Judge, "begin", lambda self, group, family: None)
    for one, other in zip(quick, sensitivity(graph, scores.norm(graph), batches, squares)):
        np.testing.assert_array_equal(one, other)


def test_divergence_is_that_of_softmax() -> None:
    wanted, found = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    slow = [
        sum(
            float(p) * float(torch.log(p / q))
            for p, q in zip(wanted[b, :, k].softmax(0), found[b, :, k].softmax(0))
        )
        for b in range(4)
        for k in range(5)
    ]
    assert divergence(wanted, found) == pytest.approx(np.mean(slow), rel=1e-4)
    assert divergence({"out": wanted}, {"out": found}) == pytest.approx(np.mean(slow), rel=1e-4)
    one, other = torch.randn(4, 1, 5), torch.randn(4, 1, 5)
    p, q = one.sigmoid(), other.sigmoid()
    binary = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert divergence(one, other) == pytest.approx(float(binary), rel=1e-4)


def test_squares_are_relative_to_the_spread_of_each_tensor() -> None:
    one: dict[str, Any] = {"boxes": torch.randn(50, 4), "classes": [torch.randn(50, 3), torch.arange(50)]}
    far = {"boxes": one["boxes"] * 1.1, "classes": [one["classes"][0] * 1.0, torch.arange(50) + 1]}
    large = {"boxes": one["boxes"] * 100, "classes": one["classes"]}
    larger = {"boxes": one["boxes"] * 110, "classes": one["classes"]}
    assert squares(one, far) == pytest.approx(0.01, rel=0.1)
    assert squares(large, larger) == pytest.approx(squares(one, far), rel=1e-4)


def test_outputs_that_are_no_numbers_any_more_lose_most() -> None:
    graph, batches = resnet()
    found = sensitivity(graph, scores.norm(graph), batches, lambda a, b: float("nan"), shares=(0.5,))
    assert all(np.isfinite(one).all() and one[0] > 1e20 for one in found)


def test_scores_of_another_length_and_no_inputs_are_refused() -> None:
    graph, batches = resnet()
    with pytest.raises(PlanError, match="3 scores"):
        sensitivity(graph, torch.zeros(3), batches, squares)
    with pytest.raises(PlanError, match="no batch"):
        sensitivity(graph, scores.norm(graph), [], squares)
    with pytest.raises(PlanError, match="several times"):
        sensitivity(graph, scores.norm(graph), iter(batches), squares)


DIGITS = data.load("digits")
TASK = Task(DIGITS.train.subset(torch.arange(64)), normalise=DIGITS.normalise)


def test_a_task_measures_classes_without_their_labels() -> None:
    torch.manual_seed(0)
    network = randomised(models.lenet5(image_size=8)).float()
    graph = prunus.trace(network, torch.zeros(1, 1, 8, 8))
    found = sensitivity_of(TASK, graph, scores.norm(graph))
    fitted, judged = list(TASK.calibration(32)), list(TASK.calibration(32, last=True))
    wanted = sensitivity(graph, scores.norm(graph), fitted, divergence, judged=judged)
    for one, other in zip(found, wanted):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("wish", [{"macs": 0.4}, {"params": 0.4}, {"rate": 0.4}])
def test_shrink_chooses_widths_by_it(wish: dict[str, float]) -> None:
    torch.manual_seed(0)
    network = randomised(models.lenet5(image_size=8)).float()
    outcome = prunus.shrink(network, TASK, scope="measured", score="norm-l1", **wish)  # type: ignore[arg-type]
    graph = prunus.trace(network, torch.zeros(1, 1, 8, 8))
    losses = sensitivity_of(TASK, graph, scores.norm(graph, p=1))
    plan = prunus.plan(graph, scores.norm(graph, p=1), scope="measured", losses=losses, **wish)  # type: ignore[arg-type]
    assert outcome.plan.groups == plan.groups and "measuring layers" in outcome.seconds


def test_without_samples_it_is_refused() -> None:
    network = randomised(models.lenet5(image_size=8)).float()
    with pytest.raises(TargetError, match="needs data"):
        prunus.shrink(network, None, scope="measured", macs=0.5, example_inputs=torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("kind", ["images", "arrays", "batches"])
@pytest.mark.parametrize("count", [80, 1300, 2])
def test_layers_are_judged_by_samples_that_they_are_not_refitted_on(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On few samples a wide layer is refitted to look as if nothing had gone."""
    numbers = torch.arange(count).remainder(256).to(torch.uint8)
    images = torch.stack([numbers, (torch.arange(count) // 256).to(torch.uint8)], 1)[:, :, None, None]
    labels = torch.zeros(count, dtype=torch.int64)
    parts: dict[str, Any] = {
        "images": Split(images, labels),
        "arrays": Samples(images.float(), labels),
        "batches": [(images[i : i + 16].float(), labels[i : i + 16]) for i in range(0, count, 16)],
    }
    task = Task(parts[kind], normalise=((0.0, 0.0), (1 / 255, 1 / 255)) if kind == "images" else None)
    given: list[set[float]] = []

    def asked(graph: Any, worth: Any, batches: Any, distance: Any, *, judged: Any, on_step: Any) -> Any:
        for some in (batches, judged):
            seen = torch.cat(list(some)).flatten(1)
            given.append({round(float(one @ torch.tensor([1.0, 256.0])), 3) for one in seen})

    monkeypatch.setattr(module, "sensitivity", asked)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Flatten(), nn.Linear(4, 2)).eval()
    graph = prunus.trace(model, torch.zeros(1, 2, 1, 1))
    sensitivity_of(task, graph, scores.norm(graph))
    fitted, judged = given
    if kind != "batches" or count == 1300:  # of one batch nothing else is left
        assert not fitted & judged
    assert fitted and judged and len(fitted) <= 1024 and len(judged) <= 144


@dataclass
class Outputs:
    maps: Tensor


def test_squares_are_of_the_tensors_in_objects_too() -> None:
    one, other = torch.randn(4, 3), torch.randn(4, 3)
    assert squares(Outputs(one), Outputs(other)) == squares(one, other) > 0
