"""Forwards of torch's own layers that hand their one operator straight to the painter.

The way through torch's dispatcher takes longer than painting does. Only layers of exactly these classes, as torch ships them, go the short way, and
only on plain inputs; everything else is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[..., Any]
Dispatch = Callable[[Any, tuple[Any, ...]], Any]
Short = Callable[[Any, Tensor, Dispatch], Any]
_ATEN = torch.ops.aten
_PARTS = ("forward", "_conv_forward", "_check_input_dim")  # what somebody may have replaced


def direct(module: nn.Module, dispatch: Dispatch) -> Forward:
    """The module's forward, the short way where there is one; `dispatch` gets an operator and its arguments."""
    kind, usual = type(module), module.forward
    short = _SHORT.get(kind)
    if short is None or not vars(module).keys().isdisjoint(_PARTS) or _parts(kind) != _SHIPPED[kind]:
        return usual

    def forward(input: Tensor) -> Any:
        result = short(module, input, dispatch) if _plain(input) else NotImplemented
        return usual(input) if result is NotImplemented else result

    return forward


def _plain(input: Tensor) -> bool:
    """Whether nothing but the painter would see the operator: no subclass, no gradient, no transform."""
    return (
        type(input) is Tensor
        and input.is_meta
        and input.is_floating_point()
        and input.numel() > 0
        and not torch.is_grad_enabled()
        and not torch._C._are_functorch_transforms_active()
    )


def _convolution(module: nn.Conv2d, input: Tensor, dispatch: Dispatch) -> Any:
    sizes = (module.stride, module.padding, module.dilation)
    if input.dim() != 4 or module.padding_mode != "zeros" or not all(type(size) is tuple for size in sizes):
        return NotImplemented
    return dispatch(_ATEN.convolution.default, (input, module.weight, module.bias, *map(list, sizes), False, [0, 0], module.groups))


def _batch_norm(module: nn.BatchNorm2d, input: Tensor, dispatch: Dispatch) -> Any:
    mean, variance = module.running_mean, module.running_var
    if input.dim() != 4 or module.training or mean is None or variance is None or mean.shape != input.shape[1:2]:
        return NotImplemented
    momentum = 0.0 if module.momentum is None else module.momentum
    vectors = (module.weight, module.bias, mean, variance)
    return dispatch(_ATEN.native_batch_norm.default, (input, *vectors, False, momentum, module.eps))[0]


def _relu6(module: nn.ReLU6, input: Tensor, dispatch: Dispatch) -> Any:
    operator = _ATEN.hardtanh_ if module.inplace else _ATEN.hardtanh
    return dispatch(operator.default, (input, module.min_val, module.max_val))


def _activation(function: Any, in_place: Any = None) -> Short:
    def short(module: Any, input: Tensor, dispatch: Dispatch) -> Any:
        return dispatch(in_place if in_place is not None and module.inplace else function, (input,))

    return short


_SHORT: dict[type[nn.Module], Short] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _activation(_ATEN.relu.default, _ATEN.relu_.default),
    nn.ReLU6: _relu6,
    nn.SiLU: _activation(_ATEN.silu.default, _ATEN.silu_.default),
    nn.Hardswish: _activation(_ATEN.hardswish.default, _ATEN.hardswish_.default),
    nn.Hardsigmoid: _activation(_ATEN.hardsigmoid.default, _ATEN.hardsigmoid_.default),
    nn.Sigmoid: _activation(_ATEN.sigmoid.default),
}


def _parts(kind: type[nn.Module]) -> tuple[Any, ...]:
    return tuple([getattr(kind, part, None) for part in _PARTS])


_SHIPPED = {kind: _parts(kind) for kind in _SHORT}
