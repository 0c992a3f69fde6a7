"""What torch.export runs in: quiet, with symbolic lengths, and with sizes that it can still reason about."""

from __future__ import annotations

import builtins
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

_LENGTH = builtins.len
_LONGEST = 512  # symbols, numbers and operations in one size; those of ordinary networks have less than a hundred


class EndlessSizeError(BaseException):
    """A size became so long a formula that torch.export would take minutes to simplify it, as those of windows within windows do.

    Not an Exception, so that nothing on the way swallows it.
    """


@contextmanager
def exporting() -> Iterator[None]:
    """Everything that torch.export needs around it; raises EndlessSizeError from inside."""
    import torch._dynamo.config as config  # slow to import

    # torch's cache of what operators do to symbolic sizes costs more than it saves
    with _quiet(), _symbolic_lengths(), _short_sizes(), config.patch(fake_tensor_cache_enabled=False):
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
    """Let `len(x)` of a tensor be symbolic, as `x.shape[0]` is: Python makes a plain number of it, which ties the graph to the example."""

    def length(value: Any, /) -> Any:
        return value.shape[0] if isinstance(value, Tensor) and value.dim() else _LENGTH(value)

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = _LENGTH


@contextmanager
def _short_sizes() -> Iterator[None]:
    """Stop at a size that is too long a formula. A count and not a clock decides, so that the same model always gives the same graph."""
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
