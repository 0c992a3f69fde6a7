"""Coded networks: what is saved comes back bit for bit, and everything else is refused by name."""

from __future__ import annotations

import copy
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import Halves, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.coding import Codebook, CodedTensor, Grid, Plain, container, values_of
from prunus.errors import FileFormatError, PlanError, PrunusError
from prunus.models import lenet5, resnet20, unet
from prunus.paint.model_copy import copy_model, named_tensors
from prunus.runs.loading import open_model
from prunus.storage import coded_network, read_about, save_coded
from prunus.storage.coded_file import read_coded
from prunus.storage.coded_network import CATALOGUE, Changes, Network
from prunus.surgery.blocks import without_blocks
from prunus.surgery.traced.export import export_module
from prunus.surgery.traced.module import TracedModule

DIGIT = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
Coded = dict[str, CodedTensor]


def digits() -> nn.Module:
    return lenet5(image_size=8)


class Rich(nn.Module):
    """Tied weights, buffers of many types, one of them not persistent, and a constant that is folded into a
    bias that was not there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)
        self.act = nn.Sigmoid()
        self.next = nn.Conv2d(6, 6, 3, bias=False)
        self.norm = nn.GroupNorm(1, 6)
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.register_buffer("shift", torch.ones(6), persistent=False)
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("short", torch.rand(3, generator=torch.Generator().manual_seed(1)).half())
        self.register_buffer("brain", torch.rand(2, 2, generator=torch.Generator().manual_seed(2)).bfloat16())
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("nothing", torch.empty(0, 5))
        self.register_buffer("phase", torch.tensor([1 + 2j, 3]))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.next(self.act(self.conv(x)))).mean((2, 3)) + self.shift
        return self.head(self.b(self.a(x).relu()))


def coded(model: nn.Module, step: float = 1 / 32) -> Coded:
    """Parameters on grids, but for one in a codebook and one as it is."""
    found: Coded = {}
    for name, tensor in model.named_parameters():
        if tensor.dtype == torch.float32:
            found[name] = Grid(np.rint(tensor.detach().numpy() / step).astype(np.int32), step)
    first, *_, last = found
    centroids = np.array([0, 0.25, -0.25, 0.1], np.float32)
    found[first] = Codebook(np.abs(values_of(found[first]) * 8).astype(np.int32) % 4, centroids)
    found[last] = Plain(values_of(found[last]))
    return found


def decoded(model: nn.Module, values: Coded) -> nn.Module:
    """The same network with these values: what a reader has to give."""
    result = copy_model(model, {})
    with torch.no_grad():
        for name, tensor in named_tensors(result).items():
            if name in values:
                tensor.copy_(torch.from_numpy(values_of(values[name])))
    return result


def compacted(build: Callable[[], nn.Module], x: Tensor) -> nn.Module:
    model = randomised(build()).float()
    return prunus.compact(model, random_plan(prunus.trace(model, x)))


def bits(tensor: Tensor) -> bytes:
    return (
        tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        if tensor.numel()
        else b""
    )


def same(one: nn.Module, other: nn.Module, x: Tensor) -> None:
    """Equal in every bit, and in what learns, ties, mode and outputs."""
    mine, theirs = named_tensors(one), named_tensors(other)
    assert list(mine) == list(theirs)
    for name, tensor in mine.items():
        assert tensor.shape == theirs[name].shape and tensor.dtype == theirs[name].dtype, name
        assert bits(tensor) == bits(theirs[name]), name
    learning = [(name, p.requires_grad) for name, p in one.named_parameters(remove_duplicate=False)]
    assert learning == [(name, p.requires_grad) for name, p in other.named_parameters(remove_duplicate=False)]
    assert one.training == other.training and one.state_dict().keys() == other.state_dict().keys()
    assert torch.equal(copy.deepcopy(one).eval()(x), copy.deepcopy(other).eval()(x))


NETS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "lenet5": (digits, DIGIT),
    "resnet20": (resnet20, IMAGE),
    "projection": (lambda: resnet20(7, shortcut="projection"), IMAGE),
    "unet": (lambda: unet(width=4, depth=2), IMAGE),
}


@pytest.mark.parametrize("name, dense", [*((name, False) for name in NETS), ("lenet5", True), ("unet", True)])
def test_a_network_of_the_catalogue_stands_alone(name: str, dense: bool, tmp_path: Path) -> None:
    build, x = NETS[name]
    model = randomised(build()).float() if dense else compacted(build, x)
    model.train()
    list(model.parameters())[1].requires_grad_(False)
    values = coded(model)
    size = save_coded(model, values, tmp_path / "model.prunus")
    assert size == (tmp_path / "model.prunus").stat().st_size
    found = prunus.load(tmp_path / "model.prunus")
    assert type(found) is type(model)
    same(decoded(model, values), found, x)
    # and once more, from what was read
    save_coded(found, values, tmp_path / "again.prunus")
    assert (tmp_path / "again.prunus").read_bytes() == (tmp_path / "model.prunus").read_bytes()


def test_little_is_said_of_a_small_network(tmp_path: Path) -> None:
    model = compacted(lambda: lenet5(), torch.zeros(1, 1, 28, 28))
    grids: Coded = {
        name: Grid(np.rint(t.detach().numpy() * 32).astype(np.int32), 1 / 32)
        for name, t in model.named_parameters()
    }
    save_coded(model, grids, tmp_path / "model.prunus")
    sizes = container.sizes((tmp_path / "model.prunus").read_bytes())
    assert sizes.keys() == {"head", "network", "table of tensors", "integers"}
    assert sum(sizes.values()) - sizes["integers"] <= 56


def test_blocks_may_be_left_out(tmp_path: Path) -> None:
    model = without_blocks(randomised(resnet20()).float(), ["layer1.1", "layer3.2"])
    values = coded(model)
    save_coded(model, values, tmp_path / "model.prunus")
    same(decoded(model, values), prunus.load(tmp_path / "model.prunus"), IMAGE)


def test_a_network_that_was_changed_by_hand_is_one_of_its_own_class(tmp_path: Path) -> None:
    """What the catalogue would build is another network."""
    model: Any = resnet20().eval()
    model.bn1.eps = 0.1
    save_coded(model, coded(model), tmp_path / "model.prunus")
    with pytest.raises(FileFormatError, match="holds a CifarResNet in its own class; give build_model="):
        prunus.load(tmp_path / "model.prunus")
    model = resnet20().eval()
    model.linear = nn.Sequential(nn.Linear(64, 5))
    save_coded(model, coded(model), tmp_path / "model.prunus")
    with pytest.raises(FileFormatError, match="give build_model="):
        prunus.load(tmp_path / "model.prunus")


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "compact"])
def test_a_class_of_ones_own_is_restored_into_what_a_function_builds(dense: bool, tmp_path: Path) -> None:
    model = Rich().eval() if dense else compacted(Rich, IMAGE)
    values = coded(model)
    save_coded(model, values, tmp_path / "model.prunus")
    found: Any = prunus.load(tmp_path / "model.prunus", Rich)
    same(decoded(model, values), found, IMAGE)
    assert found.a.weight is found.b.weight
    if not dense:
        assert found.norm.num_channels == model.norm.num_channels and found.next.bias is not None
    save_coded(found, values, tmp_path / "again.prunus")
    same(found, prunus.load(tmp_path / "again.prunus", Rich), IMAGE)
    with pytest.raises(FileFormatError, match="it holds a Rich in its own class; give build_model="):
        prunus.load(tmp_path / "model.prunus")
    with pytest.raises(PrunusError, match=r"build_model makes another|tensors where its network has"):
        prunus.load(tmp_path / "model.prunus", resnet20)


@pytest.mark.parametrize("cut", [False, True])
def test_a_traced_network_stands_alone(cut: bool, tmp_path: Path) -> None:
    x = IMAGE[:, :, :8, :8]
    model = compacted(Halves, x) if cut else export_module(randomised(Halves()).float(), ((x,), {}))
    assert isinstance(model, TracedModule)
    values = coded(model)
    save_coded(model, values, tmp_path / "model.prunus")
    same(decoded(model, values), prunus.load(tmp_path / "model.prunus"), x)


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    model = digits()
    save_coded(model, {}, tmp_path / "model.safetensors")
    same(model, prunus.load(tmp_path / "model.safetensors"), DIGIT)
    same(model, prunus.load(tmp_path), DIGIT)
    (tmp_path / "model.safetensors").rename(tmp_path / "model.prunus")
    same(model, prunus.load(tmp_path), DIGIT)


def test_a_plan_is_kept_if_asked_for(tmp_path: Path) -> None:
    model = compacted(digits, DIGIT)
    save_coded(model, {}, tmp_path / "coded.prunus", plan=True)
    found = prunus.load(tmp_path / "coded.prunus")
    assert isinstance(found.prunus, prunus.Origin) and found.prunus.plan.groups == model.prunus.plan.groups
    prunus.save(found, tmp_path / "plain.safetensors")
    same(model, prunus.load(tmp_path / "plain.safetensors", digits), DIGIT)


def test_norms_go_on_dividing_by_as_many_channels(tmp_path: Path) -> None:
    model = compacted(Rich, IMAGE)
    found = prunus.load(saved(model, tmp_path), Rich)
    assert getattr(found.norm, "kept_widths", None) == getattr(model.norm, "kept_widths", None)
    assert getattr(model.norm, "kept_widths", None)


def saved(model: nn.Module, folder: Path) -> Path:
    save_coded(model, {}, folder / "model.prunus")
    return folder / "model.prunus"


def test_notes_are_for_people(tmp_path: Path) -> None:
    about = {"classes": ["a", "ü"], "mean": [0.5], "nested": {"x": None}}
    save_coded(digits(), {}, tmp_path / "model.prunus", about=about)
    assert read_about(tmp_path / "model.prunus") == about
    assert read_about(saved(digits(), tmp_path)) == {}
    with pytest.raises(FileFormatError, match="no JSON data"):
        save_coded(digits(), {}, tmp_path / "model.prunus", about={"x": object()})


def test_tensors_of_another_network_are_not_saved(tmp_path: Path) -> None:
    path, model = tmp_path / "model.prunus", digits()
    with pytest.raises(FileFormatError, match=r"LeNet5 has no tensor 'conv9\.weight'"):
        save_coded(model, {"conv9.weight": Grid(np.zeros((1, 1), np.int32), 1.0)}, path)
    with pytest.raises(FileFormatError, match=r"conv1.bias is coded with shape \(3,\)"):
        save_coded(model, {"conv1.bias": Grid(np.zeros(3, np.int32), 1.0)}, path)
    with pytest.raises(FileFormatError, match=r"as float32, but the model has it with shape .* as float64"):
        save_coded(model.double(), {"conv1.bias": Grid(np.zeros(20, np.int32), 1.0)}, path)
    with pytest.raises(FileFormatError, match="as float64, but the model has it"):
        save_coded(digits(), {"conv1.bias": Plain(np.zeros(20))}, path)
    assert not path.exists()


def test_tied_tensors_go_by_any_of_their_names(tmp_path: Path) -> None:
    values = Grid(np.arange(36, dtype=np.int32).reshape(6, 6), 0.5)
    save_coded(Rich(), {"b.weight": values}, tmp_path / "model.prunus")
    found: Any = prunus.load(tmp_path / "model.prunus", Rich)
    assert bits(found.a.weight) == values_of(values).tobytes() and found.a.weight is found.b.weight
    assert len(read_coded(tmp_path / "model.prunus")[0]) == len(named_tensors(Rich()))


def rewritten(path: Path, network: Network) -> Path:
    """A file of another network with the same tensors, and a checksum that fits."""
    sections = container.read(path.read_bytes())
    entries = container.tensors(sections)
    path.write_bytes(container.write(coded_network.to_bytes(network), entries))
    return path


def named(name: str, **more: Any) -> Network:
    return Network(CATALOGUE, name, False, False, more.pop("options", {"image_size": 8}), **more)


@pytest.mark.parametrize(
    "network, text",
    [
        (named("resnet20", options={}), "tensors where its network has"),
        (named("os:system"), "'os:system' is not the name of a network"),
        (named("lenet5", options={"image_size": 4096}), "must be a whole number up to 2,048"),
        (named("lenet5", options={"image_size": 1}), "at least 4"),
        (named("lenet5", options={"image_size": 8, "depth": 2}), "depth"),
        (named("lenet5", changes=Changes(biases=(99,))), "speaks of module 99, and its network has 5"),
        (named("lenet5", changes=Changes(rebinds=((1, "forward", 3),))), "sets 'forward' of module 'conv1'"),
        (named("lenet5", changes=Changes(rebinds=((1, "in_channels", (3,)),))), "not as such a size"),
        (named("lenet5", changes=Changes(left_out=("conv9",))), "no module 'conv9'"),
        (named("lenet5", changes=Changes(left_out=("conv1",))), "tensors where its network has"),
    ],
)
def test_a_file_says_nothing_that_is_not_checked(network: Network, text: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=text):
        prunus.load(rewritten(saved(digits(), tmp_path), network))


def test_a_large_network_of_a_library_is_not_built_for_a_small_file(tmp_path: Path, monkeypatch: Any) -> None:
    from prunus.storage import coded_model

    def build(name: str, options: Any) -> nn.Module:
        with torch.device("meta"):
            return nn.Linear(1 << 14, 1 << 14)

    monkeypatch.setattr(coded_model, "build_recorded", build)
    path = rewritten(saved(digits(), tmp_path), named("timm/huge", options={}))
    with pytest.raises(
        FileFormatError, match="names timm/huge, whose 268,451,840 numbers are out of proportion"
    ):
        prunus.load(path)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    path = saved(digits(), tmp_path)
    data = path.read_bytes()
    for changed in (data[:-1], data[:9], data[:3], data + b"\0", data[:100] + b"\xff" + data[101:]):
        path.write_bytes(changed)
        with pytest.raises(FileFormatError, match=r"model\.prunus cannot be loaded: it "):
            prunus.load(path)
    with pytest.raises(FileFormatError, match="does not exist"):
        read_about(tmp_path / "none.prunus")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.prunus")
    with pytest.raises(FileFormatError, match="does not exist"):
        prunus.load(tmp_path / "pipe.prunus")


def test_forged_counts_take_no_memory(tmp_path: Path) -> None:
    """A file of 100 bytes that says that it holds a thousand million weights."""
    from prunus.coding.fields import number

    table = b"\x01\x01\x02" + number(1 << 15) * 2 + b"\x3f\x80"
    network = coded_network.to_bytes(named("lenet5"))
    rest = b"".join(
        bytes([kind]) + number(len(body)) + body for kind, body in ((1, network), (2, table), (3, b"\1"))
    )
    (tmp_path / "m.prunus").write_bytes(b"PRN\1" + zlib.crc32(rest).to_bytes(4, "little") + rest)
    with pytest.raises(FileFormatError, match="out of proportion"):
        prunus.load(tmp_path / "m.prunus")


def test_a_shape_that_the_network_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises((FileFormatError, PlanError), match="does not hold a lenet5"):
        prunus.load(rewritten(saved(lenet5(), tmp_path), named("lenet5")))


@pytest.mark.parametrize("content", [b"", b"\0", b"PK\x03\x04", b"<html>404</html>", bytes(4096)])
def test_a_file_that_begins_otherwise_is_called_no_coded_file(content: bytes, tmp_path: Path) -> None:
    """It was called a safetensors file, or one of an unknown kind, whatever its name said."""
    (tmp_path / "model.prunus").write_bytes(content)
    for given in (tmp_path, tmp_path / "model.prunus"):
        with pytest.raises(FileFormatError, match=r"model\.prunus is no coded file: it begins with other"):
            prunus.load(given)
    with pytest.raises(FileFormatError, match=r"model\.prunus is no coded file: it begins with other"):
        open_model(str(tmp_path / "model.prunus"))
