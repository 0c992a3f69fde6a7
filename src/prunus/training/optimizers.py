"""The optimiser of a training."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from prunus.errors import ConfigError
from prunus.training.config import TrainConfig
from prunus.training.muon import Muon


def new_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """As the settings say, for every parameter that is to be trained; raises ConfigError if there is none."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConfigError(
            f"{type(model).__name__} has no parameter that requires a gradient: nothing to train."
        )
    if config.optimizer == "muon":
        return Muon(parameters, config.lr, config.momentum, config.weight_decay)
    if config.optimizer != "sgd":
        kind = Adam if config.optimizer == "adam" else AdamW
        return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )


def fitting(optimizer: Optimizer, model: nn.Module) -> Optimizer:
    """The optimiser, if it holds every parameter of the model that is to be trained; raises ConfigError if
    not.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    absent = [
        name for name, value in model.named_parameters() if value.requires_grad and id(value) not in held
    ]
    if absent:
        raise ConfigError(
            f"The optimizer does not hold {len(absent)} parameters of this model, such as {absent[0]}."
        )
    return optimizer


def highest_rate(optimizer: Optimizer) -> float:
    """The learning rate of the group that has the highest."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def rate_shares(optimizer: Optimizer) -> list[float]:
    """Of every group its learning rate, as a share of the highest: a schedule says what that one is, and
    groups keep their ratios, whatever schedule they went through before.
    """
    highest = highest_rate(optimizer)
    return [float(group["lr"]) / highest if highest else 1.0 for group in optimizer.param_groups]
