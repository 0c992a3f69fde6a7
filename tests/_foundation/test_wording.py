"""Values in few words."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from prunus._foundation.wording import (
    MOST_SAID,
    dtype_name,
    ends_of,
    given,
    printable,
    remark,
    wanted,
)


def test_values_are_named_in_few_words() -> None:
    assert given([1] * 1000).endswith("...") and len(given([1] * 1000)) < 80
    assert given(object()) == "an object"
    assert given({}) == "an empty dict"


def test_types_of_numbers_have_the_names_that_torch_gives_them() -> None:
    assert [dtype_name(kind) for kind in (torch.float16, torch.int64)] == ["float16", "int64"]


def test_only_what_controls_terminals_is_written_out() -> None:
    assert printable("a\x1b[1m\x9b\x7f\u2028\udcff") == r"a\x1b[1m\x9b\x7f\u2028\udcff"
    assert printable("é字 \u202f×\u200d\u2060\t\n") == "é字 \u202f×\u200d\u2060\t\n"


def test_containers_of_tensors_are_told_by_their_parts() -> None:
    x = torch.zeros(2, 3)
    pair = namedtuple("pair", "boxes labels")
    assert given({"out": x, "aux": x}) == "a dict of out, aux"
    assert given(pair(x, x)) == "a pair of boxes, labels"
    assert given((x, None)) == "a tuple of a tensor of shape (2, 3), None"
    assert given([x] * 9).endswith("...") and given([1, 2]) == "the list [1, 2]"


def test_what_others_say_is_one_line_that_can_be_read() -> None:
    assert remark("Moved\n  here.\x1b[31m") == r"Moved here.\x1b[31m"
    assert remark("not here..") == "not here" and len(remark("a" * 4000)) == MOST_SAID
    assert ends_of("/a/b.png", 8) == "/a/b.png" and ends_of("/" + "a" * 50 + ".png", 8) == "/aaa….png"


def test_a_dict_of_other_values_is_told_which_it_should_hold() -> None:
    """rates={"conv1": "0.5"} was told that a dict was needed, and not a dict."""
    assert wanted(Mapping[str, float] | None) == "a dict of numbers or None"
    assert wanted(dict[str, Any]) == wanted(dict) == "a dict"
    assert wanted(Sequence[Mapping[str, int]]) == "a list of dicts of whole numbers"
