"""Bounds from paired samples, and how often they hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from prunus._foundation.confidence import Rows, check_provable, judged, value_of
from prunus.errors import TargetError


def test_the_bound_is_that_of_a_paired_test() -> None:
    before = torch.tensor([100.0, 100, 100, 0, 100, 0, 100, 100])
    after = torch.tensor([100.0, 0, 100, 100, 100, 0, 0, 100])
    value, lowest = judged(before, after, 0.9)
    lost = [0.0, 100, 0, -100, 0, 0, 100, 0]
    mean = sum(lost) / 8
    deviation = math.sqrt(sum((x - mean) ** 2 for x in lost) / 7)
    assert value == pytest.approx(62.5)
    unseen = 5 / 8 * 100 * (1 - 0.1 ** (1 / 8))  # five of the eight agree
    student = 1.414924  # of 7 degrees of freedom at 90 %, from a table
    assert lowest == pytest.approx(
        75 - mean - math.sqrt((student * deviation / math.sqrt(8)) ** 2 + unseen**2)
    )
    assert judged(before, after, 0.5)[1] == pytest.approx(62.5)
    assert judged(90.0, 88.0, 0.99) == (88.0, 88.0)


@pytest.mark.parametrize("count", [1, 12, 50, 1000])
def test_samples_that_agree_prove_no_more_than_the_rule_of_three(count: int) -> None:
    """All of `count` samples agree with a chance of (1 - q)^count where a share q of all others is lost."""
    same = torch.full((count,), 100.0)
    value, lowest = judged(same, same.clone(), 0.95)
    assert value == 100
    if count == 1:
        assert lowest == -math.inf
    else:
        assert (lowest / 100) ** count == pytest.approx(0.05)


def intersection_over_union(each: Sequence[Tensor]) -> float:
    both, either = torch.stack(list(each)).sum(0).tolist()
    return 100 * both / either


def pictures(count: int, loss: float, draw: torch.Generator) -> tuple[Rows, Rows]:
    """Intersections and unions of pictures of very different sizes, of a network and of one that finds a
    share `loss` less of each.
    """
    union = 50 + 400 * torch.rand(count, generator=draw)
    before = union * (0.7 + 0.2 * torch.rand(count, generator=draw))
    after = before * (1 - loss * 2 * torch.rand(count, generator=draw))
    return tuple(
        Rows(list(torch.stack([both, union], 1)), intersection_over_union) for both in (before, after)
    )  # type: ignore[return-value]


@pytest.mark.parametrize("count", [8, 40])
def test_the_bound_of_a_metric_that_is_no_mean_holds_as_often_as_it_says(count: int) -> None:
    draw, wrong, rounds = torch.Generator().manual_seed(0), 0, 60
    true = intersection_over_union(pictures(100_000, 0.05, draw)[0].each) - intersection_over_union(
        pictures(100_000, 0.05, draw)[1].each
    )
    for _ in range(rounds):
        before, after = pictures(count, 0.05, draw)
        value, lowest = judged(before, after, 0.9)
        assert value == pytest.approx(intersection_over_union(after.each)) and lowest < value + 1e-9
        wrong += intersection_over_union(before.each) - lowest < true
    assert 0.03 < wrong / rounds < 0.17


def test_rows_that_agree_prove_no_more_than_the_rule_of_three() -> None:
    before, _ = pictures(12, 0.0, torch.Generator().manual_seed(0))
    value, lowest = judged(before, before, 0.95)
    assert value - lowest == pytest.approx(100 * (1 - 0.05 ** (1 / 12)))
    assert judged(before, before, 0.5) == (value, value)
    with pytest.raises(TargetError, match="rows of 12 samples for one model and of 8 for another"):
        judged(before, pictures(8, 0.0, torch.Generator())[0], 0.9)
    with pytest.raises(TargetError, match="a single number for another"):
        judged(before, 70.0, 0.9)


@pytest.mark.parametrize("lost", [1, 3, 10])
def test_few_losses_are_bounded_nearly_as_exactly(lost: int) -> None:
    """Beside the exact bound of Clopper and Pearson: the share q for which at most `lost` of 100 samples are
    lost with a chance of 5 %.
    """
    from scipy.stats import binom

    before, after = torch.full((100,), 100.0), torch.full((100,), 100.0)
    after[:lost] = 0
    shares = np.linspace(0, 1, 10_001)
    exact = float(shares[binom.cdf(lost, 100, shares) <= 0.05].min())
    assert judged(before, after, 0.95)[1] == pytest.approx(100 * (1 - exact), abs=1.0)


def test_a_metric_of_small_numbers_has_small_doubts() -> None:
    same = torch.full((12,), -0.02)
    value, lowest = judged(same, same.clone(), 0.95)
    assert value - lowest == pytest.approx(0.02 * (1 - 0.05 ** (1 / 12)))


def test_the_bound_holds_as_often_as_it_says() -> None:
    draw = torch.Generator().manual_seed(0)
    loss, wrong = 3.0, 0
    for _ in range(2000):
        change = torch.rand(400, generator=draw)
        before = torch.full((400,), 100.0)
        after = torch.where(change < 0.05, 0.0, 100.0)
        before[(change > 0.05) & (change < 0.07)] = 0  # the other way round: 5 % lost, 2 % won
        _, lowest = judged(before, after, 0.9)
        wrong += bool(float(before.mean()) - lowest < loss)
    assert 0.07 < wrong / 2000 < 0.13


@pytest.mark.parametrize(
    "baseline", [torch.tensor([1.0, torch.inf, 2.0]), torch.full((9,), torch.inf), math.inf]
)
def test_infinite_points_are_told(baseline: Any) -> None:
    """A search divided by zero, or accepted nothing."""
    for compare in (lambda: check_provable(baseline, 5.0, 0.95), lambda: judged(baseline, baseline, 0.95)):
        with pytest.raises(TargetError, match="is infinite, so nobody can say how much of it is lost"):
            compare()
    found = torch.tensor([1.0, -torch.inf, 2.0])
    assert not judged(torch.ones(3), found, 0.95)[1] >= -1e9  # a trial that is ruined is only refused


def area(each: Sequence[tuple[float, int]]) -> float:
    """That under the curve of hits against false alarms [percent]; no number where all are of one class."""
    hits = [score for score, label in each if label]
    others = [score for score, label in each if not label]
    if not hits or not others:
        return math.nan
    return 100.0 * sum((a > b) + (a == b) / 2 for a in hits for b in others) / (len(hits) * len(others))


def scored(rare: int, noise: float, points: Any = area) -> Rows:
    draw = np.random.default_rng(0)
    labels = [int(place < rare) for place in range(100)]
    scores = [label + noise * float(draw.normal()) for label in labels]
    return Rows(list(zip(scores, labels)), points)


def test_draws_on_which_a_metric_is_no_number_are_left_out() -> None:
    """A class of two in a hundred samples is not in every eighth draw: no trial was ever accepted."""
    before, after = scored(2, 0.4), scored(2, 0.5)
    value, lowest = judged(before, after, 0.95)
    assert value == area(after.each) and 0 < lowest < value

    def failing(each: Sequence[Any]) -> float:
        found = area(each)
        if math.isnan(found):
            raise ValueError("Only one class is present.")  # as scikit-learn's had it for long
        return found

    assert judged(scored(2, 0.4, failing), scored(2, 0.5, failing), 0.95) == (value, lowest)


def test_a_metric_of_hardly_any_draw_is_told() -> None:
    often = Rows(list(range(9)), lambda each: 1.0 if len(set(each)) > 8 else math.nan)
    with pytest.raises(TargetError, match="no number for most draws"):
        judged(often, often, 0.95)


def test_a_trial_without_a_number_is_the_worst_that_there_is() -> None:
    """A search ended in an error where one of its networks gave outputs that were all one."""
    fine = Rows([1.0, 2.0], lambda each: float(np.mean(each)))
    pairs: list[tuple[Any, Any]] = [(1.0, math.nan), (torch.ones(2), torch.tensor([1.0, math.nan]))]
    for baseline, found in (*pairs, (fine, Rows([1, 2], lambda _: math.nan))):
        value, lowest = judged(baseline, found, 0.9)
        assert math.isnan(value) and lowest == -math.inf
        with pytest.raises(TargetError, match="not a number"):
            value_of(found)


@pytest.mark.parametrize(
    "each",
    [
        [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
        [(torch.ones(3), torch.zeros(2)), (torch.ones(3), torch.ones(2))],
        [{"boxes": torch.ones(2, 4)}, {"boxes": torch.zeros(0, 4)}],
        [[np.ones(2), {"a": (1, "b")}], [np.ones(2), {"a": (2, "b")}]],
    ],
    ids=["arrays", "tuples", "dictionaries", "nests"],
)
def test_entries_may_be_of_any_containers(each: list[Any]) -> None:
    """It was torch's or NumPy's error about the truth of several values."""
    rows = Rows(each, lambda chosen: float(len(chosen)))
    value, lowest = judged(rows, Rows([each[0], each[0]], rows.points), 0.9)
    assert value == 2.0 and lowest < 2.0 and lowest > judged(rows, rows, 0.9)[1]


@pytest.mark.parametrize("points", [None, "good", [1.0], torch.zeros(2, 2)])
def test_points_that_are_none_are_told(points: Any) -> None:
    with pytest.raises(TargetError, match="must return a number"):
        value_of(Rows([1, 2], lambda _: points))


@pytest.mark.parametrize("loss", [0.0, 0.25, 40.0, 100.0])
def test_samples_that_lose_the_same_prove_as_little_as_those_that_agree(loss: float) -> None:
    """A spread of zero is no certainty; each of the others has what is left of its points to lose."""
    before = torch.full((12,), 100.0)
    value, lowest = judged(before, before - loss, 0.95)
    assert value == pytest.approx(100 - loss)
    assert value - lowest == pytest.approx((100 - loss) * (1 - 0.05 ** (1 / 12)))


@pytest.mark.parametrize("tolerance", [0.5, 1.0])
def test_a_tolerance_in_points_of_a_hundred_for_shares_of_one_is_told(tolerance: float) -> None:
    """Half of all samples may be lost then."""
    shares = torch.ones(100).double()
    with pytest.warns(
        UserWarning, match=f"from 0 to 1, and a tolerance has its unit: {tolerance:g} of 1 may"
    ):
        check_provable(shares, tolerance, 0.95)
    check_provable(shares, 0.05, 0.95)
    check_provable(100 * shares, 5.0, 0.95)
    check_provable(torch.zeros(100), tolerance, 0.95)
