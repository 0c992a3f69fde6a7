"""Train mode without dropout, which draws as many random numbers as there are channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ATEN = torch.ops.aten
# These drop to a number that is not zero.
_ALPHA = frozenset(
    {
        *(F.alpha_dropout, torch.alpha_dropout, _ATEN.alpha_dropout),
        *(F.feature_alpha_dropout, torch.feature_alpha_dropout, _ATEN.feature_alpha_dropout),
    }
)
_DROPOUTS = _ALPHA | {
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
    *(torch.dropout, torch.feature_dropout, _ATEN.dropout, _ATEN.feature_dropout),
}
# What draws random numbers by the way: where the argument is that says so, its name, and its value for none.
_RATES: dict[Any, tuple[int, str, Any]] = {
    F.scaled_dot_product_attention: (4, "dropout_p", 0.0),
    _ATEN.scaled_dot_product_attention: (4, "dropout_p", 0.0),
    F.rrelu: (3, "training", False),
    _ATEN.rrelu: (3, "training", False),
}


class NoDropout(TorchFunctionMode):
    """Dropout passes on what it gets.

    Args:
        noisy: told of a tensor whose channels would make noise even if they were zero.
    """

    def __init__(self, noisy: Callable[[Tensor], None] | None = None) -> None:
        super().__init__()
        self._noisy = noisy

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        named = func if func in _DROPOUTS else getattr(func, "overloadpacket", None)
        if named in _DROPOUTS:
            found = args[0] if args else kwargs["input"]
            if self._noisy is not None and named in _ALPHA and _drops(args[1:], kwargs):
                self._noisy(found)
                return found.clone()  # so that the forward is seen to do something else than in eval mode
            return found
        place = _RATES.get(func) or _RATES.get(getattr(func, "overloadpacket", None))
        if place is not None:
            position, name, none = place
            args = (*args[:position], none, *args[position + 1 :]) if len(args) > position else args
            kwargs |= {name: none} if name in kwargs else {}
        return func(*args, **kwargs)


def _drops(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a dropout with these arguments, behind the first, leaves anything out."""
    given = dict(zip(("p", "training"), args)) | kwargs
    return bool(given.get("training", given.get("train", False))) and given.get("p", 0.5) > 0
