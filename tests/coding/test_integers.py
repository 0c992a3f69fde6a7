from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prunus.coding.integers import decode, encode, layout
from prunus.coding.trellis import NEXT, places_of
from prunus.errors import FileFormatError

Tensor = NDArray[np.int32]


def weights(seed: int, shape: tuple[int, ...], scale: float = 1.2) -> Tensor:
    """Rounded Laplace numbers, with rows and columns of different sizes, as trained layers have."""
    draw = np.random.default_rng(seed)
    rows = draw.lognormal(0, 0.5, (shape[0], *[1] * (len(shape) - 1)))
    columns = draw.lognormal(0, 0.5, (1, shape[1], *[1] * (len(shape) - 2))) if len(shape) > 1 else 1.0
    return np.rint(draw.laplace(0, scale, shape) * rows * columns).astype(np.int32)


def network(seed: int) -> list[Tensor]:
    shapes = [(16, 3, 3, 3), (16,), (32, 16, 3, 3), (32,), (32, 1, 5, 5), (32,), (10, 32), (10,)]
    return [weights(seed + at, shape, 30.0 if len(shape) == 1 else 1.2) for at, shape in enumerate(shapes)]


def static_bytes(tensors: list[Tensor]) -> float:
    """What an ideal static coder needs per tensor, without its tables."""
    found = 0.0
    for tensor in tensors:
        counts = np.unique(tensor, return_counts=True)[1]
        found -= float((counts * np.log2(counts / tensor.size)).sum()) / 8
    return found


def equal(tensors: list[Tensor], data: bytes) -> bool:
    decoded = decode(data, [tensor.shape for tensor in tensors])
    return all(
        a.dtype == np.int32 and a.shape == b.shape and bool((a == b).all())
        for a, b in zip(decoded, tensors, strict=True)
    )


@pytest.mark.parametrize("seed", range(3))
def test_decoded_equals_coded(seed: int) -> None:
    tensors = network(100 * seed)
    assert equal(tensors, encode(tensors))


shapes = st.lists(st.integers(0, 5), max_size=5).map(tuple)


@given(st.lists(shapes, max_size=4), st.integers(0, 23), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_integers_of_any_shape_and_size_come_back(
    shapes: list[tuple[int, ...]], bits: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    tensors = [draw.integers(-(1 << bits) + 1, 1 << bits, shape).astype(np.int32) for shape in shapes]
    assert equal(tensors, encode(tensors))


@given(st.lists(shapes, max_size=4), st.integers(1, 23), st.integers(0, 2**32 - 1), st.integers(0, 15))
@settings(max_examples=60, deadline=None)
def test_places_of_walks_come_back_beside_integers(
    shapes: list[tuple[int, ...]], bits: int, seed: int, which: int
) -> None:
    draw = np.random.default_rng(seed)
    tensors = [draw.integers(-(1 << bits) + 1, 1 << bits, shape).astype(np.int32) for shape in shapes]
    walks = [bool(which >> at & 1) for at in range(len(shapes))]
    found = decode(encode(tensors, walks), [tensor.shape for tensor in tensors], walks)
    assert all((a == b).all() for a, b in zip(found, tensors, strict=True))


def test_a_coder_that_knows_the_grid_needs_fewer_bytes() -> None:
    """Zero is likelier on the first grid, whose neighbours of zero are farther away."""
    integers = np.concatenate([rounded_walks(seed) for seed in range(4)])
    places = [places_of(integers)]
    assert len(encode(places, [True])) < 0.99 * len(encode(places))


def rounded_walks(seed: int) -> Tensor:
    """Laplace numbers on the grids of a walk, each rounded for itself."""
    draw, state, found = np.random.default_rng(seed), np.zeros(100, np.int64), []
    for column in draw.laplace(0, 1.5, (300, 100)):
        second = state & 1
        one = np.where(second, 2 * np.rint((np.abs(column) + 1) / 2) - 1, 2 * np.rint(np.abs(column) / 2))
        one = np.where(np.abs(column) < 0.5, 0, one) * np.sign(column)
        found.append(one.astype(np.int32))
        state = np.array(NEXT)[state, (np.abs(found[-1]) + second) // 2 & 1]
    return np.stack(found, 1)


@pytest.mark.parametrize("value", [0, 1, -1, (1 << 24) - 1, 1 - (1 << 24)])
def test_a_tensor_of_one_value_costs_next_to_nothing(value: int) -> None:
    tensors = [np.full((20, 20, 3, 3), value, dtype=np.int32)]
    data = encode(tensors)
    assert equal(tensors, data)
    assert len(data) < 60


def test_integers_that_are_too_large_are_refused() -> None:
    with pytest.raises(FileFormatError, match="below 16777216"):
        encode([np.array([1 << 24], dtype=np.int32)])


def test_fewer_bytes_than_an_ideal_static_coder_needs() -> None:
    tensors = [weights(1, (64, 64, 3, 3)), weights(2, (64, 64, 3, 3), 6.0), weights(3, (100, 256), 0.3)]
    assert len(encode(tensors)) < 0.95 * static_bytes(tensors)


def test_independent_numbers_cost_hardly_more_than_their_entropy() -> None:
    draw = np.random.default_rng(0)
    tensors = [np.rint(draw.laplace(0, 1.5, (128, 400))).astype(np.int32)]
    assert len(encode(tensors)) < 1.01 * static_bytes(tensors)


def test_any_bytes_decode_to_integers_of_the_coder() -> None:
    draw = np.random.default_rng(0)
    for count in (0, 1, 3, 100, 1000):
        for array in (draw.integers(0, 256, count), np.full(count, 255), np.zeros(count)):
            (found,) = decode(array.astype(np.uint8).tobytes(), [(7, 5, 3, 3)])
            assert int(np.abs(found.astype(np.int64)).max()) < 1 << 24


PROGRAM = """
import hashlib
from tests.coding.test_integers import *
from prunus.coding.integers import is_compiled
tensors = network(7)
data = encode(tensors)
walks = [tensor.ndim > 1 for tensor in tensors]
shapes = [tensor.shape for tensor in tensors]
again = encode(tensors, walks)
same = all((a == b).all() for a, b in zip(decode(again, shapes, walks), tensors))
print(is_compiled(), hashlib.sha256(data).hexdigest(), equal(tensors, data))
print(hashlib.sha256(again).hexdigest(), same)
"""
# A file that was written once must be read for ever: a change here is a change of the format.
DIGEST = "22a1bb7f70671e9a859035be434e7260dda3dd88e7c8c8a9ddda8d38430e0377"
# The same integers as places of walks.
WALKING = "bcca65dc8a0ae10015f99363f996868558787cdfb25d828cfb28f70400ba864b"


def test_the_bytes_are_those_of_the_format() -> None:
    tensors = network(7)
    assert hashlib.sha256(encode(tensors)).hexdigest() == DIGEST
    walks = [tensor.ndim > 1 for tensor in tensors]
    assert hashlib.sha256(encode(tensors, walks)).hexdigest() == WALKING


@pytest.mark.parametrize(
    "variables",
    [
        {"NUMBA_DISABLE_JIT": "1"},
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_OPT": "0"},
    ],
    ids=["plain Python", "no vector units, not optimised"],
)
def test_every_build_writes_and_reads_the_same_bytes(variables: dict[str, str], tmp_path: object) -> None:
    environment = os.environ | variables | {"NUMBA_CACHE_DIR": str(tmp_path)}
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True
    ).stdout.split()
    assert out == [str("NUMBA_CPU_NAME" in variables), DIGEST, "True", WALKING, "True"]


def test_kernels_of_every_rank_have_rows_columns_and_places() -> None:
    assert layout(()) == (1, 1, 1, 1)
    assert layout((7,)) == (1, 7, 1, 1)
    assert layout((4, 3)) == (4, 3, 1, 1)
    assert layout((4, 3, 5)) == (4, 3, 5, 5)
    assert layout((4, 3, 2, 5)) == (4, 3, 10, 5)
    assert layout((4, 3, 2, 2, 5)) == (4, 3, 20, 5)
