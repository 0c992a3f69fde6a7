"""The collector is held off inside the block, and as it was behind it."""

from __future__ import annotations

import gc

import pytest

from prunus._foundation.collector import collector_paused


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_off_inside_and_as_before_behind_it_also_after_an_error(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError, match="inside"), collector_paused():
            assert not gc.isenabled()
            raise ValueError("inside")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
