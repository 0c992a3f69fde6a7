"""A teacher's loss against its formula, and a training with a teacher."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from prunus import data, models
from prunus.training import Taught, TrainConfig, evaluate, taught, train


def softened(logits: list[float], temperature: float) -> list[float]:
    weights = [math.exp(logit / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize(("temperature", "share"), [(4.0, 0.9), (1.0, 0.7)])
def test_the_loss_is_that_of_the_paper(temperature: float, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(5, 2, 4, generator=generator) * 3, torch.tensor([0, 3, 1, 2, 2])
    for (own, other), label, found in zip(
        outputs.tolist(), labels.tolist(), taught(outputs, labels, temperature, share).tolist()
    ):
        mine, theirs = softened(own, temperature), softened(other, temperature)
        apart = sum(q * math.log(q / p) for p, q in zip(mine, theirs))
        right = -math.log(softened(own, 1.0)[label])
        assert found == pytest.approx(share * temperature**2 * apart + (1 - share) * right, rel=1e-4)


def test_the_usual_loss_is_mostly_that_of_the_teacher() -> None:
    outputs, labels = torch.randn(5, 2, 4), torch.tensor([0, 3, 1, 2, 2])
    assert torch.equal(taught(outputs, labels), taught(outputs, labels, 4.0, 0.9))
    assert float(taught(outputs[:, :1].expand(-1, 2, -1), labels).mean()) == pytest.approx(
        0.1 * float(torch.nn.functional.cross_entropy(outputs[:, 0], labels)), rel=1e-4
    )


def test_the_teacher_stays_and_the_network_learns() -> None:
    digits = data.load("digits")
    torch.manual_seed(0)
    teacher, small = models.lenet5(image_size=8), models.lenet5(image_size=8)
    train(teacher, digits.train, TrainConfig(epochs=4, batch_size=64, lr=0.05), normalise=digits.normalise)
    before = copy.deepcopy(teacher.state_dict())
    pair = Taught(small, teacher)
    history = train(
        pair,
        digits.train,
        TrainConfig(epochs=4, batch_size=64, lr=0.05),
        normalise=digits.normalise,
        loss=taught,
        validation=digits.test,
    )
    assert all(torch.equal(value, before[name]) for name, value in pair.teacher.state_dict().items())
    assert not any(parameter.requires_grad for parameter in pair.teacher.parameters())
    accuracy = evaluate(small, digits.test, digits.normalise).accuracy
    # validation asks the network alone
    assert accuracy > 85 and history.epochs[-1].validation_accuracy == pytest.approx(accuracy)
