"""SNIP and FORCE: METHODS section 9, T13, and their formulas weight by weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.errors import TargetError
from prunus.scores.initialisation import channel_saliency, force, snip

INPUTS, LABELS = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10


def network() -> nn.Module:
    torch.manual_seed(0)
    return models.lenet5(image_size=8)


def sensitivity(model: nn.Module, masks: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """|w dL/dw| of every weight, the gradient taken at the pruned point."""
    masked = network()
    masked.load_state_dict(model.state_dict())
    names = [name for name, p in masked.named_parameters() if p.dim() > 1]
    with torch.no_grad():
        for name in names if masks else ():
            masked.get_parameter(name).mul_(masks[name])  # type: ignore[index]
    F.cross_entropy(masked(INPUTS), LABELS).backward()
    slopes: dict[str, Any] = {name: masked.get_parameter(name).grad for name in names}
    return {name: (model.get_parameter(name).detach() * slopes[name]).abs() for name in names}


def top(saliency: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    every = sorted(
        (-float(v), n, i) for n, values in saliency.items() for i, v in enumerate(values.flatten().tolist())
    )
    kept = {(name, index) for _, name, index in every[:count]}
    return {
        name: torch.tensor([(name, i) in kept for i in range(values.numel())]).view(values.shape)
        for name, values in saliency.items()
    }


@pytest.mark.parametrize("keep", [0.01, 0.1, 0.5, 1.0])
def test_snip_keeps_exactly_so_many(keep: float) -> None:
    model = network()
    masks = snip(model, (INPUTS, LABELS), F.cross_entropy, keep)
    total = sum(mask.numel() for mask in masks.values())
    assert total == sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert sum(int(mask.sum()) for mask in masks.values()) == round(keep * total)


def test_snip_keeps_the_most_sensitive() -> None:
    model = network()
    masks = snip(model, (INPUTS, LABELS), F.cross_entropy, 0.02)
    wanted = top(sensitivity(model), sum(int(mask.sum()) for mask in masks.values()))
    assert sum(int((masks[name] != wanted[name]).sum()) for name in masks) <= 2  # ties of rounding


def test_force_with_one_step_is_snip() -> None:
    model = network()
    one, other = (
        force(model, [(INPUTS, LABELS)], F.cross_entropy, 0.1, steps=1),
        snip(model, (INPUTS, LABELS), F.cross_entropy, 0.1),
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_force_looks_at_the_pruned_network_and_lets_weights_return() -> None:
    model = network()
    pair = [(INPUTS, LABELS)]
    first = force(model, pair, F.cross_entropy, 0.05**0.5, steps=1)
    masks = force(model, pair, F.cross_entropy, 0.05, steps=2)
    count = sum(int(mask.sum()) for mask in masks.values())
    wanted = top(sensitivity(model, first), count)
    assert sum(int((masks[name] != wanted[name]).sum()) for name in masks) <= 2
    many = force(model, pair, F.cross_entropy, 0.01, steps=10)
    assert any(bool((many[name] & ~first[name]).any()) for name in many)  # not nested


def test_the_model_is_not_changed() -> None:
    model = network().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    force(model, [(INPUTS, LABELS)], F.cross_entropy, 0.1, steps=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training and all(p.grad is None for p in model.parameters())


def test_channels_add_up_what_they_make_and_are_read_by() -> None:
    model = network()
    graph = prunus.trace(model, INPUTS)
    found = channel_saliency(graph, (INPUTS, LABELS), F.cross_entropy)
    saliency = sensitivity(model)
    channel = next(axis.channels for axis in graph.axes if (axis.name, axis.dim) == ("conv1.weight", 0))[3]
    assert float(found[channel]) == pytest.approx(
        float(saliency["conv1.weight"][3].sum() + saliency["conv2.weight"][:, 3].sum()), rel=1e-5
    )


@pytest.mark.parametrize(("keep", "steps"), [(0.0, 1), (1.1, 1), (0.5, 0)])
def test_numbers_out_of_range(keep: float, steps: int) -> None:
    with pytest.raises(TargetError, match=r"A share lies in \(0, 1\]"):
        force(network(), [(INPUTS, LABELS)], F.cross_entropy, keep, steps)
