from __future__ import annotations

import numpy as np
import pytest

from prunus.coding import Grid, Plain
from prunus.coding.skeleton import PERMUTED, RESHAPED, SAME, SUM, Reference, composed, made, write
from prunus.coding.table import Entry
from prunus.errors import FileFormatError

MATRIX = Grid(np.arange(6, dtype=np.int32).reshape(2, 3) - 2, 0.5)
BIAS = Plain(np.array([1, 2, 3], np.float32))
WIDE = Grid(np.array([[200, -3]], np.int32), 0.1)
ENTRIES = [Entry(MATRIX), Entry(BIAS), Entry(WIDE)]
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3) / 2 - 1


def refused(reference: Reference) -> str:
    with pytest.raises(FileFormatError) as caught:
        composed(write([reference], b"", b""), ENTRIES)
    return str(caught.value)


def test_constants_are_made_of_tensors() -> None:
    assert np.array_equal(made(Reference(0), ENTRIES), VALUES)
    assert np.array_equal(made(Reference(0, PERMUTED, (1, 0)), ENTRIES), VALUES.T)
    assert np.array_equal(made(Reference(0, RESHAPED, (3, 2, 1)), ENTRIES), VALUES.reshape(3, 2, 1))
    assert np.array_equal(made(Reference(1, SUM, (1,)), ENTRIES), [2, 4, 6])


def test_the_onnx_file_is_the_one_that_onnx_reads() -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("MatMul", ["x", "w0"], ["y"])
    value = onnx.helper.make_tensor_value_info
    ends = [value("x", 1, [1, 2])], [value("y", 1, [1, 3])]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", *ends))
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    references = [
        Reference(0),
        Reference(1),
        Reference(0, PERMUTED, (1, 0)),
        Reference(1, SUM, (1,)),
        Reference(2),
    ]
    skeleton = write(references, model.SerializeToString(), graph)
    whole = onnx.load_from_string(composed(skeleton, ENTRIES).content)
    onnx.checker.check_model(whole)
    found = {one.name: onnx.numpy_helper.to_array(one) for one in whole.graph.initializer}
    assert list(found) == ["w0", "w1", "w2", "w3", "w4"]
    assert np.array_equal(found["w0"], VALUES) and np.array_equal(found["w2"], VALUES.T)
    assert (
        np.array_equal(found["w3"], [2, 4, 6])
        and found["w4"].tobytes() == (np.array([[200, -3]], np.float32) * np.float32(0.1)).tobytes()
    )


def test_integers_of_8_bits_stay_integers_where_they_fit() -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w0"], ["h"]),
        onnx.helper.make_node("Add", ["h", "w1"], ["y"]),
    ]
    ends = [value("x", 1, [1, 2])], [value("y", 1, [1, 3])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", *ends),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=9,
    )
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    skeleton = write([Reference(0), Reference(1), Reference(2)], model.SerializeToString(), graph)
    x = np.array([[0.3, -1.7]], np.float32)
    outputs = []
    for int8, count in ((False, 0), (True, 1)):  # a bias has no grid, and 200 does not fit
        made = composed(skeleton, ENTRIES, int8=int8)
        assert made.integers == count
        session = runtime.InferenceSession(made.content, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"x": x})[0])
    assert outputs[0].tobytes() == outputs[1].tobytes()


def test_other_skeletons_are_refused_by_name() -> None:
    assert refused(Reference(3)) == "Its ONNX skeleton takes tensor 3, and there are 3."
    for reference in (
        Reference(0, PERMUTED, (0, 0)),
        Reference(0, PERMUTED, (0,)),
        Reference(0, RESHAPED, (4, 2)),
        Reference(0, SUM, (1,)),
        Reference(0, SUM, (9,)),
        Reference(0, SUM, ()),
    ):
        assert "cannot be made of the file's tensors" in refused(reference)
    for data in (b"", b"\x01", b"\x01\x00\x07\x00", b"\x00\x05", b"\x01\x01\x00\x00"):
        with pytest.raises(FileFormatError, match="Its ONNX skeleton"):
            composed(data, ENTRIES)


def test_a_tensor_that_is_taken_again_and_again_is_refused() -> None:
    entries = [Entry(Plain(np.zeros(1 << 18, np.float32)))]
    with pytest.raises(FileFormatError, match="far more constants"):
        composed(write([Reference(0)] * 10, b"", b""), entries)
    assert len(composed(write([Reference(0, SAME)] * 8, b"", b""), entries).content) > 8 << 20


def test_types_that_onnx_lacks_are_refused() -> None:
    with pytest.raises(FileFormatError, match="type float8_e5m2"):
        composed(write([Reference(0)], b"", b""), [Entry(Plain(np.arange(3, dtype=np.uint8)), "float8_e5m2")])
