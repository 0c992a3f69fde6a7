"""`torch.compile` for training, where it saves time on a CPU as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from prunus.training.calls import samples_in


class Compiled(nn.Module):
    """A model that is compiled once for batches of all lengths, and for every size of image by itself.

    Batches of a training differ by a sample or so, and by many where samples are chosen; of sizes there are
    few, and loops over a fixed one are quicker. On a CPU batch norms in training are written out, in float32
    at least. A batch of one sample runs as it is.

    Args:
        model: on any device; it stays as it is, and keeps its parameters.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._compiled = torch.compile(_WithNormsWrittenOut(model), dynamic=False)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the model makes of them."""
        if samples_in(named or inputs) < 2:
            return self.model(*inputs, **named)
        for one in tree_leaves((inputs, named)):
            if isinstance(one, Tensor) and one.dim() and len(one) > 1:
                torch._dynamo.maybe_mark_dynamic(one, 0)
        return self._compiled(*inputs, **named)


class _WithNormsWrittenOut(nn.Module):
    """A module of its own, so that the compiler sees where the norms are changed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any, **named: Any) -> Any:
        with _NormsWrittenOut():
            return self.model(*inputs, **named)


class _NormsWrittenOut(TorchFunctionMode):
    """Batch norms in training on a CPU are plain arithmetic, which a compiler joins with what stands beside
    them; of torch's own operator Inductor makes loops that are slower than the operator.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of (batch, channels, ...); in training on a CPU written out."""
    if not training or input.device.type != "cpu":
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    x = input
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    wide = x if x.dtype == torch.float64 else x.float()
    mean = wide.mean(axes)
    centred = wide - mean.view(shape)
    var = centred.square().mean(axes)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((var * (count / (count - 1))).to(running_var), momentum)
    scale = torch.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    made = centred * scale.view(shape)
    if bias is not None:
        made = made + bias.view(shape)
    return made.to(x.dtype)
