"""Model files: what is saved comes back, and what was changed or cut short is refused by name."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from tests.paint.nets import Halves, difference, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import FileFormatError, PlanError, PrunusError
from prunus.models import lenet5, resnet20
from prunus.storage.digest import digest
from prunus.surgery.traced.module import TracedModule

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Build = Callable[[], nn.Module]


class Rich(nn.Module):
    """A non-persistent buffer, an integer buffer, tied weights, and a constant that must be folded into a
    bias that is not there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)
        self.act = nn.Sigmoid()
        self.next = nn.Conv2d(6, 6, 3, bias=False)
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.register_buffer("shift", torch.ones(6), persistent=False)
        self.register_buffer("count", torch.tensor(3))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.next(self.act(self.conv(x))).mean((2, 3)) + self.shift
        return self.head(self.b(self.a(x).relu()))


class RichHalves(Halves):
    """The same for the traced module."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.register_buffer("shift", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(super().forward(x) + self.shift).relu())


BUILDS: dict[str, Build] = {
    "eager": Rich,
    "traced": Halves,
    "traced with ties": RichHalves,
    "resnet": resnet20,
}


def compacted(build: Build, dtype: torch.dtype = torch.float64) -> nn.Module:
    model = randomised(build())
    list(model.parameters())[-1].requires_grad_(False)
    model = model.to(dtype)
    return prunus.compact(model, random_plan(prunus.trace(model, IMAGE.to(dtype))))


def assert_equal(first: nn.Module, second: nn.Module) -> None:
    one, two = first.state_dict(), second.state_dict()
    assert sorted(one) == sorted(two)
    assert all(torch.equal(one[k], two[k]) and one[k].dtype == two[k].dtype for k in one)
    for get in ("named_parameters", "named_buffers"):
        mine, other = dict(getattr(first, get)()), dict(getattr(second, get)())
        assert sorted(mine) == sorted(other)
        assert all(mine[k].requires_grad == other[k].requires_grad for k in mine)


@pytest.mark.parametrize("name", BUILDS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    small = compacted(BUILDS[name])
    prunus.save(small, tmp_path / "m.safetensors")
    build = None if isinstance(small, TracedModule) else lambda: BUILDS[name]().double()
    again = prunus.load(tmp_path / "m.safetensors", build)
    assert type(again) is type(small)
    assert_equal(small, again)
    assert difference(small, again, IMAGE) == 0
    assert again.prunus.mode == small.prunus.mode == ("traced" if name.startswith("traced") else "eager")
    assert again.prunus.plan == small.prunus.plan
    assert again.training is small.training
    prunus.save(again, tmp_path / "again.safetensors")
    assert_equal(small, prunus.load(tmp_path / "again.safetensors", build))


@pytest.mark.parametrize("name", ["eager", "traced"])
def test_parameters_keep_their_order(name: str, tmp_path: Path) -> None:
    """An optimiser's state is saved by position: parameters must come back in the order
    in which they were.
    """
    small = compacted(BUILDS[name])
    prunus.save(small, tmp_path / "m")
    again = prunus.load(tmp_path / "m", lambda: BUILDS[name]().double())
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in small.named_parameters()]


def test_ties_are_tied_again(tmp_path: Path) -> None:
    prunus.save(compacted(Rich), tmp_path / "m")
    again = prunus.load(tmp_path / "m", lambda: Rich().double())
    assert again.a.weight is again.b.weight
    assert again.next.bias is not None  # made by folding


@pytest.mark.parametrize("name", ["eager", "traced"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    small = compacted(BUILDS[name], dtype)
    prunus.save(small, tmp_path / "m")
    again = prunus.load(tmp_path / "m", BUILDS[name])
    assert_equal(small, again)
    assert {p.dtype for p in again.parameters()} == {dtype}


def test_a_dense_model_and_its_mode(tmp_path: Path) -> None:
    model = lenet5().train()
    prunus.save(model, tmp_path / "deep" / "m")
    again = prunus.load(tmp_path / "deep" / "m", lenet5)
    assert_equal(model, again)
    assert again.training
    assert not hasattr(again, "prunus")


def test_a_loaded_model_can_be_trained_and_pruned_again(tmp_path: Path) -> None:
    prunus.save(compacted(Halves), tmp_path / "m")
    again = prunus.load(tmp_path / "m")
    again.train()(IMAGE).sum().backward()
    assert again.conv.weight.grad is not None
    plan = random_plan(prunus.trace(again.eval(), IMAGE), 0.4)
    assert plan.removed > 0
    assert difference(prunus.mask(again, plan), prunus.compact(again, plan), IMAGE) < 1e-12


# -- refusals ------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("step", ["fdopen", "replace"])
def test_a_failure_leaves_the_old_file_and_no_rubbish(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    prunus.save(lenet5(), path)
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    if step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(os, "fdopen", fail)
    with pytest.raises(FileFormatError, match=r"cannot be written \(disk full\)"):
        prunus.save(lenet5(num_classes=3), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_saving_changes_nothing(tmp_path: Path) -> None:
    small = compacted(Halves)
    before = copy.deepcopy(small.state_dict())
    prunus.save(small, tmp_path / "m")
    assert all(torch.equal(before[k], v) for k, v in small.state_dict().items())
    assert hashlib.sha256((tmp_path / "m").read_bytes()).digest() != b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((5,), "path must be a text or a pathlib.Path, not 5"),
        (("{file}", "mynets:build"), "build_model must be a function or None"),
        (("{file}", nn.Linear(2, 2)), "give what makes it"),
        (("{file}", lambda: nn.Linear), "build_model must return the dense model, .* not the class Linear"),
        (("{file}", None, "gpu"), "device must be one that torch has here, such as cpu, not 'gpu'"),
    ],
)
def test_wrong_arguments_are_told(arguments: tuple[Any, ...], said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    prunus.save(nn.Linear(2, 2), file)
    given: list[Any] = [str(file) if one == "{file}" else one for one in arguments]
    with pytest.raises(PrunusError, match=said):
        prunus.load(*given)
    with pytest.raises(FileFormatError, match="model must be a torch"):
        prunus.save(file, nn.Linear(2, 2))  # type: ignore[arg-type]


def test_what_is_loaded_in_inference_mode_can_be_trained(tmp_path: Path) -> None:
    prunus.save(nn.Linear(2, 2), tmp_path / "a.safetensors")
    with torch.inference_mode():
        model = prunus.load(tmp_path / "a.safetensors", lambda: nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    assert not any(parameter.is_inference() for parameter in model.parameters())
