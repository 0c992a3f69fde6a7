"""What is timed or searched on the way is done briefly, and the verbs are built once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer.testing
from tests.brief import brief_latency, brief_search

__all__ = ["brief_latency", "brief_search", "verbs_are_built_once"]


@pytest.fixture(scope="package", autouse=True)
def verbs_are_built_once() -> Iterator[None]:
    """As in a process of its own; versions of typer that build them elsewhere are left alone."""
    build: Any = getattr(typer.testing, "_get_command", None)
    with pytest.MonkeyPatch.context() as patch:
        if build is not None:
            patch.setattr(typer.testing, "_get_command", cache(build))
        yield
