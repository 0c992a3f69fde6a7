"""Which tensors a file can hold, and the form in which it does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn.parameter import is_lazy

from prunus.errors import FileFormatError


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Raises FileFormatError that names the first tensor which no file can hold."""
    for name, tensor in tensors.items():
        problem = _problem(tensor)
        if problem:
            raise FileFormatError(f"The tensor {name} {problem}.")


def all_stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file holds them; numbers that several share, as views do, are there for each of them.
    Errors are those of `as_stored`.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        held = as_stored(name, tensor)
        place = held.untyped_storage().data_ptr()
        found[name] = held.clone() if place in seen else held
        seen.add(place)
    return found


def as_stored(name: str, tensor: Tensor) -> Tensor:
    """A tensor as a file holds it: on the CPU, its numbers in their order, none of them yet to be conjugated.
    Raises FileFormatError, which names it, where no file can.
    """
    check_tensors({name: tensor})
    return tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous()


def _problem(tensor: Tensor) -> str:
    """Why a file cannot hold a tensor, and what to do; "" where it can."""
    if is_lazy(tensor):
        return "has no shape yet: run the model once before it is saved"
    if tensor.is_meta:
        return "has no data (it lies on the meta device): give it some before it is saved"
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "is nested" if tensor.is_nested else f"is no dense one ({tensor.layout})"
        return f"{kind}, and files hold dense tensors: make it dense, or a plain attribute of its module"
    if not _is_held(tensor.dtype):
        return f"is of {tensor.dtype}, which safetensors files do not hold: convert it to another type"
    return ""


@cache
def _is_held(dtype: torch.dtype) -> bool:
    """Whether files can hold numbers of a type: asked of the library itself, as newer ones know more."""
    try:
        to_bytes({"": torch.empty(0, dtype=dtype)})
    except Exception:  # it has no error of its own for that, and quantised types cannot even be made
        return False
    return True
