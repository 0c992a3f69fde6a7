"""Values in few words."""

from __future__ import annotations

from prunus._foundation.wording import given


def test_values_are_named_in_few_words() -> None:
    assert given([1] * 1000).endswith("...") and len(given([1] * 1000)) < 80
    assert given(object()) == "an object"
    assert given({}) == "an empty dict"
