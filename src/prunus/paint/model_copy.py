"""A copy of a model on meta tensors: it can be run for its shapes alone, and nothing that happens to it
reaches the user's model.
"""

from __future__ import annotations

import copy
import hashlib
import json
import types
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from prunus.errors import TraceError, clause
from prunus.paint.caches import Remembering
from prunus.paint.closures import owns, rebind_closures
from prunus.paint.meta_kernels import like
from prunus.paint.widths import KeepsWidth, without_widths

Modules = dict[str, nn.Module]
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
# elements; buffers of real numbers up to this size keep their values, because a forward may read them:
# scales, anchors, means
_LARGEST_LIST = 16
# elements; integer buffers up to this size keep their values, because they may be used as indices
_LARGEST_TABLE = 1 << 20


@dataclass(frozen=True, eq=False)
class Twin:
    """A model on meta tensors, and each of its modules under its first name; `training` where it is not in
    eval mode.
    """

    model: nn.Module
    modules: Modules
    # what small buffers of real numbers hold, by name
    numbers: dict[str, Tensor] = field(default_factory=dict)
    training: bool = False


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside the wrapper of torch.compile, data parallelism or averaged weights."""
    while True:
        if hasattr(model, "_orig_mod") and isinstance(model._orig_mod, nn.Module):
            model = model._orig_mod
        elif isinstance(model, _WRAPPERS):
            model = model.module
        else:
            return model


def copy_model(model: nn.Module, replace: dict[int, Tensor]) -> nn.Module:
    """A deep copy in which the tensors named by `id` are the given ones instead of copies.

    Raises TraceError if some part of the model cannot be copied.
    """
    try:
        try:
            return _copied(model, replace, ())
        except RuntimeError:  # an object holds what a forward computed and left in another module
            return _copied(model, replace, _containers(model))
    except Exception as error:  # any object may hang on a module
        raise TraceError(
            f"{type(model).__name__} cannot be copied ({clause(error)}); remove what cannot be copied from"
            " its attributes."
        ) from error


def listened(model: nn.Module) -> list[str]:
    """Names of the parameters whose gradients have hooks of their own, which torch's copies do not have."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks
    ]


def _copied(model: nn.Module, replace: Mapping[int, Tensor], containers: Sequence[Any]) -> nn.Module:
    """A copy; what was computed in `containers` is detached before anything else is copied."""
    memo: dict[int, Any] = dict(replace)
    origin = vars(model).get("prunus")
    if origin is not None:
        memo[id(origin)] = None  # where a compact model came from is no part of what is made of it
    _detach_computed(containers, memo)
    owners: list[nn.Module] = []
    result: nn.Module = _copy_module(model, memo, owners)
    rebind_closures(owners, memo)
    return result


def _containers(model: nn.Module) -> list[Any]:
    """The containers that the modules of a model hold."""
    held = (
        value
        for module in walk(model).values()
        for name, value in module.__dict__.items()
        if name not in _OF_MODULES
    )
    return [value for value in held if type(value) in _HOLDERS and value]


def _detach_computed(containers: Sequence[Any], memo: dict[int, Any]) -> None:
    """Tensors that a forward computed and left in a model, in whatever containers, are copied without what
    they were computed from.
    """
    waiting, seen = list(containers), set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            if value.grad_fn is not None and id(value) not in memo:
                memo[id(value)] = value.detach().clone()
        elif type(value) in _HOLDERS and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)


def _copy_module(module: nn.Module, memo: dict[int, Any], owners: list[nn.Module]) -> Any:
    """copy.deepcopy for modules, with less work: what is plain is passed on, and only the rest goes the
    general way.

    `owners` are the modules that hold functions or hooks.
    """
    found = memo.get(id(module))
    kind: Any = type(module)
    if found is not None or _copies_itself(kind):  # found: a module that several hold, or that an object held
        owners.extend(inner for inner in module.modules() if owns(inner))
        return _copy_own(module, memo) if found is None else found
    result = kind.__new__(kind)
    memo[id(module)] = result
    own, state = module.__dict__, result.__dict__
    state.update(own)
    state.pop("_compiled_call_impl", None)  # by `compile()`, bound to the original
    state["_modules"] = {
        key: None if child is None else _copy_module(child, memo, owners)
        for key, child in own["_modules"].items()
    }
    for name in ("_parameters", "_buffers"):
        held = own[name]
        state[name] = (
            {
                key: None if t is None else memo[id(t)] if id(t) in memo else _copy_tensor(t, memo)
                for key, t in held.items()
            }
            if held
            else {}
        )
    for name, empty in _STANDARD:  # hooks, which nearly no module has
        value = own.get(name)
        if value:
            owners.append(module)
            state[name] = _copy_value(value, memo)
        elif value is not None:
            state[name] = empty()
    for name in [name for name in own if name not in _STANDARD_NAMES]:
        value = own[name]
        if type(value) is types.FunctionType or type(value) is Remembering:
            owners.append(module)
        elif type(value) not in _PLAIN and name in state:
            state[name] = _copy_value(value, memo)
    return result


def _copy_own(module: nn.Module, memo: dict[int, Any]) -> Any:
    """The copy that a class makes of itself; TorchScript's would have parameters that nobody can train."""
    result = copy.deepcopy(module, memo)
    for inner in result.modules():
        if isinstance(inner, torch.jit.ScriptModule):
            for name, tensor in inner.named_parameters(recurse=False):
                inner._c.setattr(name, tensor.detach().requires_grad_(tensor.requires_grad))
    return result


def _copy_value(value: Any, memo: dict[int, Any]) -> Any:
    """copy.deepcopy for what else hangs on a module; what was computed is copied without what it was computed
    from.
    """
    kind = type(value)
    if kind is tuple and _PLAIN.issuperset(map(type, value)):
        return value
    if kind in _CONTAINERS and not value:
        return kind()
    if isinstance(value, Tensor) and value.grad_fn is not None:
        memo[id(value)] = memo[id(value)] if id(value) in memo else value.detach().clone()
        return memo[id(value)]
    if kind in _HOLDERS:
        _detach_computed([value], memo)
    return copy.deepcopy(value, memo)


def _copy_tensor(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """copy.deepcopy for parameters and buffers; a plain buffer that has its memory for itself, as nearly all
    have, is cloned.
    """
    if tensor.layout is not torch.strided and type(tensor) is Tensor and not tensor.requires_grad:
        memo[id(tensor)] = tensor.clone()  # torch's own copies want one piece of memory
        return memo[id(tensor)]  # type: ignore[no-any-return]
    if type(tensor) is not Tensor or tensor.requires_grad or tensor.is_meta or tensor.is_quantized:
        if isinstance(tensor, nn.Parameter):
            return tensor.__deepcopy__(memo)  # type: ignore[no-untyped-call,no-any-return]
        return copy.deepcopy(tensor, memo)
    storage = tensor.untyped_storage()
    known: dict[int, Any] = memo.setdefault("torch", {})  # type: ignore[call-overload]  # torch keeps its copies of memory there
    if (
        storage._cdata in known
        or storage.nbytes() != tensor.numel() * tensor.element_size()
        or not tensor.is_contiguous()
    ):
        return tensor.__deepcopy__(memo)  # type: ignore[no-untyped-call,no-any-return]
    memo[id(tensor)] = copied = tensor.clone()
    known[storage._cdata] = copied.untyped_storage()
    return copied


@cache
def _copies_itself(kind: Any) -> bool:
    """Whether a module class defines how it is copied."""
    if issubclass(kind, torch.jit.ScriptModule):  # which keeps its tensors elsewhere
        return True
    own = [
        vars(base)
        for base in kind.__mro__
        if base is not KeepsWidth and not base.__module__.startswith(("torch.nn.", "builtins"))
    ]
    return any(name in attributes for attributes in own for name in _OWN_COPYING)


_OWN_COPYING = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
_HOLDERS = frozenset({dict, list, tuple, set, OrderedDict})
_OF_MODULES = frozenset({"_parameters", "_buffers", "_modules"})
_STANDARD_NAMES = frozenset(vars(nn.Module()))
_STANDARD = tuple(
    (n, type(v))
    for n, v in vars(nn.Module()).items()
    if type(v) in (dict, set, OrderedDict) and n not in _OF_MODULES
)
_FUNCTIONS = {types.FunctionType, types.BuiltinFunctionType, torch.jit.ScriptFunction}
_PLAIN = frozenset({int, float, bool, str, type(None), type, torch.dtype, *_FUNCTIONS})
_CONTAINERS = frozenset({dict, list, set, OrderedDict})


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each tensor once, under its first name; parameters first."""
    return tensors_in_modules(walk(model))


def tensors_in_modules(modules: Modules) -> dict[str, Tensor]:
    """`named_tensors` of modules that were walked already."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for kind in ("_parameters", "_buffers"):
        for path, module in modules.items():
            for name, tensor in getattr(module, kind).items():  # of TorchScript's, no attribute of their own
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{path}.{name}" if path else name] = tensor
    return found


def walk(model: nn.Module) -> Modules:
    """Every module once, under its first name, in the order of `named_modules`, with less work."""
    seen: set[int] = set()
    result: Modules = {}

    def visit(path: str, prefix: str, module: nn.Module) -> None:
        seen.add(id(module))
        result[path] = module
        for name, child in module._modules.items():
            if child is not None and id(child) not in seen:
                visit(prefix + name, f"{prefix}{name}.", child)

    visit("", "", model)
    return result


def meta_twin(
    model: nn.Module,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, Tensor] | None = None,
    training: bool = False,
    tensors: Mapping[str, Tensor] | None = None,
) -> Twin:
    """The model on meta tensors, in eval mode or as it is trained; tensors named in `shapes` get another
    shape, those in `values` are as given.

    `tensors` are its `named_tensors`, where they are known.
    """
    replace: dict[int, Tensor] = {}
    numbers: dict[str, Tensor] = {}
    shapes, values = shapes or {}, values or {}
    for name, tensor in (named_tensors(model) if tensors is None else tensors).items():
        if is_lazy(tensor):
            raise TraceError(f"{name} has no shape yet; run the model once on real inputs before tracing it.")
        if _is_list(name, tensor):
            numbers[name] = tensor.detach().to("cpu", copy=True)
        replace[id(tensor)] = values[name] if name in values else _stand_in(tensor, shapes.get(name))
    twin = copy_model(model, replace)
    modules = walk(twin.train()) if training else _in_eval_mode(twin)
    without_widths(modules)
    return Twin(twin, modules, numbers, training)


def _in_eval_mode(model: nn.Module) -> Modules:
    """`model.eval()`, without its cost where no class changes what that means; the modules that the model has
    then.
    """
    modules = walk(model)
    kinds: set[Any] = set(map(type, modules.values()))
    if any(kind.train is not nn.Module.train or kind.eval is not nn.Module.eval for kind in kinds):
        return walk(model.eval())
    for module in modules.values():
        module.__dict__["training"] = False
    return modules


def _is_list(name: str, tensor: Tensor) -> bool:
    """Whether a buffer is a few real numbers, and not the statistics of a norm."""
    if (
        isinstance(tensor, nn.Parameter)
        or not tensor.is_floating_point()
        or tensor.numel() > _LARGEST_LIST
        or tensor.is_meta
    ):
        return False
    return not name.endswith(("running_mean", "running_var"))


def _stand_in(tensor: Tensor, shape: Sequence[int] | None) -> Tensor:
    is_parameter = isinstance(tensor, nn.Parameter)
    if is_parameter or shape is not None:
        blank = like(tensor) if shape is None else torch.empty(shape, dtype=tensor.dtype, device="meta")
        return nn.Parameter(blank, tensor.requires_grad) if is_parameter else blank
    if (
        tensor.dtype.is_floating_point
        or tensor.dtype.is_complex
        or tensor.numel() > _LARGEST_TABLE
        or tensor.device.type == "meta"
    ):
        return like(tensor)
    return tensor.detach().to("cpu", copy=True)


def fingerprint(model: nn.Module) -> str:
    """Identifies an architecture by the names and shapes of its parameters and buffers."""
    return fingerprint_of({name: t.shape for name, t in named_tensors(model).items()})


def fingerprint_of(shapes: Mapping[str, Sequence[int]]) -> str:
    """`fingerprint` from the shapes by name."""
    text = json.dumps([(name, list(shape)) for name, shape in sorted(shapes.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
