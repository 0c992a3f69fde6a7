"""What is known of tensors while a model is painted."""

from __future__ import annotations

import numpy as np
import torch

from prunus.paint.canvas import Canvas
from prunus.paint.records import Stripe, zeros_like
from prunus.paint.users_lines import NOT_USERS


def test_colours_are_fresh_and_stripes_of_one_slot_say_nothing() -> None:
    canvas, x = Canvas(), torch.zeros(4, 1)
    first, second = canvas.fresh(4), canvas.fresh(1)
    assert 0 not in first and set(first).isdisjoint(second)
    canvas.set_paint(x, (Stripe(0, first, zeros_like(first)), Stripe(1, second, zeros_like(second))))
    assert [stripe.axis for stripe in canvas.paint_of(x)] == [0] and canvas.paint_of(torch.zeros(4)) == ()


def test_values_are_those_of_constants() -> None:
    canvas, x, y = Canvas(), torch.empty(2, device="meta"), torch.ones(2)
    assert canvas.value_of(x) is None and canvas.value_of(y) is y
    canvas.know(x, y)
    assert canvas.value_of(x) is None  # nobody said that it does not depend on the inputs
    canvas.fix(x)
    assert canvas.value_of(x) is y and canvas.constant_of(x) is y
    canvas.know(x, y, volatile=True)
    assert canvas.value_of(x) is y and canvas.constant_of(x) is None


def test_what_is_pinned_if_read_waits_for_a_reader() -> None:
    canvas, x = Canvas(), torch.zeros(2)
    canvas.pin_if_read(x, canvas.fresh(2), "why", "operator")
    assert canvas.pins == []
    canvas.read(x)
    canvas.read(x)
    (mark,) = canvas.pins
    assert mark.reason == "why" and mark.where.file.endswith("test_canvas.py")


def test_what_is_coupled_with_itself_is_no_edge() -> None:
    canvas = Canvas()
    labels = canvas.fresh(3)
    canvas.couple(labels, labels)
    canvas.couple(labels, labels[::-1])
    assert len(canvas.edges) == 1 and np.array_equal(canvas.edges[0][1], labels[::-1])


def test_all_views_of_one_memory_are_found() -> None:
    canvas, x, other = Canvas(), torch.zeros(4), torch.zeros(4)
    part = x[:2]
    for tensor in (x, part, other):
        canvas.set_paint(tensor, ())
    assert {id(t) for t in canvas.on_storage_of(part)} == {id(x), id(part)}


def test_torch_is_not_the_user() -> None:
    assert torch.nn.functional.__file__.startswith(NOT_USERS) and not __file__.startswith(NOT_USERS)
