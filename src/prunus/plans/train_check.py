"""Whether the masked and the compact model train alike: outputs, gradients of what is left, and buffers, in
train mode, from the same random numbers.

Dropout is switched off on both sides, since it draws as many numbers as there are channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.agreement import difference
from prunus._foundation.seeds import seeded
from prunus.errors import VerifyError
from prunus.paint.dropout import NoDropout
from prunus.paint.inputs import Arguments, called, map_tensors, tensors_in, two_of
from prunus.paint.model_copy import copy_model, named_tensors, walk
from prunus.paint.modes import makes_gradients
from prunus.plans.slices import Slices, cut

_SIDES = {
    4: 64,
    5: 32,
}  # pixels of images, and of volumes and films: larger ones are made smaller, as long as the model takes them
_SCALES = (1, 1.5)  # of these, one after the other
_IMAGES = 4  # in single precision, where batch norms of few values multiply rounding by much


@dataclass(frozen=True)
class TrainDifference:
    """The largest relative difference in training, and of what; `fails` is what the compact model raised
    where the masked one ran.

    `same`: the difference is one of rounding.
    """

    relative: float
    of: str = ""
    fails: str = ""
    same: bool = False


@dataclass(frozen=True, eq=False)
class _Pass:
    """What one forward and backward gave."""

    outputs: list[Tensor]
    gradients: Mapping[str, Tensor | None]
    buffers: Mapping[str, Tensor]


def train_difference(
    masked: nn.Module,
    small: nn.Module,
    slices: Slices,
    inputs: Arguments,
    rescaled: Sequence[str] = (),
    double: bool = False,
    gradients: bool = True,
) -> TrainDifference | None:
    """How far the compact model is from the masked one in training; None where the masked one cannot be
    trained on these inputs.

    Args:
        masked: the masked model, which is left as it is, like the other.
        small: the compact one.
        slices: what is left of each tensor.
        inputs: what the models are called with; batches of one are made two, and large images small where the
            model allows it.
        rescaled: parameters whose gradients are another multiple of the masked one's, and buffers whose
            values are other slots.
        double: compare in double precision.
        gradients: compare them too.
    """
    exact = double or any(tensor.dtype == torch.float64 for tensor in masked.parameters())
    for arguments in _variants(inputs, 2 if exact else _IMAGES):
        try:
            expected = _passed(masked, arguments, double, gradients)
        except Exception:  # whatever a model raises that cannot be trained on such inputs
            continue
        try:
            found = _passed(small, arguments, double, gradients)
        except Exception as error:  # likewise, and to be told
            return TrainDifference(
                float("inf"), "", f"{type(error).__name__}: {' '.join(str(error).split())}"
            )
        return _apart(expected, found, slices, frozenset(rescaled))
    return None


def settled_training(found: TrainDifference | None, model: nn.Module) -> float | None:
    """The relative difference in training; raises VerifyError where it is not one of rounding."""
    if found is None:
        return None
    if found.fails:
        raise VerifyError(
            f"The compact model cannot be run in train mode, where the masked one can ({found.fails})."
        )
    if not found.same:
        maker = makes_gradients(walk(model)) if found.of.startswith("the gradient") else ""
        why = f": {maker} may look across channels; leave it out, or protect what it sees" if maker else ""
        raise VerifyError(
            f"In train mode the compact model differs from the masked one by {found.relative:.2g} in"
            f" {found.of}, although the plan is exact{why}."
        )
    return found.relative


def _variants(inputs: Arguments, images: int) -> Iterator[Arguments]:
    """Inputs that show much at little cost, and then those that were given."""
    smaller = list(light(inputs, images))
    yield from smaller or [map_tensors(inputs, lambda tensor: _corners(tensor, images, {}))]
    yield map_tensors(inputs, two_of)
    yield inputs


def light(inputs: Arguments, images: int = 2) -> Iterator[Arguments]:
    """A few small images, cut out of a large one, and then somewhat larger ones; nothing where there is no
    large image.
    """
    for scale in _SCALES:
        sides = {rank: int(scale * side) for rank, side in _SIDES.items()}
        if any(
            max(tensor.shape[2:]) > sides[tensor.dim()] for tensor in tensors_in(inputs) if _is_image(tensor)
        ):
            yield map_tensors(inputs, partial(_corners, count=images, sides=sides))


def _is_image(tensor: Tensor) -> bool:
    return tensor.dim() in _SIDES and tensor.is_floating_point()


def _corners(tensor: Tensor, count: int, sides: Mapping[int, int]) -> Tensor:
    """As many parts of one image or volume as asked for, or a part of each of several; of other tensors, the
    same and its mirror image in turns.
    """
    if tensor.dim() < 2:
        return tensor
    side = sides.get(tensor.dim(), 0)
    if not side or not _is_image(tensor) or max(tensor.shape[2:]) <= side:
        return torch.cat([two_of(tensor)] * (count // 2)) if tensor.shape[0] == 1 else tensor
    tensor = tensor[:, :, :side] if tensor.dim() == 5 else tensor
    if tensor.shape[0] > 1:
        return tensor[..., :side, :side]
    places = [
        (top, left)
        for top in (slice(None, side), slice(-side, None))
        for left in (slice(None, side), slice(-side, None))
    ]
    return torch.cat([tensor[..., top, left] for top, left in places[:count]])


def _passed(model: nn.Module, inputs: Arguments, double: bool, gradients: bool) -> _Pass:
    """One forward of a copy in train mode, and one backward where gradients are asked for; the copy has
    parameters of its own, as momentum encoders write into theirs.
    """
    own = copy_model(model, {})
    args, kwargs = inputs
    if double:
        own = own.double()
        args, kwargs = map_tensors(inputs, lambda t: t.double() if t.is_floating_point() else t)
    own.train()
    _still(own)
    with seeded(), torch.enable_grad(), NoDropout():
        outputs = [
            tensor
            for tensor in tensors_in(called(own, args, kwargs))
            if tensor.is_floating_point() or tensor.is_complex()
        ]
        if gradients:
            _backward(outputs)
    slopes = {name: parameter.grad for name, parameter in own.named_parameters()} if gradients else {}
    buffers = {
        name: tensor for name, tensor in named_tensors(own).items() if not isinstance(tensor, nn.Parameter)
    }
    return _Pass([tensor.detach() for tensor in outputs], slopes, buffers)


def _backward(outputs: Sequence[Tensor]) -> None:
    """Gradients of a sum of all outputs with weights that tell their elements apart."""
    generator = torch.Generator().manual_seed(1)
    losses = []
    for tensor in outputs:
        weights = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(
            tensor.device, tensor.dtype
        )
        if tensor.requires_grad:
            losses.append((tensor * weights).sum().abs() if tensor.is_complex() else (tensor * weights).sum())
    if losses:
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def _apart(expected: _Pass, found: _Pass, slices: Slices, rescaled: frozenset[str]) -> TrainDifference:
    worst = TrainDifference(difference(expected.outputs, found.outputs).relative, "the outputs")
    gradients, unlike = _pairs(expected.gradients, found.gradients, slices, rescaled)
    if _are_finite(b for _, b in gradients.values()) and not _are_finite(a for a, _ in gradients.values()):
        gradients = {}  # of removed channels: roots, say, rise without end at zero, and 0 * inf reaches all
    if unlike:
        return TrainDifference(float("inf"), f"the gradient of {unlike}, which only one of them has")
    for what, pairs in (
        ("the gradient of", gradients),
        ("the buffer", _buffers(expected.buffers, found.buffers, slices, rescaled)),
    ):
        largest = max((_largest_difference(a, a)[1] for a, _ in pairs.values()), default=0.0)
        for name, (a, b) in pairs.items():
            apart, magnitude = _largest_difference(a, b)
            relative = apart / max(magnitude, 1e-3 * largest, 1e-30)
            if not relative <= worst.relative:
                worst = TrainDifference(relative, f"{what} {name}")
    return worst


def _are_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _largest_difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Of two tensors, and the largest value of the first; the careful comparison is made only where there is
    something that is not finite.
    """
    if not a.numel():
        return 0.0, 0.0
    alike = all(one.is_floating_point() or one.is_complex() for one in (a, b))
    apart, magnitude = (
        torch.stack([(a - b).abs().max(), a.abs().max()]).tolist() if alike else (math.nan, 0.0)
    )
    if not math.isfinite(apart):
        found = difference(*([one if one.is_complex() else one.double()] for one in (a, b)))
        return found.max_abs, found.magnitude
    return float(apart), float(magnitude)


def _pairs(
    expected: Mapping[str, Tensor | None],
    found: Mapping[str, Tensor | None],
    slices: Slices,
    rescaled: frozenset[str],
) -> tuple[dict[str, tuple[Tensor, Tensor]], str]:
    """Gradients of what is left, by name; and a parameter that has one on one side alone, "" if there is
    none.
    """
    pairs = {}
    for name, b in found.items():
        a = expected.get(name)
        if name not in expected or name in rescaled or (a is None and b is None):
            continue
        if a is None or b is None:
            there = a if a is not None else b
            if there is not None and bool(there.any()):
                return {}, name
            continue
        pairs[name] = (_left(a, slices.get(name)), b)
    return pairs, ""


def _buffers(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], slices: Slices, other: frozenset[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Buffers of what is left, by name; those that a forward made anew in another shape say nothing, nor do
    counters of norms that nobody reads.
    """
    pairs = {
        name: (_left(a, slices.get(name)), found[name])
        for name, a in expected.items()
        if name in found and name not in other
    }
    return {
        name: (a, b)
        for name, (a, b) in pairs.items()
        if a.shape == b.shape and a.layout == torch.strided and not name.endswith("num_batches_tracked")
    }


def _left(tensor: Tensor, axes: Mapping[int, NDArray[np.int64]] | None) -> Tensor:
    return tensor if axes is None or max(axes) >= tensor.dim() else cut(tensor.detach(), axes)


def _still(model: nn.Module) -> None:
    """No dropout inside what torch computes in one piece."""
    for module in model.modules():
        if isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
            module.dropout = 0.0
