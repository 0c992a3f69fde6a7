"""What torch.export runs in: quiet, with symbolic lengths, and with sizes that it can still reason about."""

from __future__ import annotations

import builtins
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_LENGTH = builtins.len
_LONGEST = (
    512  # symbols, numbers and operations in one size; those of ordinary networks have less than a hundred
)


class EndlessSizeError(BaseException):
    """A size became so long a formula that torch.export would take minutes to simplify it, as those of
    windows within windows do.

    Not an Exception, so that nothing on the way swallows it.
    """


@contextmanager
def exporting(strict: bool = False) -> Iterator[None]:
    """Everything that torch.export needs around it; raises EndlessSizeError from inside.

    Where it reads the code (`strict`), it knows `len`, `float`, `math.sqrt` and the like by itself.
    """
    import torch._dynamo.config as config  # slow to import

    # torch's cache of what operators do to symbolic sizes costs more than it saves
    with (
        _quiet(),
        _short_sizes(),
        _symbolic_numbers() if strict else _symbolic_lengths(),
        config.patch(fake_tensor_cache_enabled=False),
    ):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export reports at length what it takes for constant; what matters is tested afterwards."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _symbolic_lengths() -> Iterator[None]:
    """Let `len(x)` of a tensor be symbolic, as `x.shape[0]` is: Python makes a plain number of it, which ties
    the graph to the example.
    """

    def length(value: Any, /) -> Any:
        return value.shape[0] if isinstance(value, Tensor) and value.dim() else _LENGTH(value)

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = _LENGTH


@contextmanager
def _symbolic_numbers() -> Iterator[None]:
    """Let `torch.linspace` take a symbolic number of steps, which its operator does not, and powers of Python
    symbolic numbers.
    """
    own = {(torch, "linspace"): torch.linspace, (math, "pow"): math.pow, (math, "exp"): math.exp}

    def linspace(start: Any, end: Any, steps: Any, **kinds: Any) -> Tensor:
        dtype = kinds.pop("dtype", None) or torch.get_default_dtype()
        places = torch.arange(steps, dtype=dtype, **kinds)
        step = (end - start) / torch.sym_max(steps - 1, 1)  # type: ignore[no-untyped-call]
        return torch.where(places < steps // 2, start + step * places, end - step * (steps - 1 - places))

    def power(base: Any, exponent: Any) -> Any:
        return float(base) ** exponent

    def exponential(exponent: Any) -> Any:
        return math.e**exponent

    torch.linspace, math.pow, math.exp = linspace, power, exponential  # type: ignore[assignment]
    try:
        yield
    finally:
        for (module, name), function in own.items():
            setattr(module, name, function)


@contextmanager
def _short_sizes() -> Iterator[None]:
    """Stop at a size that is too long a formula. A count and not a clock decides, so that the same model
    always gives the same graph.
    """
    from sympy import preorder_traversal  # type: ignore[import-untyped]  # slow to import, like the next
    from torch.fx.experimental import symbolic_shapes

    env: Any = symbolic_shapes.ShapeEnv
    evaluate = env.evaluate_expr

    def bounded(self: Any, formula: Any, *args: Any, **kwargs: Any) -> Any:
        for count, _ in enumerate(preorder_traversal(formula)):
            if count > _LONGEST:
                raise EndlessSizeError(f"a size is a formula of more than {_LONGEST} terms")
        return evaluate(self, formula, *args, **kwargs)

    env.evaluate_expr = bounded
    try:
        yield
    finally:
        env.evaluate_expr = evaluate


__all__ = ["EndlessSizeError", "exporting"]
