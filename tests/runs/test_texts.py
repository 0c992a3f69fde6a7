"""Numbers as text."""

from __future__ import annotations

import pytest

from prunus.errors import ConfigError
from prunus.runs.texts import parse_planes, parse_shape


def test_shapes() -> None:
    assert parse_shape("") is None
    assert parse_shape("1,3,32,32") == parse_shape("1x3x32x32") == (1, 3, 32, 32)
    for wrong in ("3", "1,3,a", "1,0,3", "1,3,-2"):
        with pytest.raises(ConfigError, match="batch first"):
            parse_shape(wrong)


def test_planes() -> None:
    assert parse_planes("", 3, "mean") is None
    assert parse_planes("0.5", 3, "mean") == (0.5, 0.5, 0.5)
    assert parse_planes(".485,.456,.406", 3, "mean") == (0.485, 0.456, 0.406)
    for wrong in ("a", "1,2"):
        with pytest.raises(ConfigError, match=r"--std takes one number per plane \(3\)"):
            parse_planes(wrong, 3, "std")


@pytest.mark.parametrize(
    ("text", "what", "meant"),
    [("123.675,116.28,103.53", "mean", "0.485, 0.456, 0.406"), ("58.395", "std", "0.229")],
)
def test_levels_are_no_shares(text: str, what: str, meant: str) -> None:
    """As other tools write the mean of photographs: networks were called with next to nothing in silence."""
    with pytest.raises(ConfigError, match=rf"from 0 to 1, not of levels .* \(did you mean {meant}\?\)"):
        parse_planes(text, 3, what)
