"""Model files of others, damaged or made up: they are refused by name."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from tests.storage.nets import BUILDS, IMAGE, Rich, compacted
from torch import Tensor, nn

import prunus
from prunus.errors import FileFormatError, PlanError
from prunus.models import lenet5, resnet20
from prunus.storage.digest import digest


def test_the_wrong_model(tmp_path: Path) -> None:
    prunus.save(compacted(Rich), tmp_path / "m")
    with pytest.raises(FileFormatError, match="build_model"):
        prunus.load(tmp_path / "m")
    with pytest.raises(PlanError, match="LeNet5"):
        prunus.load(tmp_path / "m", lenet5)
    prunus.save(lenet5(), tmp_path / "dense")
    for build in (lambda: lenet5(num_classes=7), resnet20, lambda: nn.Sequential()):
        with pytest.raises((PlanError, FileFormatError)):
            prunus.load(tmp_path / "dense", build)


def test_files_of_others(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not exist"):
        prunus.load(tmp_path / "none")
    with pytest.raises(FileFormatError):
        prunus.load(tmp_path)
    (tmp_path / "plain").write_bytes(to_bytes({"a": torch.ones(3)}))
    with pytest.raises(FileFormatError, match="not written by prunus"):
        prunus.load(tmp_path / "plain", lenet5)
    torch.save(lenet5().state_dict(), tmp_path / "pickled")
    with pytest.raises(FileFormatError):
        prunus.load(tmp_path / "pickled", lenet5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    for name in ("eager", "traced"):
        prunus.save(compacted(BUILDS[name]), folder / name)
    return {name: (folder / name).read_bytes() for name in ("eager", "traced")}


def refused(path: Path, name: str, content: bytes) -> bool:
    """Whether a file is refused by a named error; any other error fails the test."""
    path.write_bytes(content)
    try:
        prunus.load(path, None if name == "traced" else lambda: Rich().double())
    except (FileFormatError, PlanError):
        return True
    return False


@pytest.mark.parametrize("name", ["eager", "traced"])
def test_truncated_anywhere(name: str, files: dict[str, bytes], tmp_path: Path) -> None:
    whole = files[name]
    rng = random.Random(0)
    for length in [0, 1, 7, 8, 9, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(40))]:
        assert refused(tmp_path / "m", name, whole[:length]), length
    assert refused(tmp_path / "m", name, whole + b"\0")


@pytest.mark.parametrize("part", ["header", "tensors"])
@pytest.mark.parametrize("name", ["eager", "traced"])
def test_a_flipped_bit_anywhere(name: str, part: str, files: dict[str, bytes], tmp_path: Path) -> None:
    """A changed bit is a named error, and never a model that is silently another one."""
    whole = files[name]
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = random.Random(1)
    silent, loud = [], []
    for _ in range(70):
        at, bit = (
            rng.randrange(header) if part == "header" else rng.randrange(header, len(whole)),
            rng.randrange(8),
        )
        content = bytearray(whole)
        content[at] ^= 1 << bit
        try:
            if not refused(tmp_path / "m", name, bytes(content)):
                silent.append((at, bit, whole[max(0, at - 20) : at + 20]))
        except Exception as error:
            loud.append((type(error).__name__, str(error)[:60], at, bit, whole[max(0, at - 20) : at + 20]))
    assert not loud
    assert not silent


def rewritten(
    content: bytes, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]
) -> bytes:
    """The same file with a changed header and tensors and a checksum that fits: what somebody with bad
    intentions would write.
    """
    path = tmp_path / "source"
    path.write_bytes(content)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["prunus"])
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(header, tensors)
    header["sha256"] = digest(tensors, header)
    return to_bytes(tensors, metadata={"prunus": json.dumps(header)})


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda header: header.pop(key)


HEADER_CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    **{
        f"without {key}": ("traced", without(key))
        for key in ("frozen", "training", "graph", "buffers", "mode", "schema")
    },
    "frozen is a number": ("eager", lambda h: h.update(frozen=3)),
    "training is a word": ("eager", lambda h: h.update(training="yes")),
    "another schema": ("eager", lambda h: h.update(schema=99)),
    "another mode": ("eager", lambda h: h.update(mode="pickle")),
    "no plan": ("eager", lambda h: h.pop("plan")),
    "plan is no text": ("eager", lambda h: h.update(plan=3)),
    "rebinds are numbers": ("eager", lambda h: h.update(rebinds=[1, 2])),
    "rebinds elsewhere": (
        "eager",
        lambda h: h["rebinds"].append({"module": "none", "name": "x", "value": 3, "tuple": False}),
    ),
    "rebinds a class": (
        "eager",
        lambda h: h["rebinds"].append({"module": "", "name": "__class__", "value": 3, "tuple": False}),
    ),
    "rebinds a method": (
        "eager",
        lambda h: h["rebinds"].append({"module": "", "name": "forward", "value": 3, "tuple": False}),
    ),
    "rebinds without value": ("eager", lambda h: h["rebinds"].append({"module": "", "name": "x"})),
    "graph is a list": ("traced", lambda h: h.update(graph=[])),
    "graph nodes of wrong length": ("traced", lambda h: h["graph"]["nodes"].append([1, 2])),
    "graph without output": ("traced", lambda h: h["graph"]["nodes"].pop()),
    "graph of nothing": ("traced", lambda h: h["graph"].update(nodes=[])),
    "structure is no structure": ("traced", lambda h: h["graph"].update({"in": "[1, 3]"})),
    "structure of a foreign class": (
        "traced",
        lambda h: h["graph"].update(
            {"out": '[1, {"type": "os.system", "context": "null", "children_spec": []}]'}
        ),
    ),
    "buffers are a number": ("traced", lambda h: h.update(buffers=3)),
}


@pytest.mark.parametrize("what", HEADER_CHANGES)
def test_headers_that_make_no_sense(what: str, files: dict[str, bytes], tmp_path: Path) -> None:
    name, change = HEADER_CHANGES[what]
    assert refused(tmp_path / "m", name, rewritten(files[name], tmp_path, lambda h, _: change(h)))


@pytest.mark.parametrize("header", ["[]", "3", "null", "[" * 100_000, '{"schema": []}'])
def test_headers_that_are_no_objects(header: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(to_bytes({"a": torch.ones(1)}, metadata={"prunus": header}))
    with pytest.raises(FileFormatError):
        prunus.load(tmp_path / "m", lenet5)


def call(header: dict[str, Any]) -> list[Any]:
    return next(node for node in header["graph"]["nodes"] if node[0] == "call_function")


def rename_input(h: dict[str, Any], name: str) -> None:
    h["graph"]["arguments"][0] = name


@pytest.mark.parametrize(
    "target",
    [
        *(
            "os.system builtins.eval aten.from_file.default prim.print.default aten.__class__.mro aten.relu "
            "aten.relu.default.x eval"
        ).split(),
        "",
        3,
    ],
)
def test_operators_outside_of_torch_are_refused(target: Any, files: dict[str, bytes], tmp_path: Path) -> None:
    assert refused(
        tmp_path / "m",
        "traced",
        rewritten(files["traced"], tmp_path, lambda h, _: call(h).__setitem__(2, target)),
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda h: call(h).__setitem__(1, 'x"); print("'),
        lambda h: call(h).__setitem__(1, "class"),
        lambda h: call(h).__setitem__(0, "call_method"),
        lambda h: call(h).__setitem__(0, "call_module"),
        lambda h: h["graph"]["nodes"][0].__setitem__(2, "weight', print('x"),
        lambda h: call(h).__setitem__(3, {"tuple": [{"node": "not_there"}]}),
        lambda h: call(h).__setitem__(3, {"torch": "ops"}),
        lambda h: rename_input(h, "x, y=print"),
        lambda h: rename_input(h, "class"),
        lambda h: rename_input(h, "self"),
    ],
)
def test_names_that_would_become_code_are_refused(
    change: Callable[[dict[str, Any]], Any], files: dict[str, bytes], tmp_path: Path
) -> None:
    assert refused(tmp_path / "m", "traced", rewritten(files["traced"], tmp_path, lambda h, _: change(h)))


def test_a_tensor_name_with_quotes_does_not_run_code(files: dict[str, bytes], tmp_path: Path) -> None:
    """torch.fx writes attribute names into Python source; a name with a quote in it would end the string and
    begin a program.
    """
    marker = tmp_path / "ran"
    path = "".join(f"\\x{ord(c):02x}" for c in str(marker))  # no dots: they separate modules
    evil = f'x", open("{path}", "w")) or getattr(self, "head'

    def change(h: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        node = next(n for n in h["graph"]["nodes"] if n[0] == "get_attr" and n[2] == "head.bias")
        node[2] = evil
        tensors[evil] = tensors["head.bias"].clone()

    (tmp_path / "m").write_bytes(rewritten(files["traced"], tmp_path, change))
    try:
        prunus.load(tmp_path / "m")(IMAGE)
    except FileFormatError:
        pass
    except Exception as error:
        assert not marker.exists(), f"code in a file was run ({error})"
    assert not marker.exists(), "code in a file was run"


# -- how files are written -----------------------------------------------------------------------------------


def test_no_pickle() -> None:
    """Nothing in the package imports pickle, and every torch.load says weights_only=True."""
    for path in Path(prunus.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"} & {
                    n.split(".")[0] for n in names
                }, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(
                    k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
                ), path
