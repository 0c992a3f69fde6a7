from __future__ import annotations

import numpy as np

from prunus.coding import Codebook, Grid, Plain, values_of


def test_a_grid_is_its_step_times_integers_in_single_precision() -> None:
    found = values_of(Grid(np.array([[3, -7], [0, 1 << 23]], dtype=np.int32), 0.1))
    step = np.float32(0.1)
    assert found.dtype == np.float32
    assert found.tolist() == [[float(step * np.float32(n)) for n in row] for row in [[3, -7], [0, 1 << 23]]]


def test_indices_name_centroids() -> None:
    coded = Codebook(np.array([2, 0], dtype=np.int32), np.array([1.5, -1.0, 0.25], dtype=np.float32))
    assert values_of(coded).tolist() == [0.25, 1.5]


def test_plain_values_are_themselves() -> None:
    values = np.array([True, False])
    assert values_of(Plain(values)) is values
