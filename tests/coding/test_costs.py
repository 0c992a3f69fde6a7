from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from prunus.coding import Codebook, CodedTensor, Grid, Plain
from prunus.coding.costs import costs_of, static_bytes
from prunus.coding.integers import encode
from prunus.coding.tensors import values_of
from prunus.coding.trellis import integers_of


def test_the_least_of_a_static_code_is_the_entropy() -> None:
    tensor = np.array([[0, 0, 0, 1], [1, -2, 0, 0]], dtype=np.int32)
    shares = [count / tensor.size for count in Counter(tensor.ravel().tolist()).values()]
    entropy = -sum(share * math.log2(share) for share in shares)
    assert static_bytes(tensor) == pytest.approx(tensor.size * entropy / 8)


def test_bytes_by_tensor_and_by_stage() -> None:
    draw = np.random.default_rng(0)
    weight = draw.integers(-3, 4, (16, 8, 3, 3)).astype(np.int32)
    indices = draw.integers(0, 4, (10, 16)).astype(np.int32)
    tensors: dict[str, CodedTensor] = {
        "conv.weight": Grid(weight, 0.5),
        "norm.weight": Plain(np.ones(16, dtype=np.float32)),
        "norm.bias": Plain(np.arange(16, dtype=np.float32)),
        "fc.weight": Codebook(indices, np.arange(4, dtype=np.float32)),
    }
    layers, stages = costs_of(tensors)
    by_name = {layer.name: layer for layer in layers}
    assert [layer.bytes for layer in layers] == sorted((layer.bytes for layer in layers), reverse=True)
    assert by_name["norm.weight"].bytes == 0
    assert by_name["norm.bias"].bytes == 64
    grid = by_name["conv.weight"]
    assert (grid.kind, grid.elements, grid.levels, grid.step) == ("grid", 1152, 7, 0.5)
    assert grid.zeros == int((weight == 0).sum())
    assert grid.bits == 8 * grid.bytes / 1152
    assert by_name["fc.weight"].kind == "codebook"
    # seven values need three bits, four need two; biases stay as they are
    assert stages["fixed width"] == 1152 * 3 // 8 + 160 * 2 // 8 + 64
    stream = len(encode([weight, indices]))
    assert abs(stages["coded"] - 64 - stream) <= 4
    assert grid.bytes + by_name["fc.weight"].bytes - 16 <= stream


def test_levels_are_those_of_values_and_bytes_those_of_places() -> None:
    places = np.random.default_rng(0).integers(-2, 3, (16, 40)).astype(np.int32)
    walking = Grid(integers_of(places), 0.5, trellis=True)
    (layer,), stages = costs_of({"weight": walking})
    assert layer.levels == len(np.unique(values_of(walking))) > 5
    assert layer.zeros == int((places == 0).sum())
    assert stages["ideal static code"] == round(static_bytes(places))
