"""All methods are called alike."""

from __future__ import annotations

import inspect

import pytest

from prunus.methods import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_called_as_all_are_and_says_what_its_settings_are(method: str) -> None:
    function = METHODS[method].function
    parameters = list(inspect.signature(function).parameters.values())
    assert [p.name for p in parameters[:2]] == ["model", "task"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[2:])
    assert {"config", "watch"} <= {p.name for p in parameters}
    assert all(p.default is not p.empty for p in parameters[2:])
