"""Effect values and selection rules against their formulas, written out slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from prunus import selection
from prunus.errors import ConfigError
from prunus.selection import Selection, Subsets, aggregate

RNG = np.random.default_rng(2)


def example(count: int = 600) -> Subsets:
    return aggregate(RNG.integers(0, 3, count), RNG.standard_normal((count, 3)), subset_size=20)


def kept_subsets(chosen: Selection, subsets: Subsets) -> list[bool]:
    """Whether each subset is kept; fails where one is kept in part."""
    parts = [chosen.kept[subsets.members(s)] for s in range(len(subsets))]
    assert all(part.all() or not part.any() for part in parts)
    return [bool(part[0]) for part in parts]


def test_effect_values_are_their_formulas() -> None:
    logits, labels = torch.randn(50, 7) * 30, torch.randint(0, 7, (50,))
    for i in range(50):
        y, t = logits[i].double().tolist(), int(labels[i])
        top = max(y)
        entropy = math.log(sum(math.exp(v - top) for v in y)) + top - y[t]
        assert selection.cross_entropy(logits, labels)[i].item() == pytest.approx(entropy, abs=1e-4)
        assert selection.margin(logits, labels)[i].item() == pytest.approx(top - y[t], abs=1e-4)
        assert selection.doubt(logits, labels)[i].item() == pytest.approx(1 - math.exp(-entropy), abs=1e-5)
    assert torch.allclose(
        selection.cross_entropy(logits, labels),
        torch.nn.functional.cross_entropy(logits, labels, reduction="none"),
        atol=1e-4,
    )
    assert selection.cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([1])).item() == pytest.approx(
        2e4
    )


def test_the_two_bounds() -> None:
    subsets = example()
    effects = RNG.exponential(1.0, len(subsets))
    fine = RNG.exponential(1.0, len(subsets.fine) - 1)
    asked = []

    def look(points: np.ndarray) -> np.ndarray:
        asked.append(points)
        return fine[points]

    chosen = selection.critical(effects, subsets, look)
    upper = sum(effects) / len(effects)
    undecided = [s for s in range(len(subsets)) if upper / 5 <= effects[s] < upper]
    points = [f for s in undecided for f in range(subsets.coarse[s], subsets.coarse[s + 1])]
    bar = sum(fine[f] for f in points) / len(points)
    wanted = set()
    for s in range(len(subsets)):
        if effects[s] >= upper:
            wanted |= set(subsets.members(s).tolist())
        elif s in undecided:
            for f in range(subsets.coarse[s], subsets.coarse[s + 1]):
                wanted |= (
                    set(subsets.order[subsets.fine[f] : subsets.fine[f + 1]].tolist())
                    if fine[f] >= bar
                    else set()
                )
    assert set(chosen.indices.tolist()) == wanted
    assert len(asked) == 1 and asked[0].tolist() == points
    assert chosen.fraction == len(wanted) / 600


def test_nothing_to_learn_keeps_everything_and_equal_effects_too() -> None:
    subsets = example()
    for effects in (np.zeros(len(subsets)), np.ones(len(subsets)), np.full(len(subsets), np.nan)):
        assert selection.critical(effects, subsets, lambda points: np.zeros(len(points))).kept.all()


def test_slimml_rules() -> None:
    subsets = example()
    effects = RNG.exponential(1.0, len(subsets))
    count = len(effects)
    ascending = sorted(range(count), key=lambda s: effects[s])
    gone = set(ascending[: int(0.4 * count)])
    assert kept_subsets(selection.fixed_ratio(effects, subsets, 0.4), subsets) == [
        s not in gone for s in range(count)
    ]
    assert kept_subsets(selection.mean_division(effects, subsets, 0.7), subsets) == [
        e >= 0.7 * effects.mean() for e in effects
    ]
    inner = sum(effects[s] for s in ascending[: count - int(0.05 * count)])
    gone, running = set(), 0.0
    for s in ascending:
        running += effects[s]
        if running < 0.3 * inner:
            gone.add(s)
    assert kept_subsets(selection.area(effects, subsets, 0.3), subsets) == [
        s not in gone for s in range(count)
    ]


def test_a_rule_that_would_keep_nothing_keeps_the_largest_effects() -> None:
    subsets = example()
    effects = RNG.exponential(1.0, len(subsets))
    kept = kept_subsets(selection.fixed_ratio(effects, subsets, 1.0), subsets)
    assert sum(kept) == round(0.1 * len(effects)) and min(effects[kept]) >= max(effects[~np.array(kept)])


def test_easy_samples_go_by_chance_and_the_rest_weighs_more() -> None:
    losses = np.r_[np.zeros(5000), np.full(5000, 4.0), [np.inf]]
    chosen = selection.easy_dropped(losses, 0.4, np.random.default_rng(0))
    assert chosen.kept[5000:].all() and 0.57 < chosen.kept[:5000].mean() < 0.63
    assert chosen.weights is not None
    assert (chosen.weights[5000:] == 1).all()
    assert np.allclose(chosen.weights[:5000][chosen.kept[:5000]], 1 / 0.6)
    assert chosen.weights[:5000][chosen.kept[:5000]].sum() == pytest.approx(5000, rel=0.05)
    assert selection.easy_dropped(np.full(10, np.inf), 0.4, np.random.default_rng(0)).kept.all()


def test_chance_keeps_as_many_as_asked() -> None:
    chosen = selection.at_random(1000, 0.25, np.random.default_rng(3))
    assert chosen.kept.sum() == 250 and chosen.indices.tolist() == sorted(chosen.indices.tolist())


def test_the_guard_leaves_no_class_behind() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    chosen = Selection(labels == 0)
    safe = selection.guarded(chosen, labels, 0.2, np.random.default_rng(0))
    assert [int(safe.kept[labels == k].sum()) for k in range(3)] == [100, 10, 2]


def test_bad_input_is_named() -> None:
    subsets = example()
    with pytest.raises(ConfigError, match="effect values of shape"):
        selection.mean_division(np.zeros(3), subsets)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        selection.fixed_ratio(np.zeros(len(subsets)), subsets, 1.2)
    with pytest.raises(ConfigError, match="probability"):
        selection.easy_dropped(np.zeros(3), 1.0, np.random.default_rng(0))


def test_every_cluster_is_represented_by_the_sample_nearest_its_mean() -> None:
    """Three well separated heaps per class: with three clusters, each heap keeps the sample nearest its own
    mean.
    """
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 50, (2, 3, 4))
    heap = np.repeat(np.arange(6), 20)
    features = centres.reshape(6, 4)[heap] + rng.normal(0, 1, (120, 4))
    order = rng.permutation(120)
    features, heap = features[order], heap[order]
    kept = selection.representatives(features, heap // 3, keep=3 / 60).kept
    wanted = set()
    for h in range(6):
        members = [i for i in range(120) if heap[i] == h]
        mean = sum(features[i] for i in members) / len(members)
        wanted.add(min(members, key=lambda i: float(((features[i] - mean) ** 2).sum())))
    assert set(np.flatnonzero(kept)) == wanted
    assert selection.representatives(features, heap, keep=1.0).kept.all()
    assert selection.representatives(features[:1], heap[:1], keep=0.1).kept.all()
    with pytest.raises(ConfigError, match="a part above 0"):
        selection.representatives(features, heap, keep=0.0)
