"""Rules by the last loss of every sample, against slow re-implementations."""

from __future__ import annotations

import numpy as np
import pytest

from prunus.errors import ConfigError
from prunus.selection import batchwise_largest, importance_sampled, lower_bound, sliding_window
from prunus.selection.losses import loss_groups

RNG = np.random.default_rng(5)


def losses(count: int, unseen: int = 0) -> np.ndarray:
    found = RNG.exponential(1.0, count)
    found[RNG.permutation(count)[:unseen]] = np.inf
    return found


@pytest.mark.parametrize("unseen", [0, 7])
def test_below_a_fifth_of_the_mean_a_sample_goes(unseen: int) -> None:
    values = losses(200, unseen)
    known = [value for value in values if value != np.inf]
    mean = sum(known) / len(known)
    wanted = [value == np.inf or value >= mean / 5 for value in values]
    chosen = lower_bound(values)
    assert chosen.kept.tolist() == wanted and chosen.weights is None
    assert 0.7 < chosen.fraction < 0.9


def test_the_bound_never_leaves_nothing_and_knows_nothing_of_the_unseen() -> None:
    assert lower_bound([0.0, 0.0]).kept.all()
    assert lower_bound([np.inf, np.inf]).kept.all()
    assert lower_bound([1.0, 1.0], 1.0).kept.all()
    with pytest.raises(ConfigError, match=r"from 0 to 1, not 1\.5"):
        lower_bound([1.0], 1.5)
    with pytest.raises(ConfigError, match="a number, or infinite"):
        lower_bound([1.0, np.nan])


def test_the_mean_gradient_of_drawn_samples_is_that_of_all() -> None:
    """The weighted sum over what is drawn, per sample that is drawn, is on average the mean over all."""
    values, gradients = losses(60), RNG.standard_normal(60)
    total, drawn = 0.0, 0
    for seed in range(4000):
        chosen = importance_sampled(values, 0.4, np.random.default_rng(seed))
        assert chosen.weights is not None
        total += sum(float(chosen.weights[i]) * gradients[i] for i in range(60) if chosen.kept[i])
        drawn += int(chosen.kept.sum())
    assert drawn / 4000 == pytest.approx(0.4 * 60, rel=0.01)
    assert total / 4000 / (0.4 * 60) == pytest.approx(gradients.mean(), abs=0.02)


def test_samples_are_drawn_in_proportion_to_their_loss_and_some_evenness() -> None:
    values = np.array([1.0, 2.0, 3.0, 2.0] * 50)
    chances = 0.25 * (0.8 * values / values.mean() + 0.2)
    counts = sum(
        importance_sampled(values, 0.25, np.random.default_rng(s)).kept.astype(int) for s in range(3000)
    )
    np.testing.assert_allclose(counts / 3000, chances, atol=0.04)
    chosen = importance_sampled(values, 0.25, np.random.default_rng(0))
    assert chosen.weights is not None
    np.testing.assert_allclose(chosen.weights[chosen.kept], (0.25 / chances)[chosen.kept], rtol=1e-5)


def test_a_sample_that_is_drawn_for_certain_leaves_the_rest_to_the_others() -> None:
    values = np.array([1000.0] + [1.0] * 99)
    kept = [importance_sampled(values, 0.5, np.random.default_rng(s)).kept for s in range(400)]
    assert all(one[0] for one in kept)
    assert np.mean([one.sum() for one in kept]) == pytest.approx(50, abs=1)
    assert importance_sampled([0.0, 0.0], 1.0, np.random.default_rng(0)).kept.all()
    assert importance_sampled([np.inf, 1.0], 1.0, np.random.default_rng(0)).kept.all()


def test_losses_are_grouped_by_the_nearest_mean() -> None:
    values = np.concatenate([RNG.normal(at, 0.05, 40) for at in (0.0, 1.0, 3.0)])
    group = loss_groups(values, 3)
    assert [sorted(group[40 * i : 40 * i + 40].tolist()) for i in range(3)] == [[i] * 40 for i in range(3)]
    for many in (2, 5, 10):
        group, values = loss_groups(losses := RNG.exponential(1.0, 300), many), losses
        centres = {g: values[group == g].mean() for g in set(group.tolist())}
        for value, mine in zip(values, group, strict=True):
            nearest = min(centres, key=lambda g: abs(value - centres[g]))
            assert abs(value - centres[nearest]) == pytest.approx(abs(value - centres[int(mine)]), abs=1e-9)


def test_the_window_slides_from_easy_to_hard_and_begins_anew() -> None:
    values = losses(500)
    group = loss_groups(values, 10)
    for turn in range(14):
        chosen = sliding_window(values, turn, np.random.default_rng(turn), thin=0.0, groups=10, width=0.7)
        first = turn % 4
        inside = np.ones(500, bool) if turn == 0 else (group >= first) & (group < first + 7)
        assert (chosen.kept == inside).all()
    thinned = sliding_window(values, 0, np.random.default_rng(0), thin=0.2)
    assert thinned.kept.sum() == 400
    assert sliding_window([np.inf] * 10, 3, np.random.default_rng(0), thin=0.5).kept.sum() == 5
    with pytest.raises(ConfigError, match="above 0 and up to 1, not 0"):
        sliding_window(values, 0, np.random.default_rng(0), width=0.0)


def test_of_every_batch_the_largest_losses_stay() -> None:
    values = losses(100)
    chosen = batchwise_largest(values, 0.5, 20, np.random.default_rng(3))
    order = np.random.default_rng(3).permutation(100)
    for start in range(0, 100, 20):
        part = sorted(order[start : start + 20], key=lambda i: values[i])
        assert not chosen.kept[part[:10]].any() and chosen.kept[part[10:]].all()
    assert chosen.weights is None
    assert batchwise_largest(values, 0.001, 1000, np.random.default_rng(0)).kept.sum() == 1
