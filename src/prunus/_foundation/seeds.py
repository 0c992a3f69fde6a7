"""The same random numbers for everybody who asks for them so."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """The same random numbers from torch, NumPy and Python for everybody who enters; afterwards the states
    are as they were.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (what models draw from)
    others = torch.cuda.is_initialized() or torch.backends.mps.is_available()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    # the first one notes a traceback for every kind of device
    seed_torch = torch.manual_seed if others else torch.default_generator.manual_seed
    with torch.random.fork_rng(devices=devices):
        seed_torch(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
