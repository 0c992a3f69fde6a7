"""A whole cascade, called from Python."""

from __future__ import annotations

import pytest

from prunus import runs
from prunus.errors import ConfigError, TargetError


@pytest.mark.parametrize("given", [{}, {"budget": 0.5, "tolerance": 1.0}])
def test_a_cascade_has_one_target(given: dict[str, float]) -> None:
    with pytest.raises(TargetError, match="Exactly one of --budget and --tolerance"):
        runs.CascadeSettings(**given)


def test_a_cascade_needs_samples_and_classes() -> None:
    settings = runs.CascadeSettings(0.5)
    with pytest.raises(ConfigError, match="give --data"):
        runs.cascade(["lenet5", "resnet20"], "", settings)
    with pytest.raises(ConfigError, match="between 0 and 1, not 0"):
        runs.cascade(["lenet5", "resnet20"], runs.Data("digits", share=0.0), settings)
