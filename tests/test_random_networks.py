"""Random networks: whatever is built, the compact model computes what the masked one does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings

from tests.network_calls import outputs_of
from tests.network_check import check_network
from tests.network_copies import COPIES
from tests.network_divisors import DIVISORS
from tests.network_modes import MODES, SCALES
from tests.network_norms import NORMS
from tests.network_weights import PARAMETRISED, PRODUCTS
from tests.networks import Spec, kinds, networks, random_spec

# in each of two parts, so that they can be spread over processes; `benchmarks.random_networks` draws
# thousands
EXAMPLES = 10
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_random_networks(part: int) -> None:
    @seed(part)
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(networks(most=2))
    def check(spec: Spec) -> None:
        model, inputs = spec.build()
        check_network(model, inputs, seed=PARTS * spec.seed + part)

    check()


@pytest.mark.parametrize("number", range(4))
def test_eager_on_request(number: int) -> None:
    model, inputs = random_spec(number, most=2).build()
    assert check_network(model, inputs, number, prefer="eager").mode == "eager"


def test_random_networks_are_worth_testing() -> None:
    """Most channels of most networks can be pruned, exactly, and trained: the property above is not empty."""
    outcomes = [check_network(*random_spec(number, most=2).build(), number) for number in range(106, 116)]
    assert sum(o.removed > 0 for o in outcomes) >= 8
    assert sum(o.exact and o.removed > 0 for o in outcomes) >= 6
    assert sum(o.trained is not None and o.removed > 0 for o in outcomes) >= 6


def test_every_kind_of_layer_is_drawn() -> None:
    drawn = set[str]().union(*(kinds(random_spec(number)) for number in range(600)))
    assert {f"Copies mode={mode}" for mode in COPIES} <= drawn
    assert {f"Divisor mode={mode}" for mode in DIVISORS} <= drawn
    assert {f"Trained mode={mode}" for mode in MODES} <= drawn
    assert {f"ScaledAttention mode={mode}" for mode in SCALES} <= drawn
    assert {f"ProductConv mode={mode}" for mode in PRODUCTS} <= drawn
    assert {f"ParametrisedConv mode={mode}" for mode in PARAMETRISED} <= drawn
    assert {f"Conv norm_name={name}" for name in NORMS} <= drawn
    assert {"LowRankLinear", "Recurrent", "train-only head"} <= drawn


def test_a_spec_describes_its_network_completely() -> None:
    for number in range(10):
        spec = random_spec(number)
        assert spec == random_spec(number)
        (one, inputs), (two, again) = spec.build(), spec.build()
        assert all(
            torch.equal(a, b) for a, b in zip(outputs_of(one, inputs), outputs_of(two, again), strict=True)
        )
