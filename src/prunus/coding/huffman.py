"""Huffman codes as Deep Compression has them: the baseline that context mixing is held against.

Han et al. 2016, "Deep Compression" (arXiv 1510.00149), sections 2 and 4: what is sparse is stored as its
values and the gaps before them, in as many bits as a gap may have; a gap that is longer is filled up with
zeros; values and gaps have a Huffman code each.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from prunus.coding.fields import Fields, number, signed
from prunus.errors import FileFormatError

GAPS = (3, 4, 5, 6, 8)  # bits of a gap that are tried
_LONGEST = 32  # bits of a code


def encode(tensors: Sequence[NDArray[np.int32]]) -> bytes:
    """Tensor after tensor, whichever way is shortest: all values, or those that are not zero and the gaps."""
    return b"".join(_shortest(tensor.ravel().astype(np.int64)) for tensor in tensors)


def decode(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.int32]]:
    """The integers of tensors of these shapes. Raises FileFormatError where the bytes are not such a code."""
    fields = Fields(data, "Huffman stream")
    found = []
    for shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        bits = fields.number(max(GAPS))
        found.append((_sparse(fields, bits, size) if bits else _symbols(fields, size)).reshape(shape))
    fields.end()
    return [tensor.astype(np.int32) for tensor in found]


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Bits of each symbol in a Huffman code, from how often each occurs; one symbol alone needs none."""
    if len(counts) == 1:
        return [0]
    order = count()
    heap = [(number, next(order), [symbol]) for symbol, number in enumerate(counts)]
    heapq.heapify(heap)
    lengths = [0] * len(counts)
    while len(heap) > 1:
        first, _, left = heapq.heappop(heap)
        second, _, right = heapq.heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(heap, (first + second, next(order), left + right))
    return lengths


def canonical(lengths: Sequence[int]) -> list[int]:
    """The codes of these lengths, in order of length and then of symbol, as every reader works them out."""
    codes, code, before = [0] * len(lengths), 0, 0
    for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - before
        codes[symbol], before = code, lengths[symbol]
        code += 1
    return codes


def gaps_of(values: NDArray[np.int64], bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is not zero, and how many zeros stand before each; where there are more than `bits` can say, a
    zero is kept among the values.
    """
    most = (1 << bits) - 1
    places = np.flatnonzero(values)
    gaps = np.diff(places, prepend=-1) - 1
    fillers = gaps // (most + 1)
    total = len(places) + int(fillers.sum())
    kept, before = np.zeros(total, dtype=np.int64), np.full(total, most, dtype=np.int64)
    at = np.cumsum(fillers + 1) - 1
    kept[at], before[at] = values[places], gaps - fillers * (most + 1)
    return kept, before


def _shortest(values: NDArray[np.int64]) -> bytes:
    ways = [number(0) + _coded(values)]
    if np.count_nonzero(values) < 0.7 * len(values):
        for bits in GAPS:
            kept, gaps = gaps_of(values, bits)
            ways.append(number(bits) + number(len(kept)) + _coded(kept) + _coded(gaps))
    return min(ways, key=len)


def _coded(values: NDArray[np.int64]) -> bytes:
    """Table and codes of one sequence of symbols."""
    symbols, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    if not len(symbols):
        return number(0)
    lengths = code_lengths(counts.tolist())
    if max(lengths) > _LONGEST:
        raise FileFormatError(
            f"A Huffman code of {max(lengths)} bits is longer than a file has ({_LONGEST})."
        )
    steps = np.diff(symbols, prepend=0)
    table = number(len(symbols)) + signed(int(symbols[0]))
    table += b"".join(number(int(step)) for step in steps[1:]) + bytes(lengths)
    bits = _bits(np.array(canonical(lengths))[places], np.array(lengths)[places])
    return table + number(len(bits)) + bits


def _bits(codes: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
    """Codes one behind the other, filled up to whole bytes."""
    ends = np.cumsum(lengths)
    found = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    for bit in range(int(lengths.max(initial=0))):
        has = lengths > bit
        found[ends[has] - 1 - bit] = codes[has] >> bit & 1
    return np.packbits(found).tobytes()


def _sparse(fields: Fields, bits: int, size: int) -> NDArray[np.int64]:
    kept = fields.number(size)
    values, gaps = _symbols(fields, kept), _symbols(fields, kept)
    places = np.cumsum(gaps + 1) - 1
    if np.any(gaps < 0) or np.any(gaps >= 1 << bits) or (kept and places[-1] >= size):
        raise FileFormatError("Gaps lead beyond the end of the tensor.")
    result = np.zeros(size, dtype=np.int64)
    result[places] = values
    return result


def _symbols(fields: Fields, size: int) -> NDArray[np.int64]:
    """As many symbols as asked for, behind their table."""
    many = fields.number(min(size, fields.left))
    if bool(many) != bool(size):
        raise FileFormatError(f"Its Huffman stream has no symbol for {size} values.")
    if not many:
        return np.zeros(0, dtype=np.int64)
    symbols = [fields.signed()]
    for _ in range(many - 1):
        symbols.append(symbols[-1] + fields.number())
    lengths = list(fields.take(many))
    data = fields.take(fields.number(fields.left))
    if abs(symbols[0]) >= 1 << 31 or symbols[-1] >= 1 << 31:
        raise FileFormatError("A symbol of a Huffman table does not fit into 32 bits.")
    if sum(2.0**-length for length in lengths) != 1 or max(lengths) > _LONGEST:
        raise FileFormatError("The lengths of a Huffman table are not those of a code.")
    return np.array(symbols, dtype=np.int64)[_walk(data, lengths, size)]


def _walk(data: bytes, lengths: Sequence[int], size: int) -> NDArray[np.int64]:
    """Numbers of symbols, read bit by bit."""
    if len(lengths) == 1:
        return np.zeros(size, dtype=np.int64)
    table = {(length, code): at for at, (length, code) in enumerate(zip(lengths, canonical(lengths)))}
    found: list[int] = []
    code, length = 0, 0
    for bit in np.unpackbits(np.frombuffer(data, dtype=np.uint8)).tolist():
        code, length = code << 1 | bit, length + 1
        symbol = table.get((length, code))
        if symbol is not None:
            found.append(symbol)
            code, length = 0, 0
            if len(found) == size:
                return np.array(found, dtype=np.int64)
    raise FileFormatError("A Huffman stream ends before its last symbol.")


__all__ = ["canonical", "code_lengths", "decode", "encode", "gaps_of"]
