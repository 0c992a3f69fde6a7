"""One forward of a model's meta twin under a painter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from prunus._foundation.seeds import seeded, states_besides_torch
from prunus._foundation.surroundings import uncompiled
from prunus.errors import TraceError
from prunus.paint.caches import forgotten
from prunus.paint.dropout import NoDropout
from prunus.paint.inputs import first_line
from prunus.paint.lists import KnownLists
from prunus.paint.model_copy import Modules, Twin
from prunus.paint.painter import Painter
from prunus.paint.users_lines import deepest_line


def run(
    painter: Painter,
    twin: Twin,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    watch: AbstractContextManager[Any] | None = None,
) -> Any:
    """Run a twin under the painter, and what watches functions besides; an error becomes a TraceError that
    names the user's line.
    """
    try:
        with (
            seeded(painter.seed),  # a forward may throw dice in Python
            torch.no_grad(),
            uncompiled(),
            forgotten(twin.modules),
            _own_forwards(painter, twin.modules),
            painter,
            watch or KnownLists(),
            NoDropout(partial(_told_of_noise, painter)) if twin.training else nullcontext(),
        ):
            before = states_besides_torch()
            result = twin.model(*args, **kwargs)
            painter.drew = states_besides_torch() != before
        if painter.failure is not None:  # and the forward caught it
            raise painter.failure
        return result
    except TraceError:
        raise
    except Exception as error:
        place = deepest_line(error)
        hint = "check the example inputs"
        if "meta" in str(error).lower() or isinstance(error, NotImplementedError):
            hint = (
                "the forward needs real values there, so it cannot be traced; trace a sub-module without it"
            )
        name = type(twin.model).__name__
        raise TraceError(
            f"The forward of {name} fails at {place} ({type(error).__name__}: {first_line(error)}); {hint}."
        ) from error


def _told_of_noise(painter: Painter, tensor: Tensor) -> None:
    """Removed channels of the masked model are zero in front of an alpha dropout, and not behind it."""
    for stripe in painter.paint_of(tensor):
        painter.inexact(
            stripe.labels,
            "in training, alpha dropout sets what it drops to a number that is not zero, so that removed"
            " channels make noise in the masked model and none in the compact one",
            "alpha_dropout",
        )


@contextmanager
def _own_forwards(painter: Painter, modules: Modules) -> Iterator[None]:
    """Keep the dotted name of the module that runs on top of the painter's stack.

    Each forward is wrapped rather than hooked, since a global hook would send every module call down torch's
    slow path.
    """
    modules = {
        name: module for name, module in modules.items() if not isinstance(module, torch.jit.ScriptModule)
    }
    own = [vars(module).get("forward") for module in modules.values()]
    count = itertools.count()
    for name, module in modules.items():
        module.__dict__["forward"] = _announced(module.forward, name, painter.running, count)
    try:
        yield
    finally:
        for module, forward in zip(modules.values(), own):
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward
        painter.running.clear()


def _announced(
    forward: Callable[..., Any], name: str, running: list[tuple[str, int]], runs: Iterator[int]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        running.append((name, next(runs)))
        try:
            return forward(*args, **kwargs)
        finally:
            running.pop()

    return call


def tell_numbers(painter: Painter, numbers: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Let the forward read the values of small buffers; copies, as it may count in them."""
    for name, value in numbers.items():
        painter.know(tensors[name], value.clone(), volatile=True)
