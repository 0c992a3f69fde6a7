"""What holds for all tests."""

from __future__ import annotations

import gc

import hypothesis
import pytest
import torch

from tests.operator_library import operators_are_read_once

__all__ = ["operators_are_read_once"]

# The same examples in every run, so that no run fails by luck: searching is for `benchmarks.random_networks`.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """One thread per worker: there are as many workers as cores, and small operators only wait for a second
    thread.
    """
    if hasattr(config, "workerinput"):
        torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
