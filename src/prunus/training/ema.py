"""An average of a model's weights in the course of its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from prunus.paint.model_copy import named_tensors

# whose numbers can be averaged; those of 8 bits cannot
_AVERAGED = frozenset(
    (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)
)
_TOLERANCE = 1e-9  # of shares of the training, which are sums of fractions


class Average:
    """Follows the real and complex parameters and buffers of a model: a <- d a + (1 - d) w with
    d = min(decay, (1 + t) / (10 + t)) at step t.

    With `last`, a is the plain mean over the steps of the last part of the training, and w itself before.
    """

    def __init__(self, model: nn.Module, decay: float, last: float = 0.0) -> None:
        self._followed = _followed(model)
        self._values = {name: t.detach().clone() for name, t in self._followed.items()}
        self._decay, self._last, self._steps = decay, last, 0

    @property
    def values(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return self._values

    def follow(self, model: nn.Module, values: dict[str, Tensor]) -> None:
        """Go on with another network of the same names, and the average of its weights so far."""
        self._followed = {name: t for name, t in _followed(model).items() if name in values}
        self._values = {name: values[name] for name in self._followed}

    @torch.no_grad()
    def update(self, done: float = 1.0) -> None:
        """After a step of the optimiser, when the part `done` of the training lies before the step."""
        if not self._last:
            decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        elif done < 1 - self._last - _TOLERANCE:
            decay, self._steps = 0.0, -1  # the weights as they are, and none of them counts
        else:
            decay = self._steps / (self._steps + 1)
        self._steps += 1
        torch._foreach_lerp_(
            list(self._values.values()), [t.detach() for t in self._followed.values()], 1 - decay
        )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averaged weights in the model for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @contextmanager
    def following(self) -> Iterator[None]:
        """What is changed in the model meanwhile (filters set to zero, say) is changed in the average too."""
        before = {name: t.detach().clone() for name, t in self._followed.items()}
        yield
        with torch.no_grad():
            for name, tensor in self._followed.items():
                changed = before[name] != tensor
                self._values[name][changed] = tensor[changed]

    @property
    def tensors(self) -> list[Tensor]:
        """The averaged weights."""
        return list(self._values.values())

    @torch.no_grad()
    def keep(self) -> None:
        """Leave the averaged weights in the model."""
        for name, tensor in self._followed.items():
            tensor.copy_(self._values[name])

    def state(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"steps": self._steps, "values": dict(self._values)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, object]) -> None:
        """From a checkpoint of the same model."""
        steps, values = state["steps"], state["values"]
        assert isinstance(steps, int) and isinstance(values, dict)
        self._steps = steps
        for name, tensor in self._values.items():
            tensor.copy_(values[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._followed.items():
            held: Tensor = tensor.detach().clone()
            tensor.copy_(self._values[name])
            self._values[name].copy_(held)


def _followed(model: nn.Module) -> dict[str, Tensor]:
    """What an average is of, by name."""
    return {name: tensor for name, tensor in named_tensors(model).items() if tensor.dtype in _AVERAGED}
