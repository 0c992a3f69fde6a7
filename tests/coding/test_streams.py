"""Contract of every coder: decoded equals coded, and other bytes give a named error or integers."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from tests.coding.test_integers import network, static_bytes, weights

from prunus.coding import huffman, integers, static
from prunus.errors import FileFormatError

CODERS = [integers, huffman, static]


@pytest.fixture(params=CODERS, ids=lambda coder: coder.__name__.rpartition(".")[2])
def coder(request: pytest.FixtureRequest) -> ModuleType:
    if request.param is static:
        pytest.importorskip("constriction")
    module: ModuleType = request.param
    return module


def cases() -> list[list[np.ndarray]]:
    draw = np.random.default_rng(0)
    sparse = np.where(draw.random((40, 50)) < 0.02, draw.integers(-3, 4, (40, 50)), 0).astype(np.int32)
    alone = np.zeros(3000, dtype=np.int32)
    alone[2999] = -7
    return [
        [],
        [np.zeros((0, 3), dtype=np.int32)],
        [np.array(5, dtype=np.int32)],
        [np.zeros((4, 4), dtype=np.int32)],
        [sparse, alone],
        [draw.integers(-30000, 30000, (20, 3, 3, 3)).astype(np.int32)],
        network(3),
    ]


@pytest.mark.parametrize("tensors", cases(), ids=len)
def test_decoded_equals_coded(coder: ModuleType, tensors: list[np.ndarray]) -> None:
    found = coder.decode(coder.encode(tensors), [tensor.shape for tensor in tensors])
    for before, after in zip(tensors, found, strict=True):
        assert after.dtype == np.int32
        np.testing.assert_array_equal(before, after)


def test_changed_bytes_are_refused_or_decode_to_integers(coder: ModuleType) -> None:
    draw = np.random.default_rng(1)
    tensors = [weights(0, (6, 5, 3, 3)), weights(1, (6,), 30.0), weights(2, (40, 30), 0.1)]
    data, shapes = coder.encode(tensors), [tensor.shape for tensor in tensors]
    for _ in range(300):
        changed = bytearray(data[: draw.integers(1, len(data) + 1)])
        for place in draw.integers(0, len(changed), draw.integers(1, 4)):
            changed[place] = draw.integers(256)
        try:
            found = coder.decode(bytes(changed), shapes)
        except FileFormatError:
            continue
        assert [tensor.shape for tensor in found] == shapes


def test_a_static_stream_is_an_ideal_code_and_its_tables() -> None:
    pytest.importorskip("constriction")
    tensors = [weights(seed, (64, 32, 3, 3)) for seed in range(2)]
    tables = sum(4 * len(np.unique(tensor)) + 8 for tensor in tensors)
    assert static_bytes(tensors) < len(static.encode(tensors)) < static_bytes(tensors) + tables


def shortest(counts: list[int]) -> int:
    """Bits of the best prefix code, slowly: the two rarest become one, again and again."""
    bits, left = 0, sorted(counts)
    while len(left) > 1:
        both = left[0] + left[1]
        bits, left = bits + both, sorted([both, *left[2:]])
    return bits


def test_codes_are_as_short_as_huffman_codes_are() -> None:
    draw = np.random.default_rng(2)
    for many in (2, 3, 10, 57):
        counts = draw.integers(1, 1000, many).tolist()
        lengths = huffman.code_lengths(counts)
        assert sum(count * length for count, length in zip(counts, lengths)) == shortest(counts)
        codes = [format(code, f"0{length}b") for code, length in zip(huffman.canonical(lengths), lengths)]
        assert not any(a != b and b.startswith(a) for a in codes for b in codes)


def test_long_gaps_are_filled_up_with_zeros() -> None:
    values = np.zeros(40, dtype=np.int64)
    values[[1, 20, 39]] = [5, -2, 9]
    kept, gaps = huffman.gaps_of(values, 3)
    # 1 zero, then 18 = 7 + 1 + 7 + 1 + 2 zeros of which two are kept, then 18 again
    assert kept.tolist() == [5, 0, 0, -2, 0, 0, 9]
    assert gaps.tolist() == [1, 7, 7, 2, 7, 7, 2]
