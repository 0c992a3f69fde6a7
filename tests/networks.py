"""Random convolutional networks: a printable description (`Spec`) is drawn first, the model is built from it.

One generator serves both hypothesis (`networks()`), whose failures then shrink and print well, and plain
seeds (`random_spec`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import network_blocks as blocks
from tests import network_joins as joins
from tests.network_calls import Inputs
from tests.network_choices import Block, Draw, Shape, block_of, chain, written
from tests.network_draws import draw_block, draw_conv

HEADS = ("pool", "mean", "map", "flatten", "attribute", "view", "max", "deep", "features")


@dataclass(frozen=True)
class Spec:
    """A whole network: everything needed to build it, weights included."""

    image: Shape
    second: Shape | int | None
    named_inputs: bool
    stem: Block
    other: Block | None
    stages: tuple[Block, ...]
    heads: tuple[Block, ...]
    taps: tuple[int, ...]
    merge: str
    nesting: str
    unused: Block | None
    auxiliary: Block | None
    seed: int

    def build(self) -> tuple[nn.Module, Inputs]:
        """The model in eval mode, and inputs of batch 2 for it (float32; both can be made double)."""
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = joins.Fork(
                self.stem.build(),
                self.other.build() if self.other else None,
                [stage.build() for stage in self.stages],
                [head.build() for head in self.heads],
                self.unused.build() if self.unused else None,
                self.auxiliary.build() if self.auxiliary else None,
                merge=self.merge,
                taps=self.taps,
                nesting=self.nesting,
            )
        randomise(model, generator)
        image = torch.randn(2, *self.image, generator=generator)
        if self.second is None:
            return model.eval(), {"image": image} if self.named_inputs else image
        shape = (self.second,) if isinstance(self.second, int) else self.second
        other = torch.randn(2, *shape, generator=generator)
        return model.eval(), {"image": image, "other": other} if self.named_inputs else (image, other)


def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights of a sane scale, and random batch-norm statistics, so that nothing is zero or one by
    luck.
    """

    def normal(tensor: Tensor, scale: float, shift: float = 0.0) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale + shift)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "norm" not in name:
                normal(parameter, 1.2 * (parameter[0].numel() if parameter.shape[0] > 1 else 1.0) ** -0.5)
            else:
                normal(parameter, 0.3, 0.0 if name.endswith("bias") else 1.0)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                normal(buffer, 0.5)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
            elif name.endswith(("norm.weight", "norm.bias", "centre")):
                normal(buffer, 0.3, 1.0 if name.endswith("weight") else 0.0)


def draw_spec(draw: Draw, most: int = 5) -> Spec:
    """Draw a network of one to `most` stages with one to three outputs and one or two inputs."""
    draw.palette()
    image = Shape(draw.integer(1, 4), draw.integer(6, 12), draw.integer(6, 12))
    stem, shape = draw_conv(draw, image)
    merge = draw.choice(["none", "none", "none", "add", "concat", "multiply", "film"])
    second: Shape | int | None = None
    other = None
    if merge == "film":
        second = draw.integer(2, 5)
        other = block_of(nn.Linear, second, 2 * shape.channels)
    elif merge != "none":
        second = image._replace(channels=draw.integer(1, 4))
        other, after = draw_conv(draw, second, draw.integer(2, 8) if merge == "concat" else shape.channels)
        shape = shape._replace(channels=shape.channels + after.channels) if merge == "concat" else shape
    stages, shapes = [], []
    for _ in range(draw.integer(1, most)):
        stage, shape = draw_block(draw, shape, draw.choice([1, 2, 0]))
        stages.append(stage)
        shapes.append(shape)
    last = len(stages) - 1
    taps = (*sorted(draw.integer(0, last) for _ in range(draw.integer(0, 2))), last)
    heads = []
    for tap in taps:
        mode = "source" if written(draw) else draw.choice(HEADS)
        heads.append(block_of(blocks.Head, *shapes[tap], draw.integer(1, 5), mode=mode))
    nesting = draw.choice(["tensor", "tuple", "list", "dict", "nested"])
    unused = draw_conv(draw, shape)[0] if draw.integer(0, 3) == 3 else None
    auxiliary = _auxiliary(draw, shapes[taps[0]]) if draw.integer(0, 4) == 4 else None
    return Spec(
        image,
        second,
        draw.integer(0, 3) == 3,
        stem,
        other,
        tuple(stages),
        tuple(heads),
        taps,
        merge,
        nesting,
        unused,
        auxiliary,
        draw.integer(0, 2**16),
    )


def _auxiliary(draw: Draw, shape: Shape) -> Block:
    """A head that only training runs."""
    hidden, inner = draw_conv(draw, shape)
    return chain(hidden, block_of(blocks.Head, *inner, draw.integer(1, 5), mode=draw.choice(HEADS)))


def kinds(spec: Spec) -> set[str]:
    """What a network is made of: the names of its layers with their modes, norms and activations."""
    waiting = [spec.stem, spec.other, *spec.stages, *spec.heads, spec.auxiliary]
    found = {"train-only head"} if spec.auxiliary else set()
    while waiting:
        block = waiting.pop()
        if block is not None:
            waiting.extend(block.parts)
            found.update(
                [
                    block.kind.__name__,
                    *(
                        f"{block.kind.__name__} {key}={value}"
                        for key, value in block.options
                        if isinstance(value, str)
                    ),
                ]
            )
    return found


class _RandomDraw(Draw):
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


class _HypothesisDraw(Draw):
    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


def random_spec(seed: int, most: int = 5) -> Spec:
    """The network of this seed, of up to `most` stages."""
    return draw_spec(_RandomDraw(seed), most)


@st.composite
def networks(draw: st.DrawFn, most: int = 5) -> Spec:
    """Any network of up to `most` stages; `spec.build()` gives the model and its inputs."""
    return draw_spec(_HypothesisDraw(draw), most)
