"""Lists of slots in `x[:, [2, 0, 1]]` keep their numbers, and arrays of constants: torch makes a tensor where
x is, on meta, and refuses an array of one, before any dispatch mode sees it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ARRAYS = (Tensor.numpy, Tensor.__array__)


class KnownLists(TorchFunctionMode):
    """Indexing of meta tensors with lists of whole numbers goes by tensors of these numbers, and an array of
    one is that of its copy on the CPU, where the numbers of constants are.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _ARRAYS and args[0].is_meta:
            return func(args[0].cpu(), *args[1:], **(kwargs or {}))
        if func is Tensor.__getitem__ and args[0].is_meta and type(args[1]) in (list, tuple):
            key = args[1]
            return func(args[0], tuple(map(_with_values, key)) if type(key) is tuple else _with_values(key))
        return func(*args, **kwargs) if kwargs else func(*args)


def _with_values(key: Any) -> Any:
    return torch.tensor(key) if type(key) is list and key and all(type(k) is int for k in key) else key
