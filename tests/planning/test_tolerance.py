"""The tolerance: bounds from paired samples, and how often they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus._foundation.confidence import Rows, judged
from prunus.errors import TargetError
from prunus.planning.tolerance import all_within


def test_what_no_number_of_agreeing_samples_can_prove_is_said_before_anything_is_tried() -> None:
    graph, asked = prunus.trace(model(), torch.zeros(1, 3, 4, 4)), []

    def points(network: nn.Module) -> Tensor:
        asked.append(network)
        return torch.full((40,), 100.0)

    with pytest.raises(
        TargetError,
        match=(
            r"on 40 held-out samples, even if all agree: that takes 59 that agree, or a tolerance of 7\.3"
            r" points"
        ),
    ):
        prunus.plan(graph, torch.arange(20.0), tolerance=5.0, evaluate=points)
    assert len(asked) == 1
    assert 100 * (1 - 0.05 ** (1 / 59)) <= 5.0 < 100 * (1 - 0.05 ** (1 / 58))


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


def test_several_metrics_with_rows_are_one_with_rows() -> None:
    before, after = pictures(20, 0.05, torch.Generator().manual_seed(1))

    def evaluate(network: nn.Module) -> dict[str, Rows]:
        found = before if network is original else after
        return {"IoU": found, "half": Rows(found.each, lambda each: intersection_over_union(each) / 2)}

    original, other = model(), model()
    left: Any = all_within(original, evaluate, {"IoU": 4.0, "half": 1.0})
    lost = intersection_over_union(before.each) - intersection_over_union(after.each)
    value, lowest = judged(left(original), left(other), 0.9)
    assert value == pytest.approx(1 - max(lost / 4, lost / 2 / 1))
    alone = judged(
        Rows(before.each, lambda each: intersection_over_union(each) / 2),
        Rows(after.each, lambda each: intersection_over_union(each) / 2),
        0.9,
    )
    assert 1 - lowest == pytest.approx(intersection_over_union(before.each) / 2 - alone[1], rel=1e-6)


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 20, 1), nn.ReLU(), nn.Conv2d(20, 2, 1))


def test_fewer_samples_let_less_go() -> None:
    graph = prunus.trace(model(), torch.zeros(1, 3, 4, 4))

    def evaluate(samples: int):  # type: ignore[no-untyped-def]
        def points(network: Any) -> Tensor:
            lost = (20 - network[0].out_channels) / 20
            return torch.where(torch.arange(samples) < samples * 0.1 * lost, 0.0, 100.0)

        return points

    scores = torch.arange(20.0)
    removed = [
        prunus.plan(graph, scores, tolerance=5.0, evaluate=evaluate(n)).removed for n in (100, 400, 40_000)
    ]
    exact = prunus.plan(
        graph, scores, tolerance=5.0, evaluate=lambda m: float(evaluate(400)(m).mean())
    ).removed
    assert removed[0] < removed[1] < removed[2] <= exact == 10
    less = prunus.plan(graph, scores, tolerance=5.0, evaluate=evaluate(400), confidence=0.5)
    assert less.removed == exact
    trial = next(trial for trial in less.trials if trial.rate == 0.5)
    assert trial.lowest == pytest.approx(trial.metric)


@pytest.mark.parametrize(
    ("metric", "options", "text"),
    [
        (lambda m: float("nan"), {}, "not a number"),
        (lambda m: torch.zeros(3, 3), {}, r"one shape \(samples,\)"),
        (lambda m: torch.zeros(m[0].out_channels), {}, r"one shape \(samples,\)"),
        (lambda m: torch.zeros(3) if m[0].out_channels == 20 else 0.0, {}, "a single number for another"),
        (lambda m: 1.0, {"confidence": 1.0}, "from 0.5, the mean itself, to below 1, not 1.0"),
        (lambda m: 1.0, {"confidence": 0.3}, "not 0.3"),
    ],
)
def test_wrong_metrics_are_named(metric, options: dict[str, float], text: str) -> None:  # type: ignore[no-untyped-def]
    graph = prunus.trace(model(), torch.zeros(1, 3, 4, 4))
    with pytest.raises(TargetError, match=text):
        prunus.plan(graph, torch.arange(20.0), tolerance=1.0, evaluate=metric, **options)  # type: ignore[arg-type]


def test_several_metrics_are_one() -> None:
    original, worse, better = model(), model(), model()
    figures = {id(original): (90.0, 60.0), id(worse): (89.9, 59.5), id(better): (91.0, 61.0)}
    calls: list[int] = []

    def evaluate(network: nn.Module) -> dict[str, float]:
        calls.append(id(network))
        return dict(zip(("accuracy", "iou", "dice"), (*figures[id(network)], 0.0)))

    left: Any = all_within(original, evaluate, {"accuracy": 0.4, "iou": 1.0})
    assert left(original) == 1 and calls == [id(original)]
    assert left(worse) == pytest.approx(min(1 - 0.1 / 0.4, 1 - 0.5 / 1.0))
    assert left(better) == pytest.approx(min(1 + 1.0 / 0.4, 1 + 1.0))
    figures[id(worse)] = (89.5, 60.0)
    assert left(original) - left(worse) > 1 and left(worse) == pytest.approx(1 - 0.5 / 0.4)


@pytest.mark.parametrize(
    ("tolerances", "text"),
    [
        ({}, "a tolerance above 0"),
        ({"iou": 0.0}, "a tolerance above 0"),
        ({"io": 1.0}, "a tolerance for 'io', but the metrics are iou, dice"),
        ({"dice": 1.0}, "not a number"),
    ],
)
def test_tolerances_without_metrics_are_named(tolerances: dict[str, float], text: str) -> None:
    with pytest.raises(TargetError, match=text):
        all_within(model(), lambda network: {"iou": 1.0, "dice": float("nan")}, tolerances)
