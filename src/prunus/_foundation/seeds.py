"""The same random numbers for everybody who asks for them so."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")


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


def drawn_alike(things: Iterable[T]) -> Iterator[T]:
    """What an iterable gives, the same in every pass even where it draws, as a `DataLoader` that shuffles
    does: it has random numbers of its own from torch (on the processor), NumPy and Python, and those of
    everybody else are as if it drew none. A generator that hangs on it is put back to where it was.
    """
    start_workers(things)
    own = generators_of(things)
    before = [generator.get_state() for generator in own]
    state = _first()
    try:
        with _swapped(state):
            running = iter(things)
        while True:
            with _swapped(state):
                try:
                    found = next(running)
                except StopIteration:
                    return
            yield found
    finally:
        for generator, kept in zip(own, before):
            generator.set_state(kept)


def start_workers(things: Any) -> None:
    """Let the workers of a `DataLoader` that persist begin now, if they have not: their first pass draws one
    number more than those that follow, and so would have another order. Nothing else is drawn from.
    """
    loader = inspect.unwrap(things)
    if not getattr(loader, "persistent_workers", False) or getattr(loader, "_iterator", None) is not None:
        return
    own = generators_of(loader)
    before = [generator.get_state() for generator in own]
    with _swapped(_states()):
        iter(loader)
    for generator, kept in zip(own, before):
        generator.set_state(kept)


def generators_of(things: Any) -> list[torch.Generator]:
    """The generators of a `DataLoader`, and of what draws for it, each once and in the same order always."""
    things = inspect.unwrap(things)
    sampler = getattr(things, "sampler", None)
    holders = (things, sampler, getattr(things, "batch_sampler", None), getattr(sampler, "sampler", None))
    found = {id(one): one for one in (getattr(holder, "generator", None) for holder in holders)}
    return [one for one in found.values() if isinstance(one, torch.Generator)]


def _first() -> list[Any]:
    """The states of the generators that everybody draws from, newly seeded."""
    with seeded():
        return _states()


def _states() -> list[Any]:
    return [torch.get_rng_state(), random.getstate(), np.random.get_state()]  # noqa: NPY002


def _go_to(states: list[Any]) -> None:
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])  # noqa: NPY002


@contextmanager
def _swapped(states: list[Any]) -> Iterator[None]:
    """Draw from these states, which are as far as that has come afterwards."""
    outside = _states()
    _go_to(states)
    try:
        yield
    finally:
        states[:] = _states()
        _go_to(outside)
