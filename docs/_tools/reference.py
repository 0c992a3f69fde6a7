"""The pages of the reference, one for every room: whatever its `__all__` offers, from the docstrings.

Everything is read from the source and nothing imported, so that the site is built without torch.
"""

from __future__ import annotations

import ast
import posixpath
import re
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = "prunus"
# What is called most is told first; all other names of `prunus.__all__` are rooms.
FIRST = ("trace", "plan", "mask", "compact", "verify", "shrink", "core", "whole", "save", "load")


def rooms() -> list[str]:
    """The rooms that `prunus.__all__` offers."""
    return [name for name in offered(PACKAGE) if _file(f"{PACKAGE}.{name}") is not None]


def names() -> list[str]:
    """What else it offers: functions and classes, those that are called most first."""
    other = [name for name in offered(PACKAGE) if name not in rooms() and not name.startswith("__")]
    return sorted(other, key=lambda name: (name not in FIRST, FIRST.index(name) if name in FIRST else name))


def pages() -> dict[str, str]:
    """The pages, by their places in the site."""
    return {"reference/index.md": overview()} | {f"reference/{room}.md": page(room) for room in rooms()}


def overview() -> str:
    """What `import prunus` offers, with the first sentence of each."""
    lines = [
        "# Reference",
        "",
        "`import prunus` offers these functions and classes, and every room by the dot. What is needed is",
        "imported when it is first used, so `import prunus` itself takes no time.",
        "",
        "| name | what it is |",
        "|---|---|",
        *(f"| [`prunus.{name}`][{anchor(origin(name))}] | {about(origin(name))} |" for name in names()),
        "",
        "## Rooms",
        "",
        "| room | what is in it |",
        "|---|---|",
        *(f"| [`prunus.{room}`]({room}.md) | {about(f'{PACKAGE}.{room}')} |" for room in rooms()),
    ]
    return "\n".join(lines) + "\n"


def page(room: str) -> str:
    """Everything that a room offers."""
    module = f"{PACKAGE}.{room}"
    offers = offered(module)
    lines = [f"# {module}", ""]
    if not offers:
        return "\n".join([*lines, *_directive(module, show_root_heading="false"), ""])
    lines += [*_directive(module, members="false", show_root_heading="false"), ""]
    for name in offers:
        lines += [*_directive(anchor(f"{module}.{name}"), heading=f"{module}.{name}"), ""]
    return "\n".join(lines)


def linked(text: str, page: str) -> str:
    """A page, in Markdown, whose names in code lead to where the reference has them.

    Args:
        text: of the page; blocks of code, headings and links stay as they are.
        page: where it stands in the site.
    """
    parts = _APART.split(text)  # prose and the rest in turns
    parts[::2] = [_NAME.sub(lambda found: _link(found[1], page), part) for part in parts[::2]]
    return "".join(parts)


_APART = re.compile(r"(^ *```.*?^ *```\s*?$|^#.*?$|\[[^\]\n]*\]\([^)\n]*\))", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"(?<![\[`])`(prunus(?:\.\w+)+)`(?![\]`])")


def _link(name: str, page: str) -> str:
    own = name.removeprefix(f"{PACKAGE}.")
    if own in rooms():
        return f"[`{name}`]({posixpath.relpath(f'reference/{own}.md', posixpath.dirname(page) or '.')})"
    if own in names():
        return f"[`{name}`][{anchor(origin(own))}]"
    return f"[`{name}`][{_target(name)}]" if _is_told(name) else f"`{name}`"


def _target(name: str) -> str:
    room = name.rpartition(".")[0].removeprefix(f"{PACKAGE}.")
    return anchor(name) if room in rooms() else name


def _is_told(name: str) -> bool:
    """Whether the reference tells of a name: a room offers it, or a file that a room offers has it."""
    home, _, own = name.rpartition(".")
    room = home.removeprefix(f"{PACKAGE}.")
    if room in rooms():
        return own in offered(home) or (not offered(home) and _has(home, own))
    above, _, file = home.rpartition(".")
    offers = above.removeprefix(f"{PACKAGE}.") in rooms() and file in offered(above)
    return offers and _file(home) is not None and _has(home, own)


def _has(module: str, name: str) -> bool:
    """Whether a module defines a public function or class."""
    return not name.startswith("_") and any(
        isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name for node in _tree(module).body
    )


def _directive(identifier: str, **options: str) -> list[str]:
    """What the reference is made of, with its options."""
    more = ["    options:", *(f"      {name}: {value}" for name, value in options.items())] if options else []
    return [f"::: {identifier}", *more]


def anchor(name: str) -> str:
    """A name that a room offers as the reference knows it: where a file of the room has the same name as the
    function that is offered, the reader of docstrings takes it for the file.
    """
    room, _, own = name.rpartition(".")
    given = any(
        isinstance(node, ast.ImportFrom) and own in [alias.name for alias in node.names]
        for node in ast.walk(_tree(room))
    )
    return f"{name}.{own}" if given and _file(name) is not None else name


def origin(name: str) -> str:
    """A name of the package as a name of its room, where the reference has it."""
    (home,) = (
        f"{node.module}.{name}"
        for node in ast.walk(_tree(PACKAGE))
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]
    )
    return home


def about(name: str) -> str:
    """The first paragraph of the docstring of a module, a function or a class, in one line."""
    if _file(name) is not None:
        return _first(ast.get_docstring(_tree(name)))
    module, _, own = name.rpartition(".")
    for node in _tree(module).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == own:
            return _first(ast.get_docstring(node))
    for one in ast.walk(_tree(module)):
        if isinstance(one, ast.ImportFrom) and one.module and own in [alias.name for alias in one.names]:
            return about(f"{one.module}.{own}")
    return ""


def offered(module: str) -> list[str]:
    """The `__all__` of a module; nothing where it has none."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found: list[str] = ast.literal_eval(node.value)
            return found
    return []


def _first(docstring: str | None) -> str:
    return " ".join((docstring or "").split("\n\n")[0].split()).replace("|", "\\|")


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    assert file is not None, f"There is no module {module}."
    return ast.parse(file.read_text("utf-8"))


def _file(module: str) -> Path | None:
    """The source of a module; None where there is none of that name."""
    path = SOURCE.joinpath(*module.split("."))
    found = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in found if file.is_file()), None)
