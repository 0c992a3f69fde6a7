"""What is published: the wheel holds the package alone, the source archive what it takes to test it."""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import prunus

ROOT = Path(__file__).parent.parent
INFO = f"prunus-{prunus.__version__}.dist-info"


@pytest.fixture(scope="module", autouse=True)
def _from_checkout() -> None:
    if not (ROOT / "pyproject.toml").is_file() or not (ROOT / "src").is_dir():
        pytest.skip("not run from a checkout")


def built(kind: str, folder: Path) -> Path:
    """A wheel, or an sdist, as hatchling builds it, without a network."""
    build = pytest.importorskip(
        "hatchling.build", reason="hatchling, which builds archives, is not installed"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name: str = getattr(build, f"build_{kind}")(str(folder))
    return folder / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel."""
    return zipfile.ZipFile(built("wheel", tmp_path_factory.mktemp("wheel")))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "prunus").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = set(wheel.namelist())
    assert {name for name in names if not name.startswith(f"{INFO}/")} == wanted
    assert {"prunus/py.typed", "prunus/report/templates/report.html.j2", "prunus/data/digits.npz"} <= names


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    about = Parser().parsestr(wheel.read(f"{INFO}/METADATA").decode())
    assert about["Name"] == "prunus" and about["Version"] == prunus.__version__
    assert about["License-Expression"] == "Apache-2.0" and about["Requires-Python"] == ">=3.11"
    assert about["Description-Content-Type"] == "text/markdown"
    assert wheel.read(f"{INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "prunus = prunus.cli:main" in wheel.read(f"{INFO}/entry_points.txt").decode()
    assert "Tag: py3-none-any" in wheel.read(f"{INFO}/WHEEL").decode()
    needed = [line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in needed) == [
        "numpy",
        "rich",
        "safetensors",
        "scipy",
        "torch",
        "typer",
    ]


def test_the_source_archive_can_be_built_and_tested(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = (
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "constraints.txt",
        "Makefile",
        "SECURITY.md",
    )
    assert {*files, "src/prunus/py.typed", "tests/test_package.py", "docs/hub.md"} <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "src" / "prunus").rglob("*.py")} <= names
    strange = {name.partition("/")[0] for name in names} - {
        *("src", "tests", "docs", "benchmarks", "examples", "PKG-INFO", ".gitignore"),
        *("CITATION.cff", "CONTRIBUTING.md", "mkdocs.yml", *files),
    }
    assert not strange and not any("__pycache__" in name or name.endswith(".pyc") for name in names)
