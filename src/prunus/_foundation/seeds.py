"""The same random numbers for everybody who asks for them so."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Iterator, Mapping
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
    others = torch.cuda.is_initialized() or torch.backends.mps.is_available()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    # the first one notes a traceback for every kind of device
    seed_torch = torch.manual_seed if others else torch.default_generator.manual_seed
    with torch.random.fork_rng(devices=devices), besides_torch(seed):
        seed_torch(seed)
        yield


def drawn_alike(things: Iterable[T]) -> Iterator[T]:
    """What an iterable gives, the same in every pass even where it draws, as a `DataLoader` that shuffles
    does: it has random numbers of its own from torch (on the processor), NumPy and Python, and those of
    everybody else are as if it drew none. A generator that hangs on it is put back to where it was.
    """
    start_workers(things)
    state = _first()
    with _put_back(things):
        with _swapped(state):
            running = iter(things)
        while True:
            with _swapped(state):
                try:
                    found = next(running)
                except StopIteration:
                    return
            yield found


def start_workers(things: Any) -> None:
    """Let the workers of a `DataLoader` that persist begin now, if they have not: their first pass draws one
    number more than those that follow, and so would have another order. Nothing else is drawn from.
    """
    loader = inspect.unwrap(things)
    if not getattr(loader, "persistent_workers", False) or getattr(loader, "_iterator", None) is not None:
        return
    with _put_back(loader), _swapped(_states()):
        iter(loader)


Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random


def makers_of(things: Any) -> list[Any]:
    """A `DataLoader` and what draws for it, or whatever else batches come from; each once, in the same order
    always.
    """
    loader = inspect.unwrap(things)
    sampler, batches = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
    every = [loader, sampler, batches, *(getattr(one, "sampler", None) for one in (sampler, batches))]
    every.append(getattr(loader, "dataset", None))
    return list({id(one): one for one in every if one is not None}.values())


def generators_of(things: Any) -> dict[str, Generator]:
    """The generators of a `DataLoader`, and of what draws for it, by where they hang, each once: torch's,
    NumPy's and Python's.
    """
    found: dict[int, tuple[str, Generator]] = {}
    for place, maker in enumerate(makers_of(things)):
        for name, value in getattr(maker, "__dict__", {}).items():
            if isinstance(value, Generator):
                found.setdefault(id(value), (f"{place}.{name}", value))
    return dict(found.values())


def state_of(generator: Generator) -> Any:
    """Where a generator is, in tensors, numbers, texts and containers of them."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return _as_lists(generator.get_state(legacy=False))
    return _as_lists(generator.bit_generator.state)


def go_to(generator: Generator, state: Any) -> None:
    """Let a generator go on from where it was; containers may have become lists."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        version, numbers, further = state
        generator.setstate((version, tuple(numbers), further))
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def _as_lists(state: Any) -> Any:
    """Arrays in a state of NumPy as lists of numbers."""
    if isinstance(state, dict):
        return {name: _as_lists(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _first() -> dict[str, Any]:
    """The states of the generators that everybody draws from, newly seeded."""
    with seeded():
        return _states()


def _states() -> dict[str, Any]:
    return {"torch": torch.get_rng_state(), **states_besides_torch()}


def _go_to(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    go_on_besides_torch(states)


@contextmanager
def _put_back(things: Any) -> Iterator[None]:
    """The generators that hang on things are afterwards where they were."""
    own = list(generators_of(things).values())
    before = [state_of(generator) for generator in own]
    try:
        yield
    finally:
        for generator, kept in zip(own, before):
            go_to(generator, kept)


@contextmanager
def besides_torch(seed: int) -> Iterator[None]:
    """Seeds what NumPy and Python draw from, for code of others that draws from there; afterwards the states
    are as they were.
    """
    before = states_besides_torch()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        go_on_besides_torch(before)


def states_besides_torch() -> dict[str, Any]:
    """Where NumPy and Python are, as a checkpoint holds it."""
    return {"python": random.getstate(), "numpy": _as_lists(np.random.get_state(legacy=False))}  # noqa: NPY002


def go_on_besides_torch(states: Mapping[str, Any]) -> None:
    """Go on from there; what is not among the states stays."""
    if "python" in states:
        version, numbers, further = states["python"]
        random.setstate((version, tuple(numbers), further))
    if "numpy" in states:
        np.random.set_state(states["numpy"])  # noqa: NPY002


@contextmanager
def _swapped(states: dict[str, Any]) -> Iterator[None]:
    """Draw from these states, which are as far as that has come afterwards."""
    outside = _states()
    _go_to(states)
    try:
        yield
    finally:
        states.update(_states())
        _go_to(outside)
