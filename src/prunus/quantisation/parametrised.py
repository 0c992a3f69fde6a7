"""Tensors that are computed from others while a network is trained, and plain again afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation import parametrised
from prunus.paint.model_copy import named_tensors
from prunus.quantisation.quantised import own_copy


def put_on(model: nn.Module, name: str, parametrisation: nn.Module) -> None:
    """Compute the tensor of this name by a parametrisation from now on, in place."""
    path, _, own = name.rpartition(".")
    parametrised.put_on(model.get_submodule(path), own, parametrisation, unsafe=True)


def behind(model: nn.Module, name: str) -> tuple[Any, Tensor]:
    """The parametrisation of a tensor, and what it computes it from."""
    path, _, own = name.rpartition(".")
    found: Any = model.get_submodule(path).parametrizations[own]  # type: ignore[index]
    return found[0], found.original


@torch.no_grad()
def taken_off(network: nn.Module, like: nn.Module, names: Iterable[str]) -> nn.Module:
    """A network without its parametrisations, as a copy of the one that it was made of, so that its tensors
    have their old order.

    Args:
        network: with parametrisations on the tensors of these names.
        like: what it was before they were put on.
        names: of the tensors.
    """
    plain, computed = own_copy(like).eval(), set(names)
    network.eval()
    trained = named_tensors(network)
    for name, tensor in named_tensors(plain).items():
        if name in computed:
            path, _, own = name.rpartition(".")
            tensor.copy_(getattr(network.get_submodule(path), own))
        else:
            tensor.copy_(trained[name])
    return plain


__all__ = ["behind", "put_on", "taken_off"]
