"""Weights on grids that are trained, with the bits that they take in the loss.

    L = task + rate * kilobytes

The bits are an estimate from the integers' own statistics (`prunus.quantisation.learned_grid`), as in Oktay
et al. 2020, "Scalable Model Compression by Entropy Penalized Reparameterization" (arXiv 1906.06624), and
Wiedemann et al. 2018, "Entropy-Constrained Training of Deep Neural Networks" (arXiv 1812.07520); rows and
columns with scales of their own are our choice. Weights and whole units that are not worth their bits become
zero; units leave.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.coding.tensors import CodedTensor
from prunus.compensation import restore_means
from prunus.errors import ConfigError
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import named_tensors, unwrap
from prunus.paint.trace import trace
from prunus.quantisation.folding import condense_norms
from prunus.quantisation.layers import layers
from prunus.quantisation.learned_grid import attach, bits, in_steps
from prunus.quantisation.parametrised import taken_off
from prunus.quantisation.quantised import Quantised, cut_like, decoded, on_grid, own_copy
from prunus.quantisation.rounding import single
from prunus.quantisation.zeros import zeroed
from prunus.surgery.compact import compact
from prunus.tasks import Task
from prunus.tasks.placed import Placed, example_of
from prunus.tasks.teaching import check_teachable
from prunus.training import Taught, TrainConfig, taught
from prunus.training.hooks import StepCount

RISE = 0.2  # of the training, in which the rate grows to what was asked for
# What the teacher says is not softened: to match logits that no longer change a probability takes bytes.
TEMPERATURE, SHARE = 1.0, 0.7  # of the loss that comes from the teacher; the rest is that of the labels
NORM_UNITS = 256  # steps of a norm's grid in the mean magnitude of its weights
TRAINED = TrainConfig(epochs=15, lr=1e-3, optimizer="adam", weight_decay=0.0)


@door(ConfigError)
def train_on_grids(
    model: nn.Module,
    task: Task,
    *,
    rate: float,
    config: TrainConfig = TRAINED,
    teacher: nn.Module | None = None,
    remove: bool = True,
    **options: Any,
) -> Quantised:
    """Train a copy of a network on grids, and remove the units that became zero.

    Args:
        model: trained, as a rule; not changed.
        task: what it is for.
        rate: what a thousand bytes add to the loss.
        config: how to train. Adam, as the steps of the grids are parameters of another size than weights.
        teacher: a network whose class probabilities are learned from besides the labels; None = the task's
            own loss.
        remove: whether units go, where channels can be removed.
        options: as for `Task.fit`, such as `checkpoint` and `resume`.

    Raises:
        ConfigError: a negative rate, or what `prunus.training.train` raises.
    """
    if not rate >= 0:
        raise ConfigError(f"The rate is 0 or more, not {rate}.")
    if teacher is not None:
        check_teachable(teacher, task, config)
    network = own_copy(unwrap(model))
    graph = trace(network, example_of(task, network))
    names = grid_names(graph)
    grids = attach(network, names)
    count = StepCount()
    steps = max(1, round(RISE * config.epochs * _steps(task, config)))

    def besides() -> Tensor:
        ramp = min(1.0, (count.done + 1) / steps)
        total = torch.stack([bits(tensor) for tensor in in_steps(network, names)]).sum()
        return rate * ramp * total / 8000

    if teacher is None:
        task.fit(network, config, besides=besides, pruning=count, **options)
    else:
        options.setdefault("validation", None)
        loss = partial(taught, temperature=TEMPERATURE, share=SHARE)
        task.fit(Taught(network, teacher), config, loss=loss, besides=besides, pruning=count, **options)
    found = {name: float(grid.step().detach()) for name, grid in grids.items()}
    return settled(taken_off(network, unwrap(model), names), found, task, remove)


def grid_names(graph: ChannelGraph) -> list[str]:
    """The weights of convolutions and linear layers that are called once, and their biases."""
    names = []
    for layer in layers(graph):
        names.append(layer.weight)
        if graph.twin.modules[layer.name].bias is not None:
            names.append(layer.weight.removesuffix("weight") + "bias")
    return names


def _steps(task: Task, config: TrainConfig) -> int:
    """Steps of an epoch."""
    count = task.count("train")
    return -(-count // config.batch_size) if task.kind("train") == "samples" else count


def settled(model: nn.Module, steps: dict[str, float], task: Task, remove: bool) -> Quantised:
    """A network whose tensors lie on grids of these steps, as it is coded: without its zeroed units, and what
    its norms are in evaluation mode on fine grids.
    """
    if remove:
        inputs = Placed(task.calibration(), model)
        plan = zeroed(trace(model, example_of(task, model)), model)
        if any(group.removed for group in plan.groups):
            model = compact(cut_like(restore_means(model, plan, inputs), model), plan)
    model, condensed = condense_norms(model)
    tensors, coded = named_tensors(model), dict[str, CodedTensor]()
    for name, tensor in tensors.items():
        if name in steps:
            coded[name] = on_grid(tensor, single(steps[name]))
    for name in condensed:
        step = float(tensors[name].detach().double().abs().mean()) / NORM_UNITS
        coded[name] = on_grid(tensors[name], single(step or 1.0))
    return decoded(model, coded)


__all__ = ["TRAINED", "train_on_grids"]
