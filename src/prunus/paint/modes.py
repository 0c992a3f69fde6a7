"""Whether the code of a model does anything else in train mode, as far as its source names it: the mode,
gradients, or another `train()`.

What is said here only saves time: a model that hides its mode elsewhere is caught where the compact model is
compared in training.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
import types
from collections.abc import Hashable, Iterator, Mapping, Set
from functools import cache
from typing import Any, cast

import torch
from torch import nn

from prunus._foundation.seeds import seeded
from prunus.paint.callees import callees, codes, defined, functions_of, is_torchs, names_in, plain

_TELLS = frozenset({"training", "is_grad_enabled", "is_inference_mode_enabled", "requires_grad"})
_NOISE = ("drop_prob", "drop_rate", "p")  # of layers that leave out whole branches
# read alike, as in modules
_DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d"})
_OF_GRADIENTS = frozenset(
    "apply autograd Function backward grad register_hook register_post_accumulate_grad_hook".split()
)
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
_OWN = frozenset(vars(nn.Module()))
_HOOKS = tuple(name for name in _OWN if name.endswith("_hooks"))
_DEPTH = 3  # calls of functions from functions
_SHORTEST = 4  # letters of a part of a name


def trains_alike(modules: Mapping[str, nn.Module]) -> bool:
    """Whether nothing in a model asks for its mode but batch norms and dropout, which
    read the same in both.
    """
    names = _reached(frozenset(map(type, modules.values())))
    return all(_alike(module, names) for module in modules.values())


def leaves_gradients(modules: Mapping[str, nn.Module]) -> bool:
    """Whether nothing in the code of a model, as far as it is named, makes gradients of its own or listens to
    them.
    """
    return not makes_gradients(modules)


def makes_gradients(modules: Mapping[str, nn.Module]) -> str:
    """What in a model makes gradients of its own or listens to them, in words; "" where nothing does."""
    for name, module in modules.items():
        if any(vars(module).get(hooks) for hooks in _BACKWARD_HOOKS):
            return f"the backward hook of {name or type(module).__name__}"
    names = _reached(frozenset(map(type, modules.values())))
    held = (one for module in modules.values() for one in _kept(module, names))
    found = sorted(_OF_GRADIENTS & names.union(*(_named_by(one, _DEPTH) for one in held)))
    return f"the code that calls {found[-1]}" if found else ""


def _alike(module: nn.Module, names: frozenset[str]) -> bool:
    own, kind = vars(module), type(module)
    if "forward" in own or any(map(own.get, _HOOKS)):
        return False
    if isinstance(module, (nn.AlphaDropout, nn.FeatureAlphaDropout)):
        return module.p == 0
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
        return kind.train is nn.Module.train
    if is_torchs(kind.__module__):
        return True
    if any(map(asks, _kept(module, names))):
        return False
    return not _kind_asks(cast(Hashable, kind), names) or (_drops(kind) and _scales_samples(module))


def _kept(module: nn.Module, names: Set[str]) -> Iterator[types.FunctionType]:
    """The functions among what a module of the user's has as attributes, and in them."""
    own = vars(module)
    return (one for name in own.keys() - _OWN for one in functions_of(own[name], names))


def _drops(kind: type) -> bool:
    """Layers that leave out branches by chance."""
    return "drop" in kind.__name__.lower() or "stochasticdepth" in kind.__name__.lower()


def _scales_samples(module: nn.Module) -> bool:
    """Whether a layer that leaves out branches multiplies each sample by one number, or, its chance being
    zero, passes on what it gets.
    """
    own = vars(module)
    if any(own.get(name) in (0, 0.0, None) for name in _NOISE if name in own):
        return True
    if (
        module._parameters
        or module._buffers
        or module._modules
        or len(numbers := [own[name] for name in _NOISE if name in own]) != 1
    ):
        return False
    values = tuple(
        [
            value
            for name, value in own.items()
            if isinstance(value, (bool, int, float, str)) and name not in _NOISE
        ]
    )
    return _scales(type(module), numbers[0], values, module)


_tried: dict[Any, bool] = {}


def _scales(kind: Any, chance: Any, values: tuple[Any, ...], module: nn.Module) -> bool:
    """Tried out once per kind and setting, on a copy."""
    key = (kind, chance, values)
    if key not in _tried:
        tried = copy.deepcopy(module).train()
        with seeded(), torch.no_grad():
            x = torch.rand(8, 3, 2, 2, dtype=torch.float64) + 1
            try:
                ratio = (tried(x) / x).flatten(1)
                _tried[key] = bool(torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-12, atol=0))
            except Exception:  # whatever such a layer is
                _tried[key] = False
    return _tried[key]


@cache
def _kind_asks(kind: Any, names: frozenset[str]) -> bool:
    if kind.train is not nn.Module.train:
        return True
    return any(asks(function) for name, function in defined(kind) if _is_reached(name, names))


def _is_reached(name: str, names: frozenset[str] | set[str]) -> bool:
    """Whether a method may be called where these names are read; by `getattr` it may be called by a part of
    its name.
    """
    return name in names or (
        "getattr" in names and any(len(part) >= _SHORTEST and part in name for part in names)
    )


@cache
def _reached(kinds: frozenset[type]) -> frozenset[str]:
    """All names and texts on the way from the forwards of these classes, in their methods and in the
    functions that these call.
    """
    names, done = {"forward", "__call__", "__getattr__"}, set[int]()
    while True:
        found = [
            value
            for kind in kinds
            for name, value in defined(kind)
            if id(value) not in done and _is_reached(name, names)
        ]
        if not found:
            return frozenset(names)
        for value in found:
            done.add(id(value))
            names |= _names_in(value)


def _names_in(function: Any, depth: int = _DEPTH) -> set[str]:
    function = plain(function)
    if not isinstance(function, types.FunctionType):
        return set()
    names = names_in(function)
    called = callees(function) if depth else ()
    return {*names}.union(_texts(function, names), *(_named_by(one, depth - 1) for one in called))


def _texts(function: types.FunctionType, names: Set[str]) -> Set[str]:
    """The texts by which a function may read attributes."""
    return (
        {text for code in codes(function.__code__) for text in code.co_consts if isinstance(text, str)}
        if "getattr" in names
        else set()
    )


def _named_by(function: types.FunctionType, depth: int) -> set[str]:
    """The names in a function that somebody calls, and its own."""
    return {function.__name__} | _names_in(function, depth)


def asks(function: Any, depth: int = _DEPTH) -> bool:
    """Whether a function, or one that it calls by a global name, asks for a mode, other
    than to tell dropout.
    """
    function = plain(function)
    if not isinstance(function, types.FunctionType):
        return False
    names = names_in(function)
    if not _TELLS.isdisjoint(_texts(function, names)):
        return True
    if not _TELLS.isdisjoint(names) and not _tells_dropout_alone(function):
        return True
    return bool(depth) and any(asks(one, depth - 1) for one in callees(function))


@cache
def _tells_dropout_alone(function: types.FunctionType) -> bool:
    """Whether a function names its mode only where it calls dropout, by a function of torch or one that does
    nothing else with it.

    False where its source is not at hand.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return False
    told = {
        id(node)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for given in _told(call, function)
        for node in ast.walk(given)
    }
    return all(
        id(node) in told
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name)) and _named(node) in _TELLS
    )


def _named(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _told(call: ast.Call, function: types.FunctionType) -> list[ast.expr]:
    """The arguments by which a call tells dropout of the mode."""
    name = _named(call.func)
    if name in _DROPOUTS:
        return [*call.args[2:3], *(one.value for one in call.keywords if one.arg == "training")]
    if name == "scaled_dot_product_attention":
        return [one.value for one in call.keywords if one.arg == "dropout_p"]
    called = plain(function.__globals__.get(name)) if isinstance(call.func, ast.Name) else None
    if isinstance(called, types.FunctionType) and called is not function and _tells_dropout_alone(called):
        return [one.value for one in call.keywords if one.arg == "training"]
    return []


__all__ = ["asks", "leaves_gradients", "makes_gradients", "trains_alike"]
