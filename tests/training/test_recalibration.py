from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunus import models
from prunus.data import Split, load
from prunus.errors import ConfigError
from prunus.training import TrainConfig, batches, recalibrate, recalibrate_if_better, train

DIGITS = load("digits")


def network() -> nn.Sequential:
    """Two batch norms with statistics, one without, dropout between."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6, momentum=0.3),
        nn.Dropout(0.5),
        nn.Conv2d(6, 4, 3),
        nn.BatchNorm2d(4, momentum=None),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 10),
    )


def test_statistics_are_the_plain_average_over_the_batches() -> None:
    model = network()
    recalibrate(model, DIGITS.train, DIGITS.normalise, 3, batch_size=100, seed=5)
    means, variances = [], []
    fed = batches(DIGITS.train, DIGITS.normalise, 100, generator=torch.Generator().manual_seed(5))
    for images, _ in list(fed)[:3]:
        hidden = model[0](images).detach()
        means.append(hidden.mean((0, 2, 3)))
        variances.append(hidden.transpose(0, 1).flatten(1).var(1, correction=1))
    torch.testing.assert_close(model[1].running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model[1].running_var, torch.stack(variances).mean(0), rtol=1e-4, atol=1e-6)
    assert int(model[1].num_batches_tracked) == 3


def test_the_old_statistics_have_no_influence() -> None:
    first, second = network(), network()
    second[1].running_mean.fill_(100)
    second[4].running_var.fill_(100)
    for model in (first, second):
        recalibrate(model, DIGITS.train, DIGITS.normalise, 2)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_everything_else_stays_untouched() -> None:
    model = network()
    model[4].eval()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    recalibrate(model, DIGITS.train, DIGITS.normalise, 2)
    assert [module.training for module in model.modules()] == modes
    assert (model[1].momentum, model[4].momentum) == (0.3, None)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert all(value.grad is None for value in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_one_pass_is_the_most() -> None:
    model = network()
    recalibrate(model, DIGITS.test, DIGITS.normalise, 1000, batch_size=100)
    assert int(model[1].num_batches_tracked) == 4


def test_a_model_without_batch_norm_is_left_alone() -> None:
    recalibrate(nn.Linear(1, 1), DIGITS.test, DIGITS.normalise)


class FailingLater(nn.Module):
    """Fails on the second call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 2:
            raise ValueError("a bug of the user")
        return x


def test_a_failure_puts_everything_back() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), FailingLater())
    model[0].running_mean.fill_(3)
    with pytest.raises(ValueError, match="a bug"):
        recalibrate(model, DIGITS.train, DIGITS.normalise, 5)
    assert model[0].running_mean.tolist() == [3]
    assert int(model[0].num_batches_tracked) == 0
    assert (model[0].momentum, model[0].training) == (0.1, True)


def test_no_batches_is_refused() -> None:
    with pytest.raises(ConfigError, match="batches must be at least 1"):
        recalibrate(network(), DIGITS.train, DIGITS.normalise, 0)


def test_new_statistics_stay_only_where_they_help() -> None:
    model: Any = models.lenet5(image_size=8)
    model.conv1 = nn.Sequential(model.conv1, nn.BatchNorm2d(20))
    train(model, DIGITS.train, TrainConfig(epochs=3, batch_size=64, lr=0.05), normalise=DIGITS.normalise)
    kept, held = DIGITS.hold_out(0.3)
    good = {name: value.clone() for name, value in model.state_dict().items()}

    dark = Split(kept.images // 8, kept.labels)  # what comes in is not what the network is used with
    assert not recalibrate_if_better(model, dark, DIGITS.normalise, held)
    assert all(torch.equal(value, good[name]) for name, value in model.state_dict().items())

    model.conv1[1].running_mean += 3
    assert recalibrate_if_better(model, kept, DIGITS.normalise, held)
    torch.testing.assert_close(model.conv1[1].running_mean, good["conv1.1.running_mean"], rtol=0.2, atol=0.2)
    assert recalibrate_if_better(model, dark, DIGITS.normalise, None)
    assert not torch.allclose(model.conv1[1].running_mean, good["conv1.1.running_mean"], rtol=0.2, atol=0.2)
