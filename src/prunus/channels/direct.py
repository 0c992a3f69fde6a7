"""Forwards of torch's own layers that hand their one operator straight to the painter.

The way through torch's dispatcher takes longer than painting does. Only layers of exactly these classes, called with what they are made for, go
the short way; the painter sees the operator and the arguments that the dispatcher would have given it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[..., Any]
Dispatch = Callable[[Any, tuple[Any, ...]], Any]
_ATEN = torch.ops.aten


def direct(module: nn.Module, dispatch: Dispatch) -> Forward:
    """The module's forward, the short way where there is one; `dispatch` gets an operator and its arguments."""
    make = _DIRECT.get(type(module))
    usual: Forward = module.forward
    return usual if make is None or "forward" in vars(module) else make(module, usual, dispatch)


def _convolution(module: nn.Conv2d, usual: Forward, dispatch: Dispatch) -> Forward:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return usual
    sizes = (list(module.stride), list(module.padding), list(module.dilation), False, [0, 0])

    def forward(x: Tensor) -> Any:
        if not x.is_meta or x.dim() != 4:
            return usual(x)
        return dispatch(_ATEN.convolution.default, (x, module.weight, module.bias, *sizes, module.groups))

    return forward


def _batch_norm(module: nn.BatchNorm2d, usual: Forward, dispatch: Dispatch) -> Forward:
    momentum = 0.0 if module.momentum is None else module.momentum

    def forward(x: Tensor) -> Any:
        if not x.is_meta or x.dim() != 4 or module.training or module.running_mean is None or module.running_var is None:
            return usual(x)
        vectors = (module.weight, module.bias, module.running_mean, module.running_var)
        return dispatch(_ATEN.native_batch_norm.default, (x, *vectors, False, momentum, module.eps))[0]

    return forward


def _activation(name: str, *numbers: float) -> Callable[[nn.Module, Forward, Dispatch], Forward]:
    def make(module: nn.Module, usual: Forward, dispatch: Dispatch) -> Forward:
        operator = getattr(_ATEN, f"{name}_" if getattr(module, "inplace", False) else name).default

        def forward(input: Tensor) -> Any:
            return dispatch(operator, (input, *numbers)) if input.is_meta else usual(input)

        return forward

    return make


_DIRECT: dict[type[nn.Module], Callable[..., Forward]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _activation("relu"),
    nn.ReLU6: _activation("hardtanh", 0.0, 6.0),
    nn.SiLU: _activation("silu"),
    nn.Hardswish: _activation("hardswish"),
    nn.Hardsigmoid: _activation("hardsigmoid"),
    nn.Sigmoid: _activation("sigmoid"),
}
