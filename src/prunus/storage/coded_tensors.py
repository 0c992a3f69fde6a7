"""A model's tensors as entries of a coded file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.wording import dtype_name
from prunus.coding.table import DTYPES, Entry, shape_of
from prunus.coding.tensors import CodedTensor, Plain, values_of
from prunus.errors import FileFormatError
from prunus.paint.model_copy import named_tensors


def entries_of(model: nn.Module, tensors: Mapping[str, CodedTensor]) -> dict[str, Entry]:
    """The model's own tensors, each once under its first name, with the values that they are to have."""
    first = {id(tensor): name for name, tensor in named_tensors(model).items()}
    every = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name in tensors:
        if name not in every:
            raise FileFormatError(f"{type(model).__name__} has no tensor {name!r}, so it is not saved.")
    coded = {first[id(every[name])]: value for name, value in tensors.items()}
    found = {}
    for name, tensor in named_tensors(model).items():
        entry = _entry(coded[name], tensor) if name in coded else _as_it_is(name, tensor)
        if shape_of(entry.coded) != tuple(tensor.shape) or entry.dtype != dtype_name(tensor.dtype):
            raise FileFormatError(
                f"{name} is coded with shape {shape_of(entry.coded)} as {entry.dtype}, but the model has it"
                f" with shape {tuple(tensor.shape)} as {dtype_name(tensor.dtype)}, so it is not saved."
            )
        found[name] = entry
    return found


def _entry(coded: CodedTensor, tensor: Tensor) -> Entry:
    if not isinstance(coded, Plain):
        return Entry(coded)
    name = dtype_name(tensor.dtype)
    if name == "bfloat16" and coded.values.dtype == np.float32:  # which numpy lacks
        bits = torch.from_numpy(coded.values).to(torch.bfloat16)
        if np.array_equal(bits.float().numpy(), coded.values, equal_nan=True):
            return Entry(Plain(bits.view(torch.uint16).numpy()), name)
    fits = DTYPES.get(name) is not None and np.dtype(DTYPES[name]) == coded.values.dtype.newbyteorder("<")
    return Entry(coded, name if fits else str(coded.values.dtype))


def _as_it_is(name: str, tensor: Tensor) -> Entry:
    """A tensor in its own type; raises FileFormatError where that has no form in a file."""
    dtype = dtype_name(tensor.dtype)
    if dtype not in DTYPES:
        raise FileFormatError(f"{name} is of type {dtype}, which has no form in a coded file.")
    values = tensor.detach().to("cpu").contiguous()
    if DTYPES[dtype] in ("<u2", "|u1") and dtype != "uint8":
        values = values.view(torch.uint8 if DTYPES[dtype] == "|u1" else torch.uint16)
    return Entry(Plain(values.numpy()), dtype)


def tensor_of(entry: Entry) -> Tensor:
    """The decoded values, in the type that the model has them in."""
    values: NDArray[Any] = values_of(entry.coded)
    tensor = torch.from_numpy(np.ascontiguousarray(values).reshape(values.shape))
    dtype: torch.dtype = getattr(torch, entry.dtype)
    return tensor if tensor.dtype == dtype else tensor.view(dtype)


__all__ = ["entries_of", "tensor_of"]
