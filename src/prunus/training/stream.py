"""Batches that somebody else makes (a `DataLoader`, a list, a generator with a length), as the training loop
takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from prunus._foundation.seeds import makers_of
from prunus.errors import ConfigError, DataError
from prunus.paint.nests import map_tensors
from prunus.training.calls import as_dicts, not_pair, samples_in
from prunus.training.feeding import resized


class Stream:
    """Batches in their own order: what the loop counts as samples to draw are the batches themselves.

    Args:
        batches: of (inputs, targets), as many in every pass as `len` says. Inputs are a tensor, a tuple or
            list of what the model is called with, or a dictionary of that by name.
        device: where they are brought to.
        dtype: of inputs with a point, as the network has its numbers.
        channels_last: bring images there in the channels-last memory format.

    Raises:
        ConfigError: an iterable without length.
    """

    def __init__(
        self, batches: Iterable[Any], device: torch.device, dtype: torch.dtype, channels_last: bool
    ) -> None:
        try:
            self._count = len(batches)  # type: ignore[arg-type]
        except TypeError:
            raise ConfigError(
                f"A {type(batches).__name__} does not know how many batches it has: the learning rate follows"
                " a schedule and needs len()."
            ) from None
        if not self._count:
            raise DataError("There are no batches to train on.")
        self._batches, self._device, self._dtype = batches, device, dtype
        self._channels_last = channels_last
        self._running: Iterator[Any] = iter(())
        self._last: Any = None  # inputs, in their own size

    def __len__(self) -> int:
        return self._count

    def __call__(
        self,
        part: Tensor,
        generator: torch.Generator | None,
        share: slice = slice(None),
        size: float = 1.0,
        epoch: int = 0,
    ) -> tuple[Any, Any]:
        """The next batch; position 0 begins a new pass. Images (batch, C, H, W) get `size` times their sides.

        Raises DataError where the pass ends too early, or a batch is no pair or without samples.
        """
        if part[0] == 0:
            for maker in makers_of(self._batches):
                if callable(getattr(maker, "set_epoch", None)):
                    maker.set_epoch(epoch)
            self._running = iter(self._batches)
        batch = next(self._running, None)
        if batch is None:
            raise DataError(
                f"The {type(self._batches).__name__} ended before batch {int(part[0]) + 1} of the"
                f" {self._count} that it has by its length."
            )
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise DataError(f"A batch must be a pair (inputs, targets), {not_pair(batch)}.")
        if not samples_in(batch[0]):
            raise DataError(f"Batch {int(part[0]) + 1} to train on has no samples: leave it out.")
        inputs, targets = map_tensors(
            as_dicts(tuple(batch)), lambda tensor: tensor.to(self._device, non_blocking=True)
        )
        inputs = map_tensors(
            inputs, lambda tensor: tensor.to(self._dtype) if tensor.is_floating_point() else tensor
        )
        self._last = inputs
        return map_tensors(inputs, lambda tensor: self._as_image(tensor, size)), targets

    def whole(self, part: Tensor, share: slice) -> Any:
        """The inputs of the batch that was given last, in their own size."""
        return self._last

    def _as_image(self, tensor: Tensor, size: float) -> Tensor:
        if tensor.dim() != 4 or not tensor.is_floating_point():
            return tensor
        if size != 1:
            tensor = resized(tensor, size)
        return tensor.contiguous(
            memory_format=torch.channels_last if self._channels_last else torch.contiguous_format
        )
