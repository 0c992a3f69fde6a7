"""The tests mirror the source: each file that another room imports has a test file of its name, in the folder
of the same name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "prunus"

# Tested by way of others so far. The list only shrinks: write the test, and take the line out.
NOT_YET: frozenset[str] = frozenset()


def modules() -> dict[str, Path]:
    """Every module of prunus and its file."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """The first name below prunus; nothing for prunus itself."""
    return module.split(".")[1] if "." in module else ""


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """The imports and dots of a file."""
    kinds = (ast.Import, ast.ImportFrom, ast.Attribute)
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


def statements(module: str, path: Path) -> Iterator[tuple[str, list[ast.alias]]]:
    """What a file imports from where, absolute; `import a.b` is taken for `from a import b`."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in _nodes(path):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*start, *filter(None, [node.module])]), node.names
        elif isinstance(node, ast.Import):
            for one in node.names:
                origin, _, name = one.name.rpartition(".")
                yield origin, [ast.alias(name)]


class House:
    """Which file every name that is imported comes from."""

    def __init__(self) -> None:
        self.files = modules()
        self.doors = {
            (module, one.asname or one.name): origin
            for module, path in self.files.items()
            if path.name == "__init__.py"
            for origin, names in statements(module, path)
            for one in names
        }

    def home(self, origin: str, name: str) -> str:
        """The module in which a name of `from origin import name` stands: origin's door is walked through."""
        if f"{origin}.{name}" in self.files:
            return f"{origin}.{name}"
        if (origin, name) in self.doors and self.doors[origin, name] != origin:
            return self.home(self.doors[origin, name], name)
        return origin

    def used(self, module: str) -> Iterator[str]:
        """Modules that a file imports, or reaches by the dot from a room that it imports."""
        alias = {}
        for origin, names in statements(module, self.files[module]):
            for one in names:
                yield (home := self.home(origin, one.name))
                alias[one.asname or one.name] = home
        for node in _nodes(self.files[module]):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in alias
            ):
                yield self.home(alias[node.value.id], node.attr)

    def shared(self) -> set[str]:
        """Files below prunus that another room imports, doors left out."""
        return {
            self.files[other].relative_to(SOURCE).as_posix()
            for module in self.files
            for other in self.used(module)
            if other in self.files and self.files[other].name != "__init__.py" and room(other) != room(module)
        }


def mirror(source: str) -> Path:
    """Where the tests of a source file stand."""
    path = PurePosixPath(source)
    return TESTS / path.parent / f"test_{path.name.lstrip('_')}"


@cache
def house() -> House:
    """Read once, and not while tests are collected: that every process does."""
    return House()


@cache
def shared() -> set[str]:
    """Files that other rooms import."""
    return house().shared()


def test_what_other_rooms_import_has_tests_of_its_name() -> None:
    places = {source: mirror(source) for source in sorted(shared() - NOT_YET)}
    absent = [
        f"{source} has no {place.relative_to(TESTS.parent)}"
        for source, place in places.items()
        if not place.is_file() or "def test_" not in place.read_text()
    ]
    assert not absent, "\n".join(absent)


def test_the_list_of_what_has_none_yet_only_shrinks() -> None:
    assert not {source for source in NOT_YET if mirror(source).exists()}, "these have tests: take them out"
    assert shared() >= NOT_YET, "these are gone, or nobody's business: take them out"


def test_imports_are_followed_through_doors_and_dots() -> None:
    assert house().home("prunus.training", "train") == "prunus.training.loop"
    assert house().home("prunus", "trace") == "prunus.paint.trace"
    assert house().home("prunus.paint.graph", "ChannelGraph") == "prunus.paint.graph"
    assert {"training/loop.py", "scores/norm.py", "errors.py", "_foundation/lazy.py"} <= shared()
    assert len(shared()) > 150
