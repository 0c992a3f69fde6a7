"""Random networks: whatever is built, the compact model computes what the masked one does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings

from tests.network_calls import outputs_of
from tests.network_check import check_network
from tests.networks import Spec, networks, random_spec

EXAMPLES = 45  # in each of four parts, so that they can be spread over processes; `benchmarks.random_networks` draws thousands
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_random_networks(part: int) -> None:
    @seed(part)
    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(networks())
    def check(spec: Spec) -> None:
        model, inputs = spec.build()
        check_network(model, inputs, seed=PARTS * spec.seed + part)

    check()


@pytest.mark.parametrize("number", range(10))
def test_eager_on_request(number: int) -> None:
    model, inputs = random_spec(number).build()
    assert check_network(model, inputs, number, prefer="eager").mode == "eager"


def test_random_networks_are_worth_testing() -> None:
    """Most channels of most networks can be pruned, and exactly: the property above is not empty."""
    outcomes = [check_network(*random_spec(number).build(), number) for number in range(30)]
    assert sum(o.removed > 0 for o in outcomes) >= 20
    assert sum(o.exact and o.removed > 0 for o in outcomes) >= 15


def test_a_spec_describes_its_network_completely() -> None:
    for number in range(20):
        spec = random_spec(number)
        assert spec == random_spec(number)
        (one, inputs), (two, again) = spec.build(), spec.build()
        assert all(torch.equal(a, b) for a, b in zip(outputs_of(one, inputs), outputs_of(two, again), strict=True))
