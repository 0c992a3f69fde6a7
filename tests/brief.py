"""Latency in few rounds, and tolerances in few steps, for tests that look at what is written of them and not
at how fast anything is or how near the last step comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from prunus.measure import per_input, runtimes, timing
from prunus.planning import tolerance

ROUNDS = 4


@pytest.fixture(scope="module", autouse=True)
def brief_latency() -> Iterator[None]:
    """Fewer rounds of shorter samples than a measurement takes that anybody believes."""
    whole = timing.take_turns

    def take_turns(runs: Mapping[str, Callable[[], None]], *, repeats: int, **options: Any) -> Any:
        return whole(runs, repeats=min(repeats, ROUNDS), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "SHORTEST_SAMPLE_S", 1e-4)
        patch.setattr(timing, "take_turns", take_turns)
        patch.setattr(runtimes, "take_turns", take_turns)
        assert per_input.over_inputs.__kwdefaults__ is not None
        patch.setitem(per_input.over_inputs.__kwdefaults__, "repeats", 1)
        yield


@pytest.fixture(scope="module", autouse=True)
def brief_search() -> Iterator[None]:
    """Four halvings of the rate in place of seven."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tolerance, "STEPS", 4)
        yield
