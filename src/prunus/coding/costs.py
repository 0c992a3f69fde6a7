"""Where the bytes of a coded network are: by tensor, and by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunus.coding import integers
from prunus.coding.tensors import Codebook, CodedTensor, Grid, streamed, walks


@dataclass(frozen=True)
class LayerCode:
    """What one tensor takes.

    Attributes:
        name: of the tensor.
        kind: "grid", "codebook" or "plain".
        elements: how many it has.
        zeros: how many of them are zero.
        bytes: of its integers in the stream, or of its values.
        levels: how many different integers there are.
        step: of its grid; None for others.
    """

    name: str
    kind: str
    elements: int
    zeros: int
    bytes: int
    levels: int
    step: float | None

    @property
    def bits(self) -> float:
        """Per element."""
        return 8 * self.bytes / self.elements if self.elements else 0.0


def costs_of(tensors: Mapping[str, CodedTensor]) -> tuple[tuple[LayerCode, ...], dict[str, int]]:
    """What each tensor takes, and the bytes of all weights after each stage: integers of as many bits as the
    largest needs, an ideal static code of them, and the code that is used.

    Plain tensors of one value, as folded norms have them, take nothing.
    """
    whole = {name: coded for name, coded in tensors.items() if isinstance(coded, (Grid, Codebook))}
    streams = {name: streamed(coded) for name, coded in whole.items()}
    walking = [walks(coded) for coded in whole.values()]
    sizes = dict(zip(streams, integers.sizes(list(streams.values()), walking)))
    layers = tuple(_layer(name, coded, streams.get(name), sizes.get(name)) for name, coded in tensors.items())
    plain = sum(layer.bytes for layer in layers if layer.kind == "plain")
    return tuple(sorted(layers, key=lambda layer: -layer.bytes)), {
        "fixed width": plain + sum(_fixed(found) for found in streams.values()),
        "ideal static code": plain + round(sum(static_bytes(found) for found in streams.values())),
        "coded": plain + sum(sizes.values()),
    }


def static_bytes(tensor: NDArray[np.int32]) -> float:
    """The least that a code takes which knows how often each integer occurs and nothing else; its table is
    not counted.
    """
    counts = np.unique(tensor, return_counts=True)[1]
    return float(-(counts * np.log2(counts / max(tensor.size, 1))).sum() / 8)


def _layer(name: str, coded: CodedTensor, found: NDArray[np.int32] | None, size: int | None) -> LayerCode:
    if isinstance(coded, (Grid, Codebook)) and found is not None:
        extra = coded.centroids.nbytes if isinstance(coded, Codebook) else 0
        return LayerCode(
            name,
            "grid" if isinstance(coded, Grid) else "codebook",
            found.size,
            int(found.size - np.count_nonzero(found)) if isinstance(coded, Grid) else 0,
            (size or 0) + extra,
            len(np.unique(coded.integers if isinstance(coded, Grid) else found)),
            coded.step if isinstance(coded, Grid) else None,
        )
    values = coded.values  # type: ignore[union-attr]  # what is left is plain
    one = bool(values.size == 0 or (values == values.flat[0]).all())
    return LayerCode(
        name, "plain", values.size, int(values.size - np.count_nonzero(values)), 0 if one else values.nbytes,
        len(np.unique(values)), None,
    )  # fmt: skip


def _fixed(tensor: NDArray[np.int32]) -> int:
    """Bytes where every integer of a tensor has as many bits as the range of all needs."""
    if not tensor.size:
        return 0
    span = int(tensor.max()) - int(tensor.min()) + 1
    return -(-tensor.size * (span - 1).bit_length() // 8)


__all__ = ["LayerCode", "costs_of", "static_bytes"]
