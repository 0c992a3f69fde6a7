"""What torch is set to around a call, and must not change what the call gives: inference mode, autocast,
dispatch modes, a default device of meta.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Work as if nobody had set anything.

    What is made inside can be trained, whether or not the call came from inference mode, and gradients are
    there for those who need them. Deviceless tensors are made on the CPU where they would have no values; any
    other default device stays, since a model's own forward may count on it.
    """
    import torch
    from torch.utils import _python_dispatch as dispatch

    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for device in _AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type == "meta":
            stack.enter_context(torch.device("cpu"))
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(dispatch._disable_current_modes())
        yield


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what torch.compile wrapped as it was written."""
    if "torch._dynamo" not in sys.modules:  # nothing can have been compiled
        yield
        return
    import torch

    stance: Any = torch.compiler.set_stance("force_eager")
    with stance:
        yield


__all__ = ["uncompiled", "undisturbed"]
