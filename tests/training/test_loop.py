from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import load
from prunus.errors import ConfigError, DataError
from prunus.models import lenet5, resnet20
from prunus.selection import Random, Selection
from prunus.training import EpochRecord, TrainConfig, batches, evaluate, train

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 9))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))


def trained(seed: int = 0, model: nn.Module | None = None, **changes: Any) -> nn.Module:
    model = network() if model is None else model
    train(
        model,
        FEW,
        TrainConfig(**{"epochs": 2, "batch_size": 64, "lr": 0.05, "seed": seed, **changes}),
        normalise=DIGITS.normalise,
    )
    return model


def equal(first: nn.Module, second: nn.Module) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


def test_lenet_learns_the_digits_with_the_default_settings() -> None:
    torch.manual_seed(0)
    model = lenet5(image_size=8)
    train(model, DIGITS.train, TrainConfig(batch_size=64, lr=0.05), normalise=DIGITS.normalise)
    assert evaluate(model, DIGITS.test, DIGITS.normalise).accuracy > 97


def test_one_sgd_step_is_nesterov_momentum_with_weight_decay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    weight, bias = (value.detach().clone().requires_grad_() for value in model[1].parameters())
    config = TrainConfig(
        epochs=1, batch_size=50, lr=0.1, momentum=0.8, weight_decay=0.01, schedule="constant"
    )
    train(model, FEW, config, normalise=DIGITS.normalise)
    velocities = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for images, labels in batches(FEW, DIGITS.normalise, 50, generator=torch.Generator().manual_seed(0)):
        loss = F.cross_entropy(images.flatten(1) @ weight.T + bias, labels)
        gradients = torch.autograd.grad(loss, (weight, bias))
        with torch.no_grad():
            for value, velocity, gradient in zip((weight, bias), velocities, gradients):
                decayed = gradient + 0.01 * value
                velocity.mul_(0.8).add_(decayed)
                value -= 0.1 * (decayed + 0.8 * velocity)
    torch.testing.assert_close(model[1].weight, weight)
    torch.testing.assert_close(model[1].bias, bias)


def test_the_same_seed_gives_the_same_weights() -> None:
    assert equal(trained(), trained())
    assert not equal(trained(), trained(seed=1))


def test_the_callers_random_state_is_kept_and_dropout_follows_the_seed() -> None:
    def dropping() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))

    first = dropping()
    before = torch.get_rng_state()
    trained(model=first)
    assert torch.equal(torch.get_rng_state(), before)
    second = dropping()
    torch.manual_seed(99)
    assert equal(first, trained(model=second))


def test_modes_are_kept_and_gradients_dropped() -> None:
    model = network().eval()
    model[2].train()
    trained(model=model)
    assert [module.training for module in model.children()] == [False, False, True, False, False]
    assert all(value.grad is None for value in model.parameters())


def test_frozen_parameters_stay() -> None:
    model = network()
    model[1].weight.requires_grad_(False)
    before = model[1].weight.clone()
    trained(model=model)
    assert torch.equal(model[1].weight, before)
    with pytest.raises(ConfigError, match="nothing to train"):
        trained(model=model.requires_grad_(False))


def test_history_and_callbacks_agree_and_are_ready_for_json() -> None:
    records: list[EpochRecord] = []
    steps: list[tuple[int, int]] = []
    kept, held = DIGITS.hold_out(0.2)
    config = TrainConfig(epochs=3, batch_size=400, lr=0.05)
    history = train(
        network(),
        kept,
        config,
        normalise=DIGITS.normalise,
        validation=held,
        on_epoch=records.append,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert history.epochs == tuple(records)
    assert steps == [(step, 9) for step in range(1, 10)]
    assert [record.epoch for record in records] == [1, 2, 3]
    assert records[-1].loss < records[0].loss
    assert records[-1].lr == pytest.approx(config.lr * (1 + math.cos(math.pi * 8 / 9)) / 2)
    text = json.dumps(history.to_dict(), allow_nan=False)
    assert json.loads(text)["epochs"][2]["validation_accuracy"] == records[2].validation_accuracy
    assert TrainConfig(**{**json.loads(text)["config"], "milestones": config.milestones}) == config


def test_validation_never_influences_the_training() -> None:
    kept, held = DIGITS.hold_out(0.2)
    first, second = network(), network()
    config = TrainConfig(epochs=2, batch_size=64, lr=0.05)
    train(first, kept, config, normalise=DIGITS.normalise)
    train(second, kept, config, normalise=DIGITS.normalise, validation=held)
    assert equal(first, second)


def test_the_last_record_is_the_accuracy_of_the_model() -> None:
    kept, held = DIGITS.hold_out(0.2)
    model = network()
    history = train(
        model,
        kept,
        TrainConfig(epochs=1, batch_size=64, lr=0.05),
        normalise=DIGITS.normalise,
        validation=held,
    )
    assert history.epochs[0].validation_accuracy == evaluate(model, held, DIGITS.normalise).accuracy


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "lr": 1e-3},
        {"schedule": "step"},
        {"warmup_steps": 3},
        {"augment": "crop"},
        {"label_smoothing": 0.1},
        {"momentum": 0.0},
    ],
)
def test_every_setting_trains(changes: dict[str, Any]) -> None:
    model = trained(**{"epochs": 8, "batch_size": 16, **changes})
    assert evaluate(model, FEW, DIGITS.normalise).accuracy > 60


def test_label_smoothing_is_in_the_loss() -> None:
    losses = []
    for smoothing in (0.0, 0.3):
        config = TrainConfig(epochs=1, batch_size=1000, label_smoothing=smoothing, lr=0.05)
        losses.append(train(network(), FEW, config, normalise=DIGITS.normalise).epochs[0].loss)
    ((images, labels),) = batches(FEW, DIGITS.normalise, 1000)
    logits = network()(images)
    assert losses[0] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
    uniform = -F.log_softmax(logits, 1).mean().item()
    assert losses[1] == pytest.approx(0.7 * losses[0] + 0.3 * uniform, rel=1e-4)


def test_bfloat16_and_channels_last_train_a_resnet_and_keep_its_weights_float32() -> None:
    torch.manual_seed(0)
    model = resnet20(in_channels=1)
    config = TrainConfig(
        epochs=1, batch_size=32, precision="bfloat16", channels_last=True, augment="crop-flip", lr=0.05
    )
    history = train(model, FEW, config, normalise=DIGITS.normalise)
    assert math.isfinite(history.epochs[0].loss)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert model.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_double_precision_models_train_in_double_precision() -> None:
    assert {value.dtype for value in trained(model=network().double()).parameters()} == {torch.float64}


def test_a_given_optimizer_keeps_its_state_and_gets_its_rate_from_the_schedule() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=123.0, momentum=0.9)
    for value in model.parameters():
        optimizer.state[value]["momentum_buffer"] = torch.ones_like(value)
    before = model[4].bias.detach().clone()
    config = TrainConfig(epochs=1, batch_size=1000, lr=0.01, schedule="constant")
    train(model, FEW, config, normalise=DIGITS.normalise, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.01
    moved = (before - model[4].bias.detach()) / 0.01
    assert float(moved.min()) > 0.5  # the carried momentum of 0.9 outweighs the small gradient


def test_an_optimizer_of_another_model_is_refused() -> None:
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=r"does not hold 6 parameters of this model, such as 1\.weight"):
        train(
            network(), FEW, TrainConfig(batch_size=64, lr=0.05), normalise=DIGITS.normalise, optimizer=other
        )


class Exploding(nn.Module):
    """Gives infinite logits from its fifth call on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.linear(x.flatten(1))
        return logits * math.inf if self.calls == 5 else logits


def test_a_loss_that_is_not_finite_names_epoch_and_step_and_spares_the_weights() -> None:
    model = Exploding().eval()
    config = TrainConfig(epochs=9, batch_size=60, lr=0.05)
    with pytest.raises(
        ConfigError, match=r"loss became nan in epoch 2, step 2 of 3: lower the learning rate \(0\.05\)"
    ):
        train(model, FEW, config, normalise=DIGITS.normalise)
    assert all(bool(value.isfinite().all()) for value in model.parameters())
    assert not model.training


def test_a_rate_that_is_far_too_high_ends_in_the_same_error() -> None:
    torch.manual_seed(0)
    with pytest.raises(ConfigError, match="loss became"):
        train(lenet5(image_size=8), FEW, TrainConfig(lr=1e6, batch_size=64), normalise=DIGITS.normalise)


@pytest.mark.parametrize(("same", "sizes"), [(False, [54, 54, 53, 40, 40]), (True, [54, 54, 53, 27, 27, 26])])
def test_on_fewer_samples_batches_are_fewer_or_smaller(same: bool, sizes: list[int]) -> None:
    class Half(Random):
        def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
            return super().choose(model, epoch, epochs) if epoch else None

    model, seen, rates = network(), [], []
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    config = TrainConfig(epochs=2, batch_size=60, same_steps=same, lr=0.05)
    history = train(
        model,
        FEW,
        config,
        normalise=DIGITS.normalise,
        curriculum=Half(len(FEW), 0.5),
        on_step=lambda done, total: rates.append((done, total)),
    )
    assert seen == sizes and [epoch.samples for epoch in history.epochs] == [161, sum(sizes[3:])]
    assert rates[-1] == (6, 6) and len(rates) == len(sizes)


def test_labels_beyond_the_classes_are_named() -> None:
    with pytest.raises(DataError, match="num_classes=10"):
        train(lenet5(5, image_size=8), FEW, TrainConfig(batch_size=64, lr=0.05), normalise=DIGITS.normalise)


@pytest.mark.parametrize("found", [None, "good", torch.zeros(3), {"accuracy": 1.0}, [1.0], True])
def test_a_validation_that_says_no_number_is_told(found: Any) -> None:
    with pytest.raises(ConfigError, match="must say in one number how good the model is"):
        train(
            nn.Linear(2, 2),
            [(torch.zeros(2, 2), torch.zeros(2).long())],
            TrainConfig(epochs=1),
            validation=lambda model: found,
        )


def test_a_best_epoch_that_nothing_tells_is_the_last() -> None:
    """It was epoch 0."""
    config = TrainConfig(epochs=2, keep="best")
    batches = [(torch.zeros(2, 2), torch.zeros(2).long())]
    with pytest.warns(UserWarning, match="No epoch has a validation score that is a number"):
        assert train(nn.Linear(2, 2), batches, config, validation=lambda model: math.nan).kept == 2
    scores = iter([math.nan, 1.0])
    assert train(nn.Linear(2, 2), batches, config, validation=lambda model: next(scores)).kept == 2
    for one in (torch.ones(1), np.float32(1), torch.tensor(1.0), 1):
        assert train(nn.Linear(2, 2), batches, config, validation=lambda model, one=one: one).kept == 1
