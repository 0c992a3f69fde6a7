"""What holds for all tests."""

from __future__ import annotations

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    """One thread per worker: there are as many workers as cores, and small operators only wait for a second thread."""
    if hasattr(config, "workerinput"):
        torch.set_num_threads(1)
