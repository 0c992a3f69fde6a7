"""How large functions may be: many settings are given as one thing, and what is long is taken apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import prunus
from prunus.methods.registry import METHODS

PACKAGE = Path(prunus.__file__).parent
MOST_PARAMETERS, MOST_LINES = 12, 60

# Public settings that are keywords, because that is how they are called: with one or two of many.
SETTINGS = {
    ("planning/targets.py", "plan"),  # prunus.plan(graph, scores, macs=0.5): the target, and how it is met
    (
        "training/loop.py",
        "train",
    ),  # the settings are one TrainConfig; these are what else is told, or told about
    ("methods/one_shot.py", "one_shot"),  # the door of `prunus.shrink` and `prunus prune`
    ("quantisation/packing.py", "pack"),  # prunus.pack(model, task, tolerance=0.5): the target, and the rest
    ("methods/soft_callback.py", "__init__"),  # SoftPruning(inputs, 0.3, freeze=0): those of its method
}
# Those of methods are read from signatures by the command line, recipes and the documentation.
METHOD_SETTINGS = {
    (f"methods/{file}.py", name) for file, _, name in (one.home.partition(":") for one in METHODS.values())
}


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From its name to its end, without the docstring."""
    first = function.body[0]
    said = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if said else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def library() -> list[Path]:
    """All files but those of the command line, whose verbs have a parameter for every flag."""
    return [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent.name != "cli"]


def test_a_function_is_measured_as_a_reader_sees_it() -> None:
    (found,) = functions(
        'def f(self, a, /, b, *c, d=1, **e):\n    """One.\n\n    Two.\n    """\n    a = b\n    return a\n'
    )
    assert parameters(found) == 3 and lines(found) == 3


@pytest.mark.parametrize("room", sorted({file.relative_to(PACKAGE).parts[0] for file in library()}))
def test_functions_are_of_a_size_to_be_read(room: str) -> None:
    for file in library():
        name = file.relative_to(PACKAGE).as_posix()
        for function in functions(file.read_text()) if name.partition("/")[0] == room else ():
            place = f"{name}:{function.lineno} {function.name}"
            assert lines(function) <= MOST_LINES, f"{place} has {lines(function)} lines."
            if (name, function.name) not in SETTINGS | METHOD_SETTINGS:
                assert parameters(function) <= MOST_PARAMETERS, (
                    f"{place} has {parameters(function)} parameters."
                )


@pytest.mark.parametrize(("file", "name"), sorted(SETTINGS))
def test_what_is_excepted_needs_it(file: str, name: str) -> None:
    (found,) = (one for one in functions((PACKAGE / file).read_text()) if one.name == name)
    assert parameters(found) > MOST_PARAMETERS, f"{name} is no exception any more."
    assert len(found.args.kwonlyargs) > MOST_PARAMETERS - 4  # settings are given by name
