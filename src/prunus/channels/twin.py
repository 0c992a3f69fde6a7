"""A copy of a model on meta tensors: it can be run for its shapes alone, and nothing that happens to it reaches the user's model."""

from __future__ import annotations

import copy
import hashlib
import json
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..errors import TraceError

_LARGEST_TABLE = 1 << 20  # elements; integer buffers up to this size keep their values, because they may be used as indices


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside torch.compile's or data parallelism's wrapper."""
    while True:
        if hasattr(model, "_orig_mod") and isinstance(model._orig_mod, nn.Module):
            model = model._orig_mod
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


def copy_model(model: nn.Module, replace: dict[int, Tensor]) -> nn.Module:
    """A deep copy in which the tensors named by `id` are the given ones instead of copies.

    Raises TraceError if some part of the model cannot be copied.
    """
    memo: dict[int, Any] = dict(replace)
    origin = vars(model).get("prunus")
    if origin is not None:
        memo[id(origin)] = None  # where a compact model came from is no part of what is made of it
    for tensor in plain_tensors(model):
        if id(tensor) not in memo and tensor.grad_fn is not None:
            memo[id(tensor)] = tensor.detach().clone()
    try:
        result: nn.Module = _copy_module(model, memo)
        return result
    except Exception as error:  # any object may hang on a module
        raise TraceError(f"{type(model).__name__} cannot be copied ({error}); remove what cannot be deep-copied from its attributes") from error


def _copy_module(module: nn.Module, memo: dict[int, Any]) -> Any:
    """copy.deepcopy for modules, several times faster: what is plain is passed on, and only the rest goes the general way."""
    found = memo.get(id(module))
    if found is not None:
        return found
    kind = type(module)
    if any(name in vars(base) for base in kind.__mro__ if not base.__module__.startswith(("torch.nn.", "builtins")) for name in _OWN_COPYING):
        return copy.deepcopy(module, memo)
    result = kind.__new__(kind)
    memo[id(module)] = result
    state = result.__dict__
    for name, value in vars(module).items():
        if type(value) in _PLAIN:
            state[name] = value
        elif type(value) in _CONTAINERS and not value:
            state[name] = type(value)()
        elif name == "_modules":
            state[name] = {key: None if child is None else _copy_module(child, memo) for key, child in value.items()}
        elif name in ("_parameters", "_buffers"):
            state[name] = {key: memo[id(t)] if id(t) in memo else copy.deepcopy(t, memo) for key, t in value.items()}
        else:
            state[name] = copy.deepcopy(value, memo)
    return result


_OWN_COPYING = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
_PLAIN = frozenset({int, float, bool, str, type(None), type, types.FunctionType, types.BuiltinFunctionType, torch.dtype})
_CONTAINERS = frozenset({dict, list, set, OrderedDict})


def plain_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that hang on modules without being parameters or buffers."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor):
                yield value


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each tensor once, under its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def meta_twin(model: nn.Module, shapes: Mapping[str, Sequence[int]] | None = None) -> nn.Module:
    """The model on meta tensors, in eval mode; tensors named in `shapes` get another shape."""
    replace: dict[int, Tensor] = {}
    for name, tensor in named_tensors(model).items():
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            raise TraceError(f"{name} has no shape yet; run the model once on real inputs before tracing it")
        replace[id(tensor)] = _stand_in(tensor, (shapes or {}).get(name))
    twin = copy_model(model, replace)
    return twin.eval()


def _stand_in(tensor: Tensor, shape: Sequence[int] | None) -> Tensor:
    if isinstance(tensor, nn.Parameter) or shape is not None:
        blank = torch.empty_like(tensor, device="meta") if shape is None else torch.empty(shape, dtype=tensor.dtype, device="meta")
        return nn.Parameter(blank, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else blank
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.numel() > _LARGEST_TABLE or tensor.device.type == "meta":
        return torch.empty_like(tensor, device="meta", requires_grad=False)
    return tensor.detach().to("cpu", copy=True)


def fingerprint(model: nn.Module) -> str:
    """Identifies an architecture by the names and shapes of its parameters and buffers."""
    text = json.dumps([(name, list(t.shape)) for name, t in sorted(named_tensors(model).items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
