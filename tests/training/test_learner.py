"""A smaller network takes the place of the given one, and gives back what it has learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunus.plans.slices import Slices, cut
from prunus.training.ema import Average
from prunus.training.learner import Learner, Smaller, place

SLICES: Slices = {
    "0.weight": {0: np.array([0, 2])},
    "0.bias": {0: np.array([0, 2])},
    "2.weight": {1: np.array([0, 2])},
}


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


def smaller(given: nn.Module) -> Smaller:
    """The given network without its second neuron of three."""
    small = network(2)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            parameter.copy_(cut(dict(given.named_parameters())[name], SLICES.get(name, {})))
    return Smaller(small, SLICES)


def begun(ema: bool = False) -> tuple[nn.Module, torch.optim.Optimizer, Average | None, Learner]:
    torch.manual_seed(0)
    given = network(3)
    optimizer = torch.optim.SGD(given.parameters(), 0.1, momentum=0.9)
    average = Average(given, 0.5) if ema else None
    step(given, optimizer)
    return given, optimizer, average, Learner(given, optimizer, average, torch.contiguous_format)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


def test_placing_is_the_way_back_of_cutting() -> None:
    wide = torch.randn(4, 5, 3)
    for axes in ({}, {0: np.array([1, 3])}, {1: np.array([0, 4]), 2: np.array([2])}):
        narrow, found = cut(wide, axes), wide.clone()
        place(found, torch.zeros_like(narrow), axes)
        for i in range(4):
            for j in range(5):
                for k in range(3):
                    inside = all(at in axes.get(dim, [at]) for dim, at in enumerate((i, j, k)))
                    assert found[i, j, k] == (0 if inside else wide[i, j, k])
        place(found, narrow, axes)
        assert torch.equal(found, wide)


def test_what_was_learned_comes_back_and_the_rest_stays() -> None:
    given, optimizer, _, learner = begun()
    before = {name: t.detach().clone() for name, t in given.named_parameters()}
    found = smaller(given)
    assert learner.go_on(found) and learner.model is found.model
    assert not learner.go_on(found)
    momentum = optimizer.state_dict()["state"][0]["momentum_buffer"].clone()
    assert momentum.shape == (2, 3)
    wide = learner.optimizer_state()["state"][0]["momentum_buffer"]
    assert torch.equal(wide[[0, 2]], momentum) and not wide[1].any()
    step(found.model, optimizer)
    tensors = learner.tensors()
    assert torch.equal(tensors["0.weight"][[0, 2]], found.model[0].weight)  # type: ignore[index]
    assert torch.equal(tensors["0.weight"][1], before["0.weight"][1])
    learned = optimizer.state_dict()["state"][0]["momentum_buffer"].clone()
    learner.end()
    assert learner.model is given and optimizer.param_groups[0]["params"][0] is given[0].weight  # type: ignore[index]
    assert torch.equal(optimizer.state_dict()["state"][0]["momentum_buffer"][[0, 2]], learned)


def test_what_is_changed_in_the_given_network_goes_on_in_the_smaller_one() -> None:
    given, _, average, learner = begun(ema=True)
    assert average is not None
    found = smaller(given)
    learner.go_on(found)
    learner.give_back()
    with torch.no_grad(), average.following():
        given[0].weight[2] = 7.0  # type: ignore[index]
    learner.go_on(found)
    assert (found.model[0].weight[1] == 7).all()  # type: ignore[index]
    assert (average.values["0.weight"][1] == 7).all() and average.values["0.weight"].shape == (2, 3)


def test_the_average_is_kept_in_the_shape_of_the_given_network() -> None:
    given, optimizer, average, learner = begun(ema=True)
    assert average is not None
    whole: Any = average.state()["values"]
    lost = whole["0.weight"][1].clone()
    found = smaller(given)
    learner.go_on(found)
    step(found.model, optimizer)
    average.update()
    state: Any = learner.average_state()
    assert torch.equal(state["values"]["0.weight"][[0, 2]], average.values["0.weight"])
    assert torch.equal(state["values"]["0.weight"][1], lost)
    learner.end()
    assert average.values["0.weight"].shape == (3, 3)


def test_masks_of_what_learns_are_cut_and_left_out_where_nothing_is_gone() -> None:
    given, _, _, learner = begun()
    mask = torch.tensor([True, False, True])
    masks: dict[str, Tensor] = {"0.bias": mask, "2.bias": torch.tensor([True, False])}
    assert learner.cut(masks).keys() == masks.keys()
    learner.go_on(smaller(given))
    assert list(learner.cut(masks)) == ["2.bias"]


def test_an_optimiser_with_strangers_stays_with_the_given_network() -> None:
    given, optimizer, _, learner = begun()
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    found = smaller(given)
    with pytest.warns(UserWarning, match="masked, not removed, until the training ends"):
        learner.go_on(found)
    assert learner.model is given
    assert not learner.go_on(found) and learner.model is given  # and is not tried again


def test_a_network_that_was_not_cut_out_of_the_given_one_is_named() -> None:
    given = network(3)
    assert smaller(given).unlike(given) == ""
    assert Smaller(network(1), SLICES).unlike(given) == "0.weight"
    other = nn.Sequential(smaller(given).model[0], nn.BatchNorm1d(2))  # type: ignore[index]
    assert Smaller(other, SLICES).unlike(given) == "1.weight"
    scaled = smaller(given)
    with torch.no_grad():
        scaled.model[0].bias.mul_(2)  # type: ignore[index]
    assert scaled.unlike(given) == "0.bias"
