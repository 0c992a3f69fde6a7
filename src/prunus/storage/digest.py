"""One checksum for every file of prunus: over what its header says and over its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHECKSUM = "sha256"  # the entry of a header that holds it


def digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """SHA-256 over the header without its checksum, then names, shapes, dtypes and bytes of the tensors, in
    the order of the names.
    """
    found = hashlib.sha256()
    found.update(
        json.dumps({key: value for key, value in header.items() if key != CHECKSUM}, sort_keys=True).encode()
    )
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(f"\0{name}\0{tuple(tensor.shape)}{tensor.dtype}\0".encode())
        found.update(
            np.asarray(tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.zeros(0)).tobytes()
        )
    return found.hexdigest()
