"""Errors: one base, and texts that fit into other sentences."""

from __future__ import annotations

import pytest

import prunus
from prunus.errors import ConfigError, clause


def test_errors_have_one_base() -> None:
    from prunus import errors

    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) >= 10
    assert all(issubclass(kind, prunus.PrunusError) and kind.__doc__ for kind in kinds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The rate is 2.", "the rate is 2"),
        ("MACs must be given.", "MACs must be given"),
        ("conv1 is gone.\n  Look again.", "conv1 is gone. Look again"),
        ("And so on...", "and so on..."),
        ("", "ConfigError"),
    ],
)
def test_an_error_is_the_end_of_another_sentence(text: str, said: str) -> None:
    assert clause(ConfigError(text)) == said
