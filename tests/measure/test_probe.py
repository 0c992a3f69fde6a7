"""Tables of layer times: where they are measured, how they are read, and how they are kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prunus.errors import ConfigError
from prunus.measure.machine import Here
from prunus.measure.probe import Probed, Table, block_width, ladder, pairs_of, probe_of, rungs
from prunus.measure.shapes import Pair, Shape

CONVOLUTION = Shape("convolution", 1, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), (0, 0), 1, 40, 64)
DEPTHWISE = Shape("convolution", 1, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), (0, 0), 0, 32, 64)
GROUPED = Shape("convolution", 1, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), (0, 0), 4, 16, 32)
TRANSPOSED = Shape("transposed", 1, (8, 8), (2, 2), (2, 2), (0, 0), (1, 1), (0, 0), 1, 32, 16)
LINEAR = Shape("linear", 3, (), (), (), (), (), (), 1, 32, 10)
KINDS = [CONVOLUTION, DEPTHWISE, GROUPED, TRANSPOSED, LINEAR]


class Counting:
    """A probe by arithmetic."""

    def __init__(self, block: int = 16) -> None:
        self.block, self.calls = block, 0

    def __call__(self, shape: Shape, pairs: Sequence[Pair], threads: int) -> list[float]:
        self.calls += 1
        return [-(-read // self.block) * -(-made // self.block) * 0.5 for read, made in pairs]


def test_ladders_are_multiples_of_the_step_up_to_the_full_width() -> None:
    assert ladder(64, 16) == (8, 16, 32, 48, 64)
    assert ladder(40, 16) == (8, 16, 32, 40)
    assert ladder(8, 16) == (8,)
    assert ladder(512, 16) == (8, 32, 64, 128, 192, 256, 320, 384, 448, 512)
    assert all(rung % 16 == 0 for rung in ladder(400, 16)[1:-1])


@pytest.mark.parametrize("shape", KINDS)
def test_pairs_fit_the_layer(shape: Shape) -> None:
    inputs, outputs = rungs(shape, 16)
    assert inputs[-1] == shape.inputs and outputs[-1] == shape.outputs
    for read, made in pairs_of(shape, 16):
        groups = shape.groups_at(read)
        assert read % groups == 0 and made % groups == 0


def slowly(table: Table, read: int, made: int) -> float:
    """By hand: up to the stair, then the mean of the four corners, each by the area opposite."""

    def stair(width: int, rungs: list[int]) -> float:
        up = table.step // 2 if width <= table.step // 2 else -(-width // table.step) * table.step
        return min(max(up, rungs[0]), rungs[-1])

    inputs, outputs = table.inputs.tolist(), table.outputs.tolist()
    r, m = stair(read, inputs), stair(made, outputs)
    total = 0.0
    for (i, a), (j, b) in product(enumerate(inputs), enumerate(outputs)):
        total += weight(r, a, inputs) * weight(m, b, outputs) * float(table.times[i, j])
    return total


def weight(width: float, rung: int, rungs: list[int]) -> float:
    """Of a rung: one on it, none at its neighbours."""
    place = rungs.index(rung)
    if width == rung:
        return 1.0
    if width < rung:
        return max(0.0, (width - rungs[place - 1]) / (rung - rungs[place - 1])) if place else 1.0
    return max(0.0, (rungs[place + 1] - width) / (rungs[place + 1] - rung)) if place + 1 < len(rungs) else 1.0


def test_reading_a_table() -> None:
    draw = np.random.default_rng(0)
    table = Table(16, np.array([8, 16, 48, 100]), np.array([8, 32, 64]), draw.random((4, 3)))
    pairs = [(read, made) for read in (1, 8, 9, 16, 17, 40, 48, 60, 90, 100) for made in (4, 16, 31, 33, 64)]
    found = table.at(*np.array(pairs).T)
    assert found.tolist() == pytest.approx([slowly(table, *pair) for pair in pairs])


def test_a_table_of_one_axis_follows_it() -> None:
    table = Table(16, np.array([8, 16, 32]), np.array([64]), np.array([[1.0], [2.0], [6.0]]))
    assert table.at(np.array([4, 16, 20, 32]), np.array([8, 32, 40, 64])).tolist() == [1.0, 2.0, 6.0, 6.0]


@pytest.mark.parametrize("block", [1, 4, 8, 16, 32])
def test_the_width_of_stairs_is_found(block: int) -> None:
    assert block_width(Counting(block), 1) == block


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    probe = Counting()
    first = Probed("fake", probe, 1, tmp_path).tables(KINDS + KINDS)
    assert probe.calls == 1 + len(KINDS)  # the stairs, and every shape once
    again = Probed("fake", probe, 1, tmp_path).tables(KINDS)
    assert probe.calls == 1 + len(KINDS)
    for shape in KINDS:
        assert first[shape].times.tolist() == again[shape].times.tolist()
    Probed("fake", probe, 2, tmp_path).tables([LINEAR])  # other threads, other times
    assert probe.calls == 1 + len(KINDS) + 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", json.dumps({"schema": 0, "tables": {}}), json.dumps({"schema": 2, "tables": []})]
)
def test_an_unreadable_file_is_measured_anew(tmp_path: Path, text: str) -> None:
    probe = Counting()
    file = Probed("fake", probe, 1, tmp_path).file
    file.write_text(text)
    assert Probed("fake", probe, 1, tmp_path).tables([LINEAR])[LINEAR].times.shape == (5, 5)
    assert json.loads(file.read_text())["step"] == 16


DAMAGE: dict[str, Callable[[dict[str, Any], str], object]] = {
    "one number missing": lambda kept, key: kept["tables"][key].pop(),
    "one number more": lambda kept, key: kept["tables"][key].append(1.0),
    "one digit": lambda kept, key: kept["tables"][key].__setitem__(0, kept["tables"][key][0] + 0.5),
    "two tables exchanged": lambda kept, key: kept["tables"].update(
        dict(zip(kept["tables"], list(kept["tables"].values())[::-1]))
    ),
    "a text": lambda kept, key: kept["tables"].update({key: "x"}),
    "texts": lambda kept, key: kept["tables"].update({key: ["1.0"] * len(kept["tables"][key])}),
    "nested": lambda kept, key: kept["tables"].update({key: [kept["tables"][key]]}),
    "not a number": lambda kept, key: kept["tables"][key].__setitem__(0, float("nan")),
    "infinite": lambda kept, key: kept["tables"][key].__setitem__(0, float("inf")),
    "negative": lambda kept, key: kept["tables"][key].__setitem__(0, -1.0),
    "nothing": lambda kept, key: kept["tables"][key].__setitem__(0, 0.0),
    "true": lambda kept, key: kept["tables"][key].__setitem__(0, True),
    "a huge whole number": lambda kept, key: kept["tables"][key].__setitem__(0, 10**400),
    "tables as a list": lambda kept, key: kept.update(tables=[]),
    "no step": lambda kept, key: kept.pop("step"),
    "a step of none": lambda kept, key: kept.update(step=None),
    "a step of 0": lambda kept, key: kept.update(step=0),
    "a step as text": lambda kept, key: kept.update(step="16"),
    "another machine": lambda kept, key: kept["environment"].update(runtime="other"),
    "another schema": lambda kept, key: kept.update(schema=1),
    "another entry": lambda kept, key: kept.update(other=1),
}


@pytest.mark.parametrize("again", [False, True], ids=["", "with its checksum"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_measured_anew(tmp_path: Path, damage: str, again: bool) -> None:
    """With a checksum to fit, what is no table is found out all the same; what is one cannot be."""
    probed = Probed("fake", Counting(), 1, str(tmp_path))
    want = {shape: table.times.tolist() for shape, table in probed.tables(KINDS).items()}
    kept = json.loads(probed.file.read_text())
    DAMAGE[damage](kept, next(iter(kept["tables"])))
    if again:
        kept["sha256"] = hashlib.sha256(
            json.dumps({k: v for k, v in kept.items() if k != "sha256"}, sort_keys=True).encode()
        ).hexdigest()
    probed.file.write_text(json.dumps(kept))
    probe = Counting()
    found = {
        shape: table.times.tolist()
        for shape, table in Probed("fake", probe, 1, tmp_path).tables(KINDS).items()
    }
    assert found == want or (again and damage in ("one digit", "two tables exchanged"))
    assert (probe.calls > 0) or (again and damage in ("one digit", "two tables exchanged"))


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000, b"\xff\xfe", b"", b"null", bytes(1 << 10)],
    ids=range(7),
)
def test_files_that_are_no_tables_are_measured_anew(tmp_path: Path, content: bytes) -> None:
    file = Probed("fake", Counting(), 1, tmp_path).file
    file.write_bytes(content)
    assert Probed("fake", Counting(), 1, tmp_path).tables([LINEAR])[LINEAR].times.shape == (5, 5)
    assert json.loads(file.read_text())["step"] == 16


def test_what_is_no_file_or_a_huge_one_is_not_read(tmp_path: Path) -> None:
    file = Probed("fake", Counting(), 1, tmp_path).file
    with file.open("wb") as huge:
        huge.truncate(1 << 40)
    assert Probed("fake", Counting(), 1, tmp_path).step == 16
    assert file.stat().st_size < 1 << 20
    file.unlink()
    os.mkfifo(file)
    assert Probed("fake", Counting(), 1, tmp_path).step == 16


def test_where_nothing_can_be_kept_it_is_measured_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = Probed("fake", Counting(), 1, tmp_path / "file").tables([LINEAR])
    assert found[LINEAR].times.shape == (5, 5)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize("shape", KINDS, ids=lambda shape: f"{shape.kind}-{shape.groups}")
def test_every_kind_of_layer_can_be_timed(runtime: str, shape: Shape) -> None:
    if runtime == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pairs = pairs_of(shape, 16)
    times = probe_of(runtime)(shape, pairs, 1)
    assert len(times) == len(pairs) and all(time > 0 for time in times)


def test_unknown_runtimes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="onnxruntime and torch, not 'abacus'"):
        Here("abacus", folder=tmp_path)
