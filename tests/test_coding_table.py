"""The tables of coded files compare at equal divergence, and never beyond what was measured."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.coding_paper import bytes_of, largest
from benchmarks.coding_peer import absent
from benchmarks.coding_subjects import accuracy, divergence, informative, with_values
from benchmarks.coding_table import AFTER, GRIDS, PAPER, PEER, TRAINED, bytes_at, fewest, table
from benchmarks.rows import unrecorded
from torch import nn

from prunus.coding.tensors import Codebook
from prunus.quantisation.quantised import decoded


def row(kind: str, way: str, setting: float, size: int, apart: float, seed: int | None = 0) -> dict[str, Any]:
    return {
        "kind": kind,
        "called": "CIFAR-10",
        "network": "resnet20",
        "way": way,
        "setting": setting,
        "seed": seed,
        "bytes": size,
        "parameters": 1000,
        "samples": 100,
        "accuracy": {"before": 81.0, "after": 80.5},
        "divergence": apart,
        "measured": {"all": unrecorded(seed)},
    }


def test_bytes_between_two_points_lie_on_a_line_of_logarithms() -> None:
    points = [(0.01, 4000), (0.04, 1000)]
    assert bytes_at(0.02, points) == pytest.approx(2000)
    assert bytes_at(0.01, points) == pytest.approx(4000) and bytes_at(0.04, points) == pytest.approx(1000)


@pytest.mark.parametrize("at", [0.009, 0.05])
def test_nothing_is_said_beyond_the_points(at: float) -> None:
    assert bytes_at(at, [(0.01, 4000), (0.04, 1000)]) is None
    assert bytes_at(at, []) is None


def test_the_curve_with_the_fewest_bytes_counts() -> None:
    curves = {"one": [(0.01, 400), (0.04, 100)], "other": [(0.01, 300), (0.04, 90)], "short": [(0.01, 5)]}
    found = fewest(0.02, curves)
    assert found is not None and found[0] == "other" and found[1] == pytest.approx(math.sqrt(300 * 90))
    assert fewest(1.0, curves) is None


def test_the_page_compares_with_the_peer_at_the_divergence_of_the_grids() -> None:
    rows = [
        row(AFTER, GRIDS, 0.02, 900, 0.02, 0),
        row(AFTER, GRIDS, 0.02, 1100, 0.02, 1),
        row(AFTER, "without refitting", 0.02, 1200, 0.01),
        row(AFTER, "without refitting", 0.03, 1200, 0.03),
        row(PEER, "folded norms", -20, 4000, 0.01, None),
        row(PEER, "folded norms", -16, 1000, 0.04, None),
    ]
    text = table({"rows": rows})
    assert "| 0.0200 | 1,000 | 1,200 | 2,000 | folded norms | 50.0% |" in text
    assert f"| {GRIDS} | 0.02 | 1,000 | 8.00 | -0.50 ± 0.00 | 0.0200 |" in text
    assert "| NNCodec, folded norms | -20 | 4,000 |" in text


def test_a_peer_that_does_not_reach_a_divergence_is_not_compared() -> None:
    rows = [
        row(AFTER, GRIDS, 0.02, 900, 0.02),
        row(PEER, "folded norms", -20, 4000, 0.03, None),
        row(PEER, "folded norms", -16, 1000, 0.04, None),
    ]
    assert "| 0.0200 | 900 |  |  |  |" in table({"rows": rows})


def test_trained_rows_tell_errors_and_how_the_code_compares_with_an_ideal_one() -> None:
    rows = [
        row(TRAINED, "plain", 0.1, 2000, 0.0)
        | {"dense": 5000, "accuracy": {"before": 81.0, "control": 81.25, "after": 80.5}}
        | {"stages": {"coded": 940, "ideal static code": 1000}, "decoding": {"speed": 2.5, "memory": 3e6}},
        row(PAPER, "pruned, shared, Huffman", 0, 44000, 0.0) | {"dense": 110_000},
    ]
    text = table({"rows": rows})
    assert "| plain | 0.1 | 2,000 | 10 | 19.00 | 18.75 | 19.50 | -6.0% | 2.5, 3.0 |" in text
    assert "| pruned, shared, Huffman |  | 44,000 | 10 | 19.00 |  | 19.50 |" in text


def test_divergence_is_the_mean_of_every_sample() -> None:
    before, after = torch.randn(5, 3), torch.randn(5, 3)
    p, q = before.double().softmax(1), after.double().softmax(1)
    slow = sum(float(p[i, j] * (p[i, j] / q[i, j]).log()) for i in range(5) for j in range(3)) / 5
    assert divergence(before, after) == pytest.approx(slow)
    assert divergence(before, before) == pytest.approx(0, abs=1e-12)
    assert accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 75.0


def test_what_is_one_number_alone_is_not_given_to_the_peer() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    found = informative(model)
    assert set(found) == {"0.weight", "0.bias"}
    changed = with_values(model, {"0.weight": np.full((3, 2, 1, 1), 2, np.float32)})
    assert bool((changed.get_parameter("0.weight") == 2).all())
    assert bool((model.get_parameter("0.weight") != 2).all())


def test_a_peer_that_is_absent_is_left_out_with_a_reason(tmp_path: Path) -> None:
    assert "--peer-python" in absent(None)
    assert "cannot import it" in absent(Path(sys.executable))


def test_the_largest_weights_are_kept() -> None:
    kept = largest(torch.tensor([[0.1, -3.0], [2.0, -0.2]]), 0.5)
    assert kept.tolist() == [[False, True], [True, False]]


def test_bytes_of_the_papers_recipe_count_stream_centroids_and_biases() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    book = Codebook(np.array([[0, 1, 0], [2, 0, 0]], np.int32), np.array([0, 1, -1], np.float32))
    found = bytes_of(decoded(model, {"0.weight": book}))
    assert found["parts"]["centroids"] == 12 and found["parts"]["biases"] == 8
    assert found["bytes"] == 20 + found["parts"]["stream"] and found["parts"]["stream"] > 0
