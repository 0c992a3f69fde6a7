"""Old names of files give what they became."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from tests.processes import Started

import prunus
from prunus._foundation.moved import MOVED


def old_names() -> None:
    """In a process of its own, which works afterwards as it did before."""
    for old, new in MOVED.items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = import_module(old)
        assert found is import_module(new), old
        assert any(f"{old} is {new} since 0.2.0" in str(one.message) for one in said), (old, said)
    model = prunus.models.lenet5()
    graph = prunus.trace(model, torch.zeros(1, 1, 28, 28))
    prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    assert callable(prunus.dynamic.settle)


ROOMS = """
assert prunus.channels.__name__ == 'prunus.channels' and prunus.targets is prunus.planning.targets
import prunus.channels, prunus.targets
from prunus.channels import compact, mask, trace
from prunus.channels.plan import Plan
from prunus.deploy import probe
from prunus.tolerance import judged
assert prunus.channels.Plan is Plan and compact is prunus.compact and trace is prunus.trace
assert not hasattr(prunus.channels, 'nothing') and mask is prunus.mask
"""


def rooms() -> None:
    """Likewise."""
    warnings.simplefilter("ignore")
    exec(ROOMS, {"prunus": prunus})


@pytest.mark.parametrize("work", [old_names, rooms])
def test_old_names_are_other_names_of_the_same_files_and_rooms(work: Callable[[], None]) -> None:
    with Started(work) as process:
        code, _, errors = process.ended()
    assert code == 0, errors


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("prunus.nothing_of_the_kind")
    assert "channels" not in dir(prunus)
