from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from prunus.errors import MissingExtraError, ModelNameError
from prunus.models import bounded, build, names
from prunus.models.catalogue import build_recorded


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current directory, which is not on the Python path."""
    (tmp_path / "users_nets.py").write_text(
        textwrap.dedent("""
        from torch import nn

        instance = nn.Linear(1, 1)

        def small(num_classes=3, width=4):
            import users_helper
            return nn.Linear(width, num_classes * users_helper.FACTOR)

        def text():
            return "no module"

        def broken():
            raise KeyError("no such file")

        class Holder:
            @staticmethod
            def inner():
                return nn.ReLU()
        """)
    )
    (tmp_path / "users_helper.py").write_text("FACTOR = 1\n")
    (tmp_path / "users_broken.py").write_text("import a_module_that_does_not_exist\n")
    monkeypatch.chdir(tmp_path)
    for name in ("users_nets", "users_helper", "users_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "users_nets"


class FailingFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes the import of one package fail as a mismatched torchvision does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == "torchvision" else None

    def exec_module(self, module: ModuleType) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand more lines")


@pytest.mark.parametrize("name", names())
def test_every_name_builds(name: str) -> None:
    model = build(name, num_classes=7)
    last = list(model.children())[-1]
    assert getattr(last, "out_features", None) == 7 or getattr(last, "out_channels", None) == 7


def test_options_are_passed_on() -> None:
    model = build("resnet20", shortcut="projection")
    assert isinstance(model.layer2[0].shortcut, nn.Sequential)


@pytest.mark.parametrize(
    ("name", "near"), [("resnet65", "resnet56"), ("lenet", "lenet5"), ("vgg16", "vgg16_bn")]
)
def test_unknown_name_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ModelNameError, match=f"no model '{name}'.*{near}"):
        build(name)


def test_ours_have_no_published_weights() -> None:
    with pytest.raises(ModelNameError, match="load_weights"):
        build("resnet20", pretrained=True)


def test_wrong_option_names_the_call() -> None:
    with pytest.raises(ModelNameError, match=r"resnet20\(depth=3\) failed: TypeError"):
        build("resnet20", depth=3)


def test_factory_in_the_current_directory(user_module: str) -> None:
    before = list(sys.path)
    model = build(f"{user_module}:small", num_classes=5, width=2)
    assert isinstance(model, nn.Linear)
    assert (model.in_features, model.out_features) == (2, 5)
    assert sys.path == before
    assert isinstance(build(f"{user_module}:Holder.inner"), nn.ReLU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("users_nets:smal", "no attribute 'smal'. Did you mean small"),
        ("users_nets:", "no attribute ''"),
        ("users_nets:text", "returned a str: expected a torch.nn.Module"),
        ("users_nets:instance", "expected a function or class"),
        ("users_nets:broken", r"users_nets:broken\(\) failed: KeyError"),
        ("users_broken:net", "Cannot import 'users_broken'.*a_module_that_does_not_exist"),
        ("not_there_at_all:net", "Cannot import 'not_there_at_all'"),
        (":net", "Cannot import ''"),
    ],
)
def test_bad_factories_are_named(user_module: str, name: str, message: str) -> None:
    with pytest.raises(ModelNameError, match=message):
        build(name)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_missing_extra_is_one_line_with_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'prunus\[{package}\]'") as caught:
        build(f"{package}/resnet18")
    assert "\n" not in str(caught.value)


def test_torchvision_without_its_operators_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [FailingFinder(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match="operator torchvision::nms does not exist;") as caught:
        build("torchvision/resnet18")
    assert "\n" not in str(caught.value)


def importable(package: str) -> None:
    try:
        importlib.import_module(package)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{package} does not import here: {error}")


def test_timm_models_by_name() -> None:
    importable("timm")
    model = build("timm/resnet10t", num_classes=4)
    assert model.fc.out_features == 4
    with pytest.raises(ModelNameError, match=r"Did you mean .*timm/resnet18"):
        build("timm/resnet_18")


def test_torchvision_models_by_name_without_downloads() -> None:
    importable("torchvision")
    assert build("torchvision/squeezenet1_1", num_classes=4).num_classes == 4
    assert isinstance(build("torchvision/lraspp_mobilenet_v3_large", num_classes=3), nn.Module)
    with pytest.raises(ModelNameError, match=r"Did you mean .*torchvision/resnet18"):
        build("torchvision/resnet_18")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet5", {"image_size": 2048, "num_classes": 100_000}),
        ("lenet300", {"image_size": 2048, "in_channels": 3}),
        ("unet", {"width": 512, "depth": 5}),
    ],
)
def test_a_file_asks_for_bounded_memory(
    name: str, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes of text beside a small model made a network of 26 GB."""
    monkeypatch.setattr(bounded, "MOST", 1 << 20)
    small = {key: min(value, 64) for key, value in options.items()}
    with pytest.raises(ModelNameError, match="with the sizes that the file states takes more than"):
        build_recorded(name, small)
    monkeypatch.undo()
    assert count(build_recorded("lenet5", {})) == count(build("lenet5")) > 0


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
