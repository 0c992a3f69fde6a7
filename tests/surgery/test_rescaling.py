"""Numbers that a forward makes of a width: the weights in front make up for them, and the model keeps its
class.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import difference, pruned, randomised
from torch import Tensor, nn

import prunus

IMAGE = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
HEADS, WIDTH = 2, 12


class Attention(nn.Module):
    """Image -> tokens -> attention -> one number per class; `qkv` makes queries, keys and values of shape
    (batch, heads, tokens, width).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.make()
        self.last = nn.Linear(HEADS * WIDTH, 5)

    def make(self) -> None:
        self.project = nn.Linear(8, 3 * HEADS * WIDTH)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, n, _ = x.shape
        q, k, v = self.project(x).reshape(b, n, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image).flatten(2).transpose(1, 2)
        out = self.attend(*self.qkv(x))
        return self.last(out.transpose(1, 2).flatten(2).mean(1))


class Contiguous(Attention):
    """The tokens lie in memory without gaps, so that the linear layer is one operator."""

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().qkv(x.contiguous())


class Separate(Attention):
    """Convolutions with batch norm for queries, without for keys and values."""

    def make(self) -> None:
        self.q = nn.Sequential(nn.Conv1d(8, HEADS * WIDTH, 1), nn.BatchNorm1d(HEADS * WIDTH))
        self.k = nn.Conv1d(8, HEADS * WIDTH, 1, bias=False)
        self.v = nn.Conv1d(8, HEADS * WIDTH, 1)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x.transpose(1, 2)
        q, k, v = (f(x).unflatten(1, (HEADS, -1)).transpose(2, 3) for f in (self.q, self.k, self.v))
        return q, k, v


class ByHand(Contiguous):
    """The scale is worked out from a shape, and only queries are scaled, twice."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q / math.sqrt(q.shape[-1])
        return (q * 0.5 @ k.transpose(-1, -2)).softmax(-1) @ v


class Behind(Contiguous):
    """The product of queries and keys is divided, not one of them."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ((q @ k.transpose(-1, -2)) / q.shape[-1] ** 0.5).softmax(-1) @ v


class BehindEinsum(Separate):
    """The same by einsum, and the keys are those that can make up for it: the queries are read twice."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (torch.einsum("bhnd,bhmd->bhnm", q, k) * q.shape[-1] ** -0.5).softmax(-1) @ v + q


class ByTensor(Contiguous):
    """The number is a tensor that the forward makes of a shape."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2) / torch.sqrt(torch.tensor(q.shape[-1], dtype=q.dtype))).softmax(
            -1
        ) @ v


class BothScaled(Contiguous):
    """Queries by a number of their own, and the product once more."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ((q / q.shape[-1]) @ k.transpose(-1, -2) * q.shape[-1] ** 0.5).softmax(-1) @ v


class ProductReadTwice(Contiguous):
    """The product is also read without its factor."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2)
        return (scores / q.shape[-1] ** 0.5).softmax(-1) @ v * scores.sum(-1, keepdim=True).tanh()


class QueriesAreKeys(Contiguous):
    """Queries and keys are made by the same rows, so that no scaling of rows makes up for
    both numbers apart.
    """

    def make(self) -> None:
        self.project = nn.Linear(8, 2 * HEADS * WIDTH)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, n, _ = x.shape
        q, v = self.project(x).reshape(b, n, 2, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return q, q, v


class ReadTwice(Contiguous):
    """The queries are also part of the output."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().attend(q, k, v) + q


class Shared(Contiguous):
    """One projection is called twice."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + super().forward(image.flip(-1))


class NotOnlyMoved(Contiguous):
    """An activation between the weights and the scale."""

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().qkv(x)
        return torch.tanh(q), torch.tanh(k), v


@pytest.mark.parametrize(
    "kind", [Attention, Contiguous, Separate, ByHand, Behind, BehindEinsum, ByTensor, BothScaled]
)
def test_the_weights_make_up_for_the_number(kind: Any) -> None:
    model = randomised(kind())
    plan, small = pruned(model, IMAGE)
    assert plan.exact and small.prunus.mode == "eager" and type(small) is kind
    assert small.last.in_features < HEADS * WIDTH
    assert small.prunus.surgery.rescales
    assert difference(prunus.mask(model, plan), small, IMAGE) <= 1e-12


@pytest.mark.parametrize("kind", [QueriesAreKeys, ReadTwice, Shared, NotOnlyMoved, ProductReadTwice])
def test_where_nothing_can_make_up_for_it_the_graph_is_returned(kind: Any) -> None:
    model = randomised(kind())
    plan, small = pruned(model, IMAGE)
    assert small.prunus.mode == "traced" and not small.prunus.surgery.rescales
    assert difference(prunus.mask(model, plan), small, IMAGE) <= 1e-12


def test_rows_are_scaled_by_the_ratio_of_the_numbers() -> None:
    model = randomised(ByHand())
    _, small = pruned(model, IMAGE)
    width = small.last.in_features // HEADS
    dense, kept = model.project.weight[: HEADS * WIDTH], small.prunus.surgery.slices["project.weight"][0]
    queries = kept[kept < HEADS * WIDTH]
    columns = small.prunus.surgery.slices["project.weight"].get(1, range(8))
    wanted = dense[queries][:, columns] * math.sqrt(width / WIDTH)
    assert torch.allclose(small.project.weight[: HEADS * width], wanted, rtol=1e-14, atol=0)


def test_scaled_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    model = randomised(Contiguous())
    _, small = pruned(model, IMAGE)
    prunus.save(small, tmp_path / "small.safetensors")
    loaded = prunus.load(tmp_path / "small.safetensors", lambda: Contiguous().double())
    assert difference(small, loaded, IMAGE) == 0
