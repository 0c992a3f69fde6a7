"""Curricula: what an epoch trains on, by a slow re-implementation, through warm-up, annealing, checkpoints
and a training.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import load
from prunus.errors import ConfigError
from prunus.selection import (
    Aggregated,
    EasyDropped,
    Forgetting,
    Points,
    Random,
    Scheduled,
    Selection,
    Static,
    Subsets,
    aggregate,
    critical,
    el2n,
    fixed_ratio,
    gradient_norm,
    principal_components,
)
from prunus.training import TrainConfig, train

DIGITS = load("digits")
SPLIT = DIGITS.train.subset(torch.arange(0, 1442, 3))
LABELS = SPLIT.labels.numpy()


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
    ).eval()


def subsets() -> Subsets:
    return aggregate(LABELS, principal_components(SPLIT.images.numpy(), 4), subset_size=12)


def points() -> Points:
    return Points(SPLIT.images, subsets(), DIGITS.normalise)


def test_the_two_bound_rule_keeps_what_the_network_does_not_know() -> None:
    model = network()
    train(model, SPLIT, TrainConfig(epochs=3, lr=0.1, batch_size=64), normalise=DIGITS.normalise)
    selection = Aggregated(points(), critical).choose(model.eval(), 0, 1)
    assert selection is not None and 0.05 < selection.fraction < 0.8
    images, labels = (SPLIT.images.float() / 255 - DIGITS.mean[0]) / DIGITS.std[0], SPLIT.labels
    losses = F.cross_entropy(model(images), labels, reduction="none").detach().numpy()
    assert losses[selection.kept].mean() > 2 * losses[~selection.kept].mean()


class Counting:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.seen = 0

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        self.asked.append(epoch)
        return Selection(LABELS == 3)

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        self.seen += len(samples)

    def state(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def restore(self, state: Any) -> None:
        self.asked = state["asked"]


def test_warm_up_and_annealing_see_all_and_every_class_keeps_its_part() -> None:
    inner, kept = Counting(), dict[int, Selection]()
    curriculum = Scheduled(inner, LABELS, warmup=2, annealing=0.3, least=0.2, keep_record=kept.__setitem__)
    history = train(
        network(),
        SPLIT,
        TrainConfig(epochs=10, batch_size=64, lr=0.05),
        normalise=DIGITS.normalise,
        curriculum=curriculum,
    )
    assert inner.asked == [2, 3, 4, 5, 6] == list(kept)
    for selection in kept.values():
        counts = np.bincount(LABELS[selection.kept], minlength=10)
        total = np.bincount(LABELS, minlength=10)
        assert (counts == np.where(np.arange(10) == 3, total, np.ceil(0.2 * total))).all()
    sizes = [len(SPLIT)] * 2 + [int(s.kept.sum()) for s in kept.values()] + [len(SPLIT)] * 3
    assert [epoch.samples for epoch in history.epochs] == sizes
    assert inner.seen == sum(sizes)
    assert (kept[2].kept != kept[3].kept).any()  # what is added is another draw every epoch


def test_weights_multiply_the_loss_of_their_samples() -> None:
    class Weighted(Counting):
        def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
            return Selection(np.arange(len(LABELS)) < 20, np.linspace(0, 2, len(LABELS), dtype=np.float32))

    model, twin = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    config = TrainConfig(epochs=1, batch_size=20, lr=0.1, momentum=0, weight_decay=0, schedule="constant")
    train(model, SPLIT, config, normalise=DIGITS.normalise, curriculum=Weighted())
    images = (SPLIT.images[:20].float() / 255 - DIGITS.mean[0]) / DIGITS.std[0]
    weights = torch.linspace(0, 2, len(LABELS))[:20]
    loss = (F.cross_entropy(twin(images), SPLIT.labels[:20], reduction="none") * weights).sum() / 20
    loss.backward()
    for mine, other in zip(model.parameters(), twin.parameters()):
        assert other.grad is not None
        torch.testing.assert_close(mine, other - 0.1 * other.grad)


def test_points_are_scored_only_every_so_many_epochs() -> None:
    curriculum = Aggregated(points(), lambda e, s, fine: fixed_ratio(e, s, 0.5), every=3)
    chosen = [curriculum.choose(network(seed), seed, 9) for seed in range(4)]
    assert chosen[0] is chosen[1] is chosen[2] is not chosen[3]


def test_easy_samples_go_by_chance_and_unseen_ones_stay() -> None:
    curriculum = EasyDropped(100, drop=0.5, seed=1)
    first = curriculum.choose(network(), 0, 5)
    assert first is not None and first.kept.all()
    curriculum.observe(
        torch.arange(50), torch.where(torch.arange(50) < 40, 0.1, 2.0), torch.ones(50, dtype=torch.bool)
    )
    second = curriculum.choose(network(), 1, 5)
    assert second is not None and second.weights is not None
    assert second.kept[40:].all() and 8 < second.kept[:40].sum() < 32
    assert set(second.weights[:40][second.kept[:40]]) == {2.0}


def test_controls_keep_what_they_say() -> None:
    first, second = (Random(200, 0.3, seed=0).choose(network(), epoch, 5) for epoch in (0, 1))
    assert (
        first is not None
        and second is not None
        and first.kept.sum() == second.kept.sum() == 60
        and (first.kept != second.kept).any()
    )
    static = Static([0.1, 0.9, 0.5, 0.7], 0.5).choose(network(), 0, 5)
    assert static is not None and static.kept.tolist() == [False, True, False, True]
    with pytest.raises(ConfigError, match="above 0"):
        Static([1.0], 0.0)


@pytest.mark.parametrize(
    "make",
    [
        # the choice of epoch 1 stands in epoch 2
        lambda: Scheduled(Aggregated(points(), critical, every=3), LABELS, warmup=1, least=0.1),
        lambda: Scheduled(EasyDropped(len(SPLIT), 0.6), LABELS, annealing=0.25),
        lambda: Random(len(SPLIT), 0.4),
    ],
)
def test_a_resumed_curriculum_goes_on_as_it_would_have(make: partial[Any], tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def run(stop: int, path: Path | None) -> nn.Module:
        model, steps = network(), iter(range(10**6))

        def count(done: int, total: int) -> None:
            if next(steps) == stop:
                raise StopError

        kept: dict[str, Any] = {"checkpoint": path, "checkpoint_seconds": 0.0, "resume": True}
        train(
            model,
            SPLIT,
            TrainConfig(epochs=4, batch_size=64, lr=0.05),
            normalise=DIGITS.normalise,
            curriculum=make(),
            on_step=count,
            **kept,
        )
        return model

    whole, path = run(-1, None), tmp_path / "checkpoint"
    for stop in (3, 4, 2):
        with pytest.raises(StopError):
            run(stop, path)
    theirs = run(-1, path).state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="warmup is a number of epochs"):
        Scheduled(Random(5, 0.5), LABELS, annealing=1.5)
    with pytest.raises(ConfigError, match="every so many epochs"):
        Aggregated(points(), critical, every=0)


def test_forgetting_events_are_counted_one_by_one() -> None:
    rng, curriculum = np.random.default_rng(0), Forgetting(20)
    seen: list[list[bool]] = [[] for _ in range(20)]
    for _ in range(30):
        batch = rng.permutation(20)[:8]
        right = rng.random(8) < 0.4
        curriculum.observe(torch.from_numpy(batch), torch.zeros(8), torch.from_numpy(right))
        for sample, outcome in zip(batch, right):
            seen[sample].append(bool(outcome))
    wanted = [sum(a and not b for a, b in pairwise(row)) if any(row) else np.inf for row in seen]
    assert curriculum.events.tolist() == wanted
    other = Forgetting(20)
    other.restore(curriculum.state())
    assert other.events.tolist() == wanted and other.choose(network(), 0, 1) is None


def test_the_gradient_norm_is_that_of_each_point_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 10)
    ).eval()
    images, labels = torch.randn(5, 1, 8, 8), torch.arange(5)
    found = gradient_norm(model, images, labels)
    for i in range(5):
        model.zero_grad()
        F.cross_entropy(model(images[i : i + 1]), labels[i : i + 1]).backward()
        assert float(found[i]) == pytest.approx(float(model[0].weight.grad.square().sum()), rel=1e-4)
    scored = Points(SPLIT.images, subsets(), DIGITS.normalise, effect=gradient_norm)
    assert (scored.coarse_effects(model) > 0).all()
    with pytest.raises(ConfigError, match="needs a plain convolution"):
        gradient_norm(network(), images, labels)


def test_el2n_is_the_distance_from_the_label() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    for value, row, label in zip(el2n(logits, labels), logits, labels):
        e = [math.exp(float(v)) for v in row]
        wanted = math.sqrt(sum((e[k] / sum(e) - (k == int(label))) ** 2 for k in range(4)))
        assert float(value) == pytest.approx(wanted, rel=1e-5)


def test_a_class_that_must_keep_more_weighs_as_much_as_before() -> None:
    curriculum = EasyDropped(len(SPLIT), drop=0.8, seed=1)
    curriculum.observe(
        torch.arange(len(SPLIT)),
        torch.where(SPLIT.labels == 3, 0.1, 2.0),
        torch.ones(len(SPLIT), dtype=torch.bool),
    )
    bare = curriculum.choose(network(), 1, 5)
    more = Scheduled(curriculum, LABELS, least=0.7).choose(network(), 1, 5)
    assert bare is not None and more is not None and bare.weights is not None and more.weights is not None
    three = LABELS == 3
    assert bare.kept[three].mean() < 0.4 and more.kept[three].mean() >= 0.7
    assert more.weights[three & more.kept].sum() == pytest.approx(
        bare.weights[three & bare.kept].sum(), rel=1e-5
    )
    assert (more.weights[~three] == bare.weights[~three]).all()


def test_a_curriculum_that_chooses_nothing_is_told() -> None:
    class Nothing(Counting):
        def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
            return Selection(np.zeros(len(LABELS), dtype=bool))

    with pytest.raises(ConfigError, match="chose no sample for epoch 1"):
        train(
            network(),
            SPLIT,
            TrainConfig(epochs=1, batch_size=64, lr=0.05),
            normalise=DIGITS.normalise,
            curriculum=Nothing(),
        )
