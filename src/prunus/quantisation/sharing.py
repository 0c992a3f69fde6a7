"""How much error each layer may have: what a byte buys is the same everywhere.

The divergence of the outputs is taken as the sum over layers of a_l e_l, e_l being the error of a layer's own
outputs as a share of their variance, and a_l measured with weights of that layer alone rounded. A layer of
n_l weights costs -n_l / 2 log2 e_l bits and what does not depend on e_l. So for a given sum of bits the
divergence is least where a_l e_l is proportional to n_l.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.observe.capture import check_repeatable
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs, as_arguments, called, tensors_in
from prunus.paint.model_copy import copy_model
from prunus.quantisation.layers import layers

NUMBERS = 1 << 23  # in the inputs that it is measured with: 56 images of 224 pixels
TRIED = 0.05  # the relative error of a layer's weights while its a_l is measured
BOUNDS = (1 / 16, 16.0)  # of shares: the sum over layers is a model of small errors


@door()
@torch.no_grad()
def error_shares(
    model: nn.Module, graph: ChannelGraph, batches: Iterable[Inputs], samples: int = 256
) -> dict[str, float]:
    """What the error of every layer is to be multiplied with, by name; the bits stay about the same.

    Args:
        model: in which it is measured; not changed.
        graph: of the model.
        batches: calibration inputs, as the model takes them; read once per layer.
        samples: of them are taken, fewer of large inputs.
    """
    check_repeatable(batches)
    running = copy_model(model, {}).eval()
    some = list(_some(batches, samples))
    original = [list(_outputs(running, batch)) for batch in some]
    weights, sizes = {}, {}
    for layer in layers(graph):
        module: Any = running.get_submodule(layer.name)
        kept = module.weight.clone()
        changed = _rounded(kept)
        module.weight.copy_(changed)
        own, apart = [], []
        for batch, outputs in zip(some, original):
            args, made, after = _run(running, layer.name, batch)
            module.weight.copy_(kept)  # what it gets is what it gets in the original
            own.append(([module(*args)], [made]))
            module.weight.copy_(changed)
            apart.append((outputs, after))
        module.weight.copy_(kept)
        weights[layer.name] = _relative(apart) / max(_relative(own), 1e-12)
        sizes[layer.name] = int((kept != 0).sum())
    return shares_of(weights, sizes)


def shares_of(weights: dict[str, float], sizes: dict[str, int]) -> dict[str, float]:
    """n_l / a_l, multiplied so that the bits stay the same."""
    logs = {
        name: math.log(max(sizes[name], 1)) - math.log(max(weight, 1e-9)) for name, weight in weights.items()
    }
    mean = sum(logs[name] * sizes[name] for name in logs) / max(sum(sizes.values()), 1)
    return {name: min(max(math.exp(log - mean), BOUNDS[0]), BOUNDS[1]) for name, log in logs.items()}


def _some(batches: Iterable[Inputs], samples: int) -> Iterator[Inputs]:
    """The first samples, or fewer whose numbers are enough; whole batches of what is more than one tensor."""
    seen = numbers = 0
    for batch in batches:
        first = next(tensors_in(batch))
        size = max(first[:1].numel(), 1)
        room = min(samples - seen, -(-(NUMBERS - numbers) // size))
        yield batch[:room] if isinstance(batch, Tensor) else batch
        seen, numbers = seen + len(first), numbers + first.numel()
        if seen >= samples or numbers >= NUMBERS:
            return


def _outputs(model: nn.Module, batch: Inputs) -> Iterator[Tensor]:
    args, kwargs = as_arguments(batch)
    return (t for t in tensors_in(called(model, args, kwargs)) if t.is_floating_point())


def _run(model: nn.Module, name: str, batch: Inputs) -> tuple[tuple[Any, ...], Tensor, list[Tensor]]:
    """What a layer gets and makes, and what the network does."""
    found: list[tuple[tuple[Any, ...], Tensor]] = []

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        given = args or (kwargs["input"],)
        found.append(
            (tuple(one.clone() for one in given), output.clone())
        )  # what follows may write into them

    handle = model.get_submodule(name).register_forward_hook(look, with_kwargs=True)
    try:
        outputs = list(_outputs(model, batch))
    finally:
        handle.remove()
    return *found[0], outputs


def _rounded(weight: Tensor) -> Tensor:
    """Weights on a grid whose error is `TRIED` of their mean square."""
    step = (12 * TRIED * weight.double().square().mean()).sqrt().clamp(min=1e-30)
    return ((weight.double() / step).round() * step).to(weight.dtype)


def _relative(pairs: Iterable[tuple[list[Tensor], list[Tensor]]]) -> float:
    """The squared difference of pairs of tensors, as a share of the variance of the first."""
    apart = squares = total = 0.0
    count = 0
    for before, after in pairs:
        for a, b in zip(before, after):
            a, b = a.double(), b.double()
            apart += float((a - b).square().sum())
            squares, total, count = (
                squares + float(a.square().sum()),
                total + float(a.sum()),
                count + a.numel(),
            )
    return apart / max(squares - total * total / max(count, 1), 1e-30)


__all__ = ["error_shares", "shares_of"]
