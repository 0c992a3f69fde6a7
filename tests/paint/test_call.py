"""An operator call as a rule sees it."""

from __future__ import annotations

import torch

from prunus.paint.call import Call, tensors_of, with_other
from prunus.paint.canvas import Canvas
from prunus.paint.records import Stripe, constant, zeros_like

X, Y = torch.zeros(2, 3), torch.ones(2)


def call(canvas: Canvas) -> Call:
    return Call(canvas, "mean", torch.ops.aten.mean.dim, (X, [1]), {"keepdim": True}, (Y,), (X,))


def test_arguments_by_place_or_name() -> None:
    found = call(Canvas())
    assert found.arg(1, "dim") == [1] and found.arg(2, "keepdim") is True
    assert found.arg(3, "dtype") is None and found.arg(3, "dtype", 5) == 5


def test_stripes_along_an_axis_counted_from_either_end() -> None:
    canvas = Canvas()
    labels = canvas.fresh(3)
    canvas.set_paint(X, (Stripe(1, labels, zeros_like(labels)),))
    found = call(canvas)
    assert len(found.stripes(X, 1)) == len(found.stripes(X, -1)) == 1
    assert found.stripes(X, 0) == found.stripes(None, 0) == []


def test_a_statistic_is_exact_over_what_becomes_zero_only() -> None:
    canvas = Canvas()
    labels, other = canvas.fresh(3), canvas.fresh(3)
    found = call(canvas)
    found.averaged([Stripe(1, labels, zeros_like(labels)), Stripe(1, other, constant(1.0, 3))], "a mean")
    assert [statistic.labels is labels for statistic in canvas.statistics] == [True]
    assert [mark.labels is other for mark in canvas.notes] == [True] and canvas.notes[0].reason == "a mean"


def test_tensors_of_nested_arguments_and_another_in_place_of_one() -> None:
    args = (X, [Y, None], (1, 2), {"a": 3})
    assert [id(t) for t in tensors_of(args, {"other": X})] == [id(X), id(Y), id(X)]
    swapped = with_other(args, Y, X)
    assert swapped[0] is X and swapped[1][0] is X and swapped[2:] == args[2:] and args[1][0] is Y
