"""Networks that files name, built in bounded memory: how large they are is what a file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MOST = 4 << 30  # bytes of a network that a file names: a thousand million numbers in single precision


class Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the tensors that are made from nothing, as parameters are, before anything is written into
    them; what makes more than `MOST` bytes of them ends in a MemoryError.

    Attributes:
        exceeded: it has.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.exceeded, self._bytes = False, 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if isinstance(made, Tensor) and not any(
            isinstance(one, Tensor) for one in tree_leaves((args, kwargs))
        ):
            self._bytes += made.nbytes
            self.exceeded = self._bytes > MOST
            if self.exceeded:
                raise MemoryError(f"More than {MOST:,} bytes.")
        return made
