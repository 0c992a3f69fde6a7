"""Files of traced models that somebody else may have written: only listed operators, with arguments that they
take, and nothing out of proportion.
"""

from __future__ import annotations

import json
import operator
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from tests.paint.nets import Halves
from tests.storage.nets import IMAGE, compacted
from torch import Tensor

import prunus
from prunus.errors import FileFormatError
from prunus.storage.arithmetic import MOST_BITS, SIZE, Number, result_of
from prunus.storage.digest import digest
from prunus.storage.operators import OPERATORS, operator_named

Node = list[Any]
INT = {"torch": "int64"}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = tmp_path_factory.mktemp("files") / "m"
    prunus.save(compacted(Halves), path)
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["prunus"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """With a checksum that fits, as an adversary would."""
    path.write_bytes(
        to_bytes(tensors, metadata={"prunus": json.dumps(header | {"sha256": digest(tensors, header)})})
    )
    return path


def with_nodes(content: tuple[dict[str, Any], dict[str, Tensor]], path: Path, *nodes: Node) -> Path:
    """The file with nodes before its output."""
    header, tensors = json.loads(json.dumps(content[0])), content[1]
    header["graph"]["nodes"][-1:-1] = list(nodes)
    return write(path, header, tensors)


def call(name: str, target: str, *args: Any, **keywords: Any) -> Node:
    return [
        "call_function",
        name,
        target,
        {"tuple": list(args)},
        {"dict": [list(item) for item in keywords.items()]},
    ]


def value(name: str) -> dict[str, str]:
    return {"node": name}


def sizes(*numbers: Any) -> dict[str, Any]:
    return {"list": list(numbers)}


X = value("x")


def first_input(content: tuple[dict[str, Any], dict[str, Tensor]]) -> str:
    return str(next(node[1] for node in content[0]["graph"]["nodes"] if node[0] == "placeholder"))


def renamed(node: Any, name: str) -> Any:
    """With the real name of the input in the place of x."""
    return json.loads(json.dumps(node).replace(json.dumps(X), json.dumps(value(name))))


def refusal(content: tuple[dict[str, Any], dict[str, Tensor]], path: Path, *nodes: Node) -> str:
    """What `load` says to a file with these nodes; it must say it soon."""
    start = time.perf_counter()
    with pytest.raises(FileFormatError) as caught:
        prunus.load(with_nodes(content, path, *(renamed(node, first_input(content)) for node in nodes)))
    assert time.perf_counter() - start < 30
    return str(caught.value)


HARMLESS: dict[str, list[Node]] = {
    "nothing": [],
    "zeros": [call("z", "aten.zeros.default", sizes(4, 4))],
    "sizes": [
        call("n", "aten.sym_size.int", X, 0),
        call("m", "mul", value("n"), 4),
        call("z", "aten.full.default", sizes(value("m"), 2), 1.0),
    ],
    "formulas": [call("m", "mul", 0.5, X), call("z", "sub", value("m"), X)],
    "pieces": [
        call("p", "aten.split.Tensor", X, 1, 1),
        call("q", "getitem", value("p"), 2),
        call("r", "aten.relu.default", value("q")),
    ],
    "a resized image": [call("u", "aten.upsample_bilinear2d.vec", X, sizes(16, 16), False, None)],
    "by a factor": [call("u", "aten.upsample_nearest2d.vec", X, None, sizes(2.0, 2.0))],
    "an index": [
        call("i", "aten.zeros.default", sizes(4), dtype=INT),
        call("g", "aten.index.Tensor", X, sizes(value("i"))),
    ],
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_prunus_could_have_written_is_read(what: str, content: Any, tmp_path: Path) -> None:
    again = prunus.load(
        with_nodes(content, tmp_path / "m", *(renamed(node, first_input(content)) for node in HARMLESS[what]))
    )
    assert again(IMAGE).shape == (2, 4)


FOREIGN = """
aten._sparse_csr_tensor_unsafe.default aten.as_strided.default aten.set_.source_Tensor aten.resize_.default
aten._unsafe_index.Tensor
aten.empty_strided.default aten.from_file.default aten._foreach_add.Scalar
aten._nested_tensor_from_mask.default aten.native_batch_norm.default
aten.quantize_per_tensor.default aten.bincount.default aten.nonzero.default aten._local_scalar_dense.default
aten.sparse_coo_tensor.size
aten.fractional_max_pool2d.default aten.repeat_interleave.Tensor aten.add.out aten.resize_as_.default
aten._reshape_alias.default aten.data.default
aten._cdist_forward.default aten.embedding_bag.default aten.record_stream.default aten._pin_memory.default
aten.relu.nothing
aten.save.default prims.mul.default aten.masked_select.default aten._ctc_loss.default aten.transpose_.default
aten.unique_dim.default
"""


@pytest.mark.parametrize("target", FOREIGN.split())
def test_other_operators_are_refused_by_name(target: str, content: Any, tmp_path: Path) -> None:
    assert target in refusal(content, tmp_path / "m", call("z", target, X))


def test_every_listed_operator_computes_tensors_and_takes_no_output() -> None:
    """A list of names is only as good as their forms: none that is accepted writes into an `out`, gives a
    generator or opens a file.
    """
    forms = 0
    for name in OPERATORS:
        packet = getattr(torch.ops.aten, name, None)
        for overload in packet.overloads() if packet is not None else ():
            try:
                found = operator_named(f"aten.{name}.{overload}")
            except FileFormatError:
                continue
            forms += 1
            assert not any(argument.is_out for argument in found._schema.arguments)
    assert forms > 700
    risky = tuple(
        (
            "sparse quantize nested foreach unsafe_index strided resize mkldnn cudnn file cuda _native "
            "native_"
        ).split()
    )
    assert not [name for name in OPERATORS if any(part in name for part in risky)]


TOO_MUCH: dict[str, list[Node]] = {
    "full": [call("z", "aten.full.default", sizes(10**6, 10**6), 1.0)],
    "one long axis": [call("z", "aten.zeros.default", sizes(10**12))],
    "overflow": [call("z", "aten.zeros.default", sizes(2**40, 2**40))],
    "range": [call("z", "aten.arange.default", 10**12)],
    "line": [call("z", "aten.linspace.default", 0, 1, 10**11)],
    "expand": [
        call("z", "aten.expand.default", X, sizes(10**7, 3, 8, 8)),
        call("y", "aten.contiguous.default", value("z")),
    ],
    "expanded": [
        call("o", "aten.ones.default", sizes(1, 1)),
        call("z", "aten.expand.default", value("o"), sizes(10**6, 10**6)),
    ],
    "repeat": [call("z", "aten.repeat.default", X, sizes(10**5, 1, 10**3, 1))],
    "pad": [call("z", "aten.pad.default", X, sizes(10**9, 10**9), "constant", 0.0)],
    "padding": [
        call("w", "aten.ones.default", sizes(1, 3, 1, 1)),
        call("z", "aten.conv2d.default", X, value("w"), None, sizes(1, 1), sizes(2**40, 2**40)),
    ],
    "upsample": [call("z", "aten.upsample_nearest2d.vec", X, sizes(10**6, 10**6), None)],
    "eye": [call("z", "aten.eye.default", 10**6)],
    "a product": [
        call("o", "aten.ones.default", sizes(10**5, 1)),
        call("z", "aten.mul.Tensor", value("o"), {"node": "t"}),
    ],
    "doubling": [
        call(f"d{n + 1}", "aten.cat.default", sizes(value(f"d{n}") if n else X, value(f"d{n}") if n else X))
        for n in range(40)
    ],
    "einsum": [
        call("o", "aten.ones.default", sizes(10**4)),
        call("z", "aten.einsum.default", "i,j,k->ijk", sizes(*[value("o")] * 3)),
    ],
    "many pieces": [call("o", "aten.ones.default", sizes(2**25)), call("z", "aten.unbind.int", value("o"))],
    "many cuts": [
        call("o", "aten.ones.default", sizes(2**25)),
        call("z", "aten.tensor_split.sections", value("o"), 2**25),
    ],
    "symbolic": [
        call("n", "aten.sym_size.int", X, 2),
        call("m", "pow", value("n"), 12),
        call("z", "aten.zeros.default", sizes(value("m"))),
    ],
    "in the sum": [call(f"z{n}", "aten.ones.default", sizes(2**26)) for n in range(20)],
}
TOO_MUCH["a product"].insert(0, call("t", "aten.ones.default", sizes(1, 10**5)))


@pytest.mark.parametrize("what", TOO_MUCH)
def test_memory_out_of_proportion_is_refused_without_taking_it(
    what: str, content: Any, tmp_path: Path
) -> None:
    refusal(content, tmp_path / "m", *TOO_MUCH[what])


ENDLESS: dict[str, list[Node]] = {
    "a power": [call("z", "pow", 10, 10**9)],
    "a power of a size": [call("n", "aten.sym_size.int", X, 0), call("z", "pow", value("n"), 10**9)],
    "powers of powers": [
        call("p0", "aten.sym_size.int", X, 0),
        *(call(f"p{n + 1}", "pow", value(f"p{n}"), 64) for n in range(8)),
    ],
    "a power of one": [
        call("n", "aten.sym_size.int", X, 0),
        call("m", "floordiv", value("n"), value("n")),
        call("z", "pow", 7, value("m")),
    ],
    "squares": [
        call("p0", "aten.sym_size.int", X, 0),
        *(call(f"p{n + 1}", "mul", value(f"p{n}"), value(f"p{n}")) for n in range(40)),
    ],
    "a long list": [call("z", "mul", sizes(1, 2), 10**10)],
    "a long text": [call("z", "mul", "a", 10**10)],
    "a formatted text": [call("z", "mod", "%10000000000d", 5)],
    "a tensor and a list": [call("z", "mul", X, sizes(1, 2))],
    "a tensor and a text": [call("z", "add", X, "x")],
    "a tensor and a tuple of them": [call("p", "aten.unbind.int", X), call("z", "add", value("p"), X)],
    "an entry of a tensor": [call("z", "getitem", X, 0)],
    "an entry by name": [call("p", "aten.unbind.int", X), call("z", "getitem", value("p"), "x")],
    "a shift": [call("z", "lshift", 1, 10**10)],
}


@pytest.mark.parametrize("what", ENDLESS)
def test_arithmetic_without_end_is_refused(what: str, content: Any, tmp_path: Path) -> None:
    refusal(content, tmp_path / "m", *ENDLESS[what])


def test_bounds_of_arithmetic_hold_for_sizes_of_any_length() -> None:
    """Against Python's own numbers, for the largest sizes that there are."""
    largest = (1 << 63) - 1
    for name in ("mul", "add", "sub", "floordiv"):
        function = getattr(operator, name)
        for a in (largest, 7, -largest, 0):
            found = result_of(name, [SIZE, a or 1])
            assert found.whole
            assert function(largest, a or 1).bit_length() <= found.bits
    assert result_of("pow", [SIZE, 3]).bits >= (largest**3).bit_length()
    assert not result_of("truediv", [SIZE, 2]).whole
    assert result_of("math.ceil", [Number(1024, False)]).bits >= int(1.7e308).bit_length()
    with pytest.raises(FileFormatError, match="bits"):
        result_of("mul", [Number(MOST_BITS, True), 4])


WRONG_ARGUMENTS: dict[str, list[Node]] = {
    "a text for a tensor": [call("z", "aten.relu.default", "x")],
    "no argument": [call("z", "aten.relu.default")],
    "too many": [call("z", "aten.relu.default", X, 3)],
    "a keyword that is none": [call("z", "aten.relu.default", X, nothing=3)],
    "given twice": [call("z", "aten.relu.default", X, self=X)],
    "a tuple for a tensor": [call("p", "aten.unbind.int", X), call("z", "aten.relu.default", value("p"))],
    "a fraction for a whole number": [call("z", "aten.select.int", X, 0.5, 0)],
    "a truth for a whole number": [call("z", "aten.select.int", X, True, 0)],
    "an unknown dtype": [call("z", "aten.zeros.default", sizes(3), dtype={"torch": "qint8"})],
    "a sparse layout": [call("z", "aten.zeros.default", sizes(3), layout={"torch": "sparse_coo"})],
    "an unknown mode": [call("z", "aten.pad.default", X, sizes(1, 1), "anything", 0.0)],
    "a way of rounding": [call("z", "aten.div.Tensor_mode", X, 3, rounding_mode="up")],
    "a stride of zero": [call("z", "aten.max_pool2d.default", X, sizes(2, 2), sizes(0, 0))],
    "a negative padding": [call("z", "aten.max_pool2d.default", X, sizes(2, 2), sizes(1, 1), sizes(-1, -1))],
    "a huge kernel": [call("z", "aten.avg_pool2d.default", X, sizes(10**9, 10**9))],
    "a huge dilation": [
        call("z", "aten.max_pool2d.default", X, sizes(2, 2), sizes(1, 1), sizes(0, 0), sizes(10**9, 10**9))
    ],
    "a tiny scale": [call("z", "aten.upsample_bilinear2d.default", X, sizes(16, 16), False, 1e-320, 1e-320)],
    "a scale that is no number": [
        call("z", "aten.upsample_nearest2d.vec", X, None, sizes({"float": "nan"}, 2.0))
    ],
    "a mode of sampling": [
        call("g", "aten.zeros.default", sizes(2, 4, 4, 2)),
        call("z", "aten.grid_sampler.default", X, value("g"), 77, 0, False),
    ],
    "a dtype where bits would be read anew": [call("z", "aten.view.dtype", X, {"torch": "qint32"})],
    "shapes that do not fit": [
        call("o", "aten.ones.default", sizes(5, 5)),
        call("z", "aten.mm.default", value("o"), X),
    ],
    "more values than keys": [
        call("k", "aten.ones.default", sizes(1, 2, 4, 8)),
        call("v", "aten.ones.default", sizes(1, 2, 4000, 8)),
        call("z", "aten.scaled_dot_product_attention.default", value("k"), value("k"), value("v")),
    ],
}


@pytest.mark.parametrize("what", WRONG_ARGUMENTS)
def test_arguments_that_an_operator_does_not_take_are_refused(
    what: str, content: Any, tmp_path: Path
) -> None:
    refusal(content, tmp_path / "m", *WRONG_ARGUMENTS[what])


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = {"list": [found]}
    return found


@pytest.mark.parametrize("depth", [200, 900, 20_000])
def test_deep_nests_are_refused(depth: int, content: Any, tmp_path: Path) -> None:
    text = '{"list": [' * depth + "1" + "]}" * depth
    header = json.dumps(content[0])
    output = json.dumps(content[0]["graph"]["nodes"][-1][3])
    changed = header.replace(output, f'{{"tuple": [{text}]}}')
    (tmp_path / "m").write_bytes(to_bytes(content[1], metadata={"prunus": changed}))
    with pytest.raises(FileFormatError):
        prunus.load(tmp_path / "m")
    structure = (
        "[1, "
        + '{"type": "builtins.list", "context": "null", "children_spec": [' * depth
        + "]}" * depth
        + "]"
    )
    header = json.loads(json.dumps(content[0]))
    header["graph"]["out"] = structure
    with pytest.raises(FileFormatError):
        prunus.load(write(tmp_path / "m", header, content[1]))


def test_a_node_that_asks_for_too_much_is_named(content: Any, tmp_path: Path) -> None:
    said = refusal(content, tmp_path / "m", call("greedy", "aten.zeros.default", sizes(10**6, 10**6)))
    assert "greedy" in said and "aten.zeros.default" in said and said.endswith(".")
