"""How the site is made of the repository's files: links, the reference, the settings of methods."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest
from docs._tools import links, reference, settings

import prunus
from prunus.methods.registry import METHODS
from prunus.runs.names import SCORES

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page_with_its_settings(method: str) -> None:
    text = (DOCS / "methods" / f"{method}.md").read_text()
    assert settings.block(method) in text, "make docs writes it"
    assert f"--method {method}" in text and METHODS[method].home.partition(":")[2] in text
    author = METHODS[method].paper.split()[0]
    assert author.startswith("our") or author in text
    assert f"({method}.md)" in (DOCS / "methods" / "index.md").read_text()


def test_settings_that_are_old_are_written_anew() -> None:
    old = "a\n<!-- settings of snip -->\nrubbish\n<!-- end of settings -->\nb"
    new = settings.written(old)
    assert new == f"a\n{settings.block('snip')}\nb" and settings.written(new) == new
    assert "| `rate` |  | Share of the channels that goes; half of them" in new
    assert "| `scope` | `uniform` |" in new


def test_every_score_is_in_the_table() -> None:
    text = (DOCS / "methods" / "scores.md").read_text()
    assert all(f"`{score}`" in text for score in SCORES)


def test_the_reference_has_all_that_is_offered() -> None:
    pages = reference.pages()
    for name in prunus.__all__:
        if isinstance(getattr(prunus, name), type(prunus)):
            offers = getattr(import_module(f"prunus.{name}"), "__all__", None)
            page = pages[f"reference/{name}.md"]
            assert all(f"      heading: prunus.{name}.{one}\n" in page for one in offers or ()), name
            assert offers or f"::: prunus.{name}\n" in page
            assert f"({name}.md)" in pages["reference/index.md"]
        elif not name.startswith("__"):
            assert f"`prunus.{name}`" in pages["reference/index.md"]
    assert len(pages) == 1 + len(reference.rooms())


def test_names_lead_to_where_the_reference_has_them() -> None:
    assert reference.origin("trace") == "prunus.paint.trace"
    assert reference.origin("shrink") == "prunus.methods.shrinking.shrink"
    for name in reference.names():
        assert reference.about(reference.origin(name)).endswith((".", ":", ")")), name
    assert reference.about("prunus.scores.norm").startswith("Lp norm") or reference.about(
        "prunus.scores.norm"
    )


@pytest.mark.parametrize("room", reference.rooms())
def test_everything_that_is_offered_says_what_it_is(room: str) -> None:
    for name in reference.offered(f"prunus.{room}"):
        value = getattr(import_module(f"prunus.{room}"), name)
        if isinstance(value, (type, type(ast), type(ast.parse))):
            assert value.__doc__, f"prunus.{room}.{name}"


@pytest.mark.parametrize(
    ("page", "link", "found"),
    [
        ("int8.md", "../benchmarks/results/int8.md", "benchmarks/results/int8.md"),
        (
            "methods/soft.md",
            "../../benchmarks/results/twofold.md#all",
            "../benchmarks/results/twofold.md#all",
        ),
        ("methods/soft.md", "../training.md#recipes", "../training.md#recipes"),
        ("tasks.md", "../examples/signals.py", "examples/signals.md"),
        ("figures.md", "../README.md", "index.md"),
        ("figures.md", "int8.md", "int8.md"),
        ("CHANGELOG.md", "docs/int8.md", "int8.md"),
        ("benchmarks/results/int8.md", "../../docs/int8.md", "../../int8.md"),
        ("index.md", "#here", "#here"),
        ("index.md", "https://a.b/c.md", "https://a.b/c.md"),
        ("index.md", "../LICENSE", "../LICENSE"),
    ],
)
def test_links_of_the_repository_are_links_of_the_site(page: str, link: str, found: str) -> None:
    assert links.relinked(f"see [this]({link}) and", page) == f"see [this]({found}) and"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("call `prunus.compact` and", "call [`prunus.compact`][prunus.surgery.compact.compact] and"),
        ("the room `prunus.runs`", "the room [`prunus.runs`](../reference/runs.md)"),
        ("`prunus.scores.norm`", "[`prunus.scores.norm`][prunus.scores.norm.norm]"),
        ("`prunus.deploy.onnx.export`", "[`prunus.deploy.onnx.export`][prunus.deploy.onnx.export]"),
        ("`prunus.errors.TraceError`", "[`prunus.errors.TraceError`][prunus.errors.TraceError]"),
        ("`prunus.deploy.onnx._put_all`", "`prunus.deploy.onnx._put_all`"),
        ("`prunus.nothing`", "`prunus.nothing`"),
        ("[`prunus.compact`](there.md)", "[`prunus.compact`](there.md)"),
        ("# About `prunus.compact`", "# About `prunus.compact`"),
        ("```\n`prunus.compact`\n```\n", "```\n`prunus.compact`\n```\n"),
    ],
)
def test_names_in_the_text_lead_to_the_reference(text: str, found: str) -> None:
    assert reference.linked(text, "methods/soft.md") == found


def test_links_in_code_are_left_alone() -> None:
    text = "`[a](../README.md)`\n\n```\n[b](../README.md)\n```\n\n[c](../README.md)"
    assert links.relinked(text, "int8.md") == text.replace("[c](../README.md)", "[c](index.md)")


def test_every_link_of_a_page_leads_to_a_file() -> None:
    made = reference.pages()
    for path in (DOCS.parent / "README.md", *DOCS.rglob("*.md")):
        for link in links._LINK.findall("".join(links._CODE.split(path.read_text())[::2])):
            target = link.partition("#")[0]
            if target and ":" not in target and target.removeprefix("docs/") not in made:
                assert (path.parent / target).exists(), f"{path.relative_to(DOCS.parent)}: {link}"
