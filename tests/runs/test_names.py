"""Names that users type are those of the library, and what they look at is known before work begins."""

from __future__ import annotations

import pytest

from prunus.errors import ConfigError
from prunus.methods import named
from prunus.runs.names import (
    SCORES,
    Compensation,
    Needs,
    Score,
    compensation_function,
    score_function,
)


def test_every_score_of_the_library_has_a_name_a_paper_and_its_needs() -> None:
    assert set(SCORES) == set(Score)
    needs = {Needs.NOTHING: named.OF_WEIGHTS, Needs.INPUTS: named.OF_INPUTS, Needs.LABELS: named.OF_LABELS}
    for kind, names in needs.items():
        assert {score.value for score, about in SCORES.items() if about.needs is kind} == set(names)
    assert tuple(one.value for one in Compensation) == named.COMPENSATIONS


@pytest.mark.parametrize("score", Score)
def test_a_score_that_looks_at_samples_asks_for_data(score: Score) -> None:
    if SCORES[score].needs is Needs.NOTHING:
        assert callable(score_function(score, 0, None))
        return
    with pytest.raises(ConfigError, match=f"The score {score} looks at training samples: give --data"):
        score_function(score, 0, None)


def test_a_compensation_too() -> None:
    for name in (Compensation.REFIT, Compensation.MEANS):
        with pytest.raises(ConfigError, match=f"The compensation {name} looks at .* give --data"):
            compensation_function(name, 0, None)
    assert compensation_function(None, 0, None) is None
    assert compensation_function(Compensation.MERGE, 0, None) is not None
