"""Settings of methods are those of their signatures."""

from __future__ import annotations

import inspect

import pytest

from prunus.methods import METHODS
from prunus.methods.settings import settings_of


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_those_of_the_signature(method: str) -> None:
    parameters = inspect.signature(METHODS[method].function).parameters
    for name, setting in settings_of(method).items():
        assert setting.default == parameters[name].default and setting.about
