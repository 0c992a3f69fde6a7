"""The graph of the small coupled network, for every score that goes by its formula."""

from __future__ import annotations

import pytest
from tests.scores import coupled

import prunus
from prunus.paint.graph import ChannelGraph


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return prunus.trace(coupled.model(), coupled.IMAGE)
