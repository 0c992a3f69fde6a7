"""A static coder: of every tensor how often each integer occurs, and a range coder that knows no more. It is
as good as an ideal static code and its tables, and decodes tens of millions of integers a second.

The range coder is that of `constriction` (the extra `coding`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.coding.fields import Fields, number, signed
from prunus.errors import FileFormatError, MissingExtraError

_LARGEST = 1 << 24  # symbols or integers of one tensor


def encode(tensors: Sequence[NDArray[np.int32]]) -> bytes:
    """Tensor after tensor: its table, and its integers.

    Raises:
        MissingExtraError: `constriction` is not installed.
        FileFormatError: a tensor has too many different integers.
    """
    return b"".join(_coded(tensor.ravel().astype(np.int64)) for tensor in tensors)


def decode(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.int32]]:
    """The integers of tensors of these shapes.

    Raises:
        MissingExtraError: `constriction` is not installed.
        FileFormatError: the bytes are not such a code.
    """
    fields = Fields(data, "static stream")
    found = [_decoded(fields, math.prod(shape)).reshape(shape).astype(np.int32) for shape in shapes]
    fields.end()
    return found


def _coded(values: NDArray[np.int64]) -> bytes:
    symbols, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(symbols) > _LARGEST:
        raise FileFormatError(f"A tensor has more than {_LARGEST:,} different integers.")
    if not len(symbols):
        return number(0)
    table = number(len(symbols)) + signed(int(symbols[0]))
    table += b"".join(number(int(step)) for step in np.diff(symbols)) + b"".join(map(number, counts.tolist()))
    if len(symbols) == 1:
        return table
    coder = _streams().RangeEncoder()
    coder.encode(places.astype(np.int32), _model(counts))
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    return table + number(len(words)) + words


def _decoded(fields: Fields, size: int) -> NDArray[np.int64]:
    many = fields.number(min(size, fields.left, _LARGEST))
    if not many:
        if size:
            raise FileFormatError(f"Its static stream has no integer for {size:,} places.")
        return np.zeros(0, dtype=np.int64)
    symbols = np.cumsum([fields.signed(), *(fields.number(1 << 32) for _ in range(many - 1))])
    counts = np.array([fields.number(size) for _ in range(many)], dtype=np.int64)
    if int(counts.sum()) != size or not counts.all() or int(np.abs(symbols).max()) >= 1 << 31:
        raise FileFormatError("Its static stream has a table that does not fit its tensor.")
    if many == 1:
        return np.full(size, symbols[0], dtype=np.int64)
    data = fields.take(fields.number(fields.left))
    if len(data) % 4:
        raise FileFormatError("Its static stream does not end with a whole word.")
    decoder = _streams().RangeDecoder(np.frombuffer(data, dtype="<u4").astype(np.uint32))
    try:
        places = decoder.decode(_model(counts), size)
    except AssertionError as error:  # what constriction raises for data that no encoder wrote
        raise FileFormatError("Its static stream holds data that no encoder writes.") from error
    found: NDArray[np.int64] = symbols[places]
    return found


def _model(counts: NDArray[np.int64]) -> Any:
    """Shares of the symbols; quotients of whole numbers below 2^53, which every machine rounds alike."""
    shares = counts.astype(np.float64) / float(counts.sum())
    return _package().stream.model.Categorical(shares, perfect=False)


def _streams() -> Any:
    return _package().stream.queue


def _package() -> Any:
    try:
        import constriction
    except ImportError as error:
        raise MissingExtraError(
            "A static stream needs constriction: pip install 'prunus[coding]'."
        ) from error
    return constriction


__all__ = ["decode", "encode"]
