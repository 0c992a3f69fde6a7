"""Train mode without dropout, which draws as many random numbers as there are channels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_ATEN = torch.ops.aten
_DROPOUTS = frozenset(
    {
        *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
        *(torch.dropout, torch.feature_dropout, torch.alpha_dropout, torch.feature_alpha_dropout),
        *(_ATEN.dropout, _ATEN.feature_dropout, _ATEN.alpha_dropout, _ATEN.feature_alpha_dropout),
    }
)
# What draws random numbers by the way: where the argument is that says so, its name, and its value for none.
_RATES: dict[Any, tuple[int, str, Any]] = {
    F.scaled_dot_product_attention: (4, "dropout_p", 0.0),
    _ATEN.scaled_dot_product_attention: (4, "dropout_p", 0.0),
    F.rrelu: (3, "training", False),
    _ATEN.rrelu: (3, "training", False),
}


class NoDropout(TorchFunctionMode):
    """Dropout passes on what it gets."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _DROPOUTS or getattr(func, "overloadpacket", None) in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        place = _RATES.get(func) or _RATES.get(getattr(func, "overloadpacket", None))
        if place is not None:
            position, name, none = place
            args = (*args[:position], none, *args[position + 1 :]) if len(args) > position else args
            kwargs |= {name: none} if name in kwargs else {}
        return func(*args, **kwargs)
