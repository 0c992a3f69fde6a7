"""A copy of a model on meta tensors: it can be run for its shapes alone, and nothing that happens to it reaches the user's model."""

from __future__ import annotations

import copy
import hashlib
import json
import types
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..errors import TraceError
from .blank import like

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
    kind: Any = type(module)
    if _copies_itself(kind):
        return copy.deepcopy(module, memo)
    result = kind.__new__(kind)
    memo[id(module)] = result
    state = result.__dict__
    for name, value in vars(module).items():
        if type(value) in _PLAIN or (type(value) is tuple and all(type(item) in _PLAIN for item in value)):
            state[name] = value
        elif type(value) in _CONTAINERS and not value:
            state[name] = type(value)()
        elif name == "_modules":
            state[name] = {key: None if child is None else _copy_module(child, memo) for key, child in value.items()}
        elif name in ("_parameters", "_buffers"):
            state[name] = {key: memo[id(t)] if id(t) in memo else copy.deepcopy(t, memo) for key, t in value.items()}
        elif isinstance(value, Tensor) and value.grad_fn is not None:  # what was computed cannot be deep-copied
            state[name] = memo[id(value)] = memo[id(value)] if id(value) in memo else value.detach().clone()
        else:
            state[name] = copy.deepcopy(value, memo)
    return result


@cache
def _copies_itself(kind: Any) -> bool:
    """Whether a module class defines how it is copied."""
    own = [vars(base) for base in kind.__mro__ if not base.__module__.startswith(("torch.nn.", "builtins"))]
    return any(name in attributes for attributes in own for name in _OWN_COPYING)


_OWN_COPYING = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
_PLAIN = frozenset({int, float, bool, str, type(None), type, types.FunctionType, types.BuiltinFunctionType, torch.dtype})
_CONTAINERS = frozenset({dict, list, set, OrderedDict})


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each tensor once, under its first name; parameters first."""
    parameters, buffers = dict[int, tuple[str, Tensor]](), dict[int, tuple[str, Tensor]]()
    for prefix, module in _walk(model):
        for found, tensors in ((parameters, module._parameters), (buffers, module._buffers)):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) not in found:
                    found[id(tensor)] = (prefix + name, tensor)
    return dict([*parameters.values(), *buffers.values()])


def _walk(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module once, with the prefix of its tensors' names, in the order of `named_modules`, several times faster."""
    seen: set[int] = set()
    result = []
    stack: list[tuple[str, nn.Module | None]] = [("", model)]
    while stack:
        prefix, module = stack.pop()
        if module is not None and id(module) not in seen:
            seen.add(id(module))
            result.append((prefix, module))
            stack.extend([(f"{prefix}{name}.", child) for name, child in reversed(module._modules.items())])
    return result


def meta_twin(model: nn.Module, shapes: Mapping[str, Sequence[int]] | None = None) -> nn.Module:
    """The model on meta tensors, in eval mode; tensors named in `shapes` get another shape."""
    replace: dict[int, Tensor] = {}
    for name, tensor in named_tensors(model).items():
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            raise TraceError(f"{name} has no shape yet; run the model once on real inputs before tracing it")
        replace[id(tensor)] = _stand_in(tensor, (shapes or {}).get(name))
    return _in_eval_mode(copy_model(model, replace))


def _in_eval_mode(model: nn.Module) -> nn.Module:
    """`model.eval()`, without its cost where no class changes what that means."""
    modules = [module for _, module in _walk(model)]
    if any(type(m).train is not nn.Module.train or type(m).eval is not nn.Module.eval for m in modules):
        return model.eval()
    for module in modules:
        module.__dict__["training"] = False
    return model


def _stand_in(tensor: Tensor, shape: Sequence[int] | None) -> Tensor:
    if isinstance(tensor, nn.Parameter) or shape is not None:
        blank = like(tensor) if shape is None else torch.empty(shape, dtype=tensor.dtype, device="meta")
        return nn.Parameter(blank, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else blank
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.numel() > _LARGEST_TABLE or tensor.device.type == "meta":
        return like(tensor)
    return tensor.detach().to("cpu", copy=True)


def fingerprint(model: nn.Module) -> str:
    """Identifies an architecture by the names and shapes of its parameters and buffers."""
    text = json.dumps([(name, list(t.shape)) for name, t in sorted(named_tensors(model).items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
