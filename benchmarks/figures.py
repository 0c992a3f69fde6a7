"""Where every figure of README and docs comes from: `docs/figures.md`, made of `figures.toml` and the kept
rows.

    python -m benchmarks.figures

`figures.toml` has one entry for every text with measured figures (`[[figure]]`, see
`benchmarks.figure_values`), for what a benchmark writes into a document by itself (`[[written]]`), and for
numbers that look measured and are not (`[[other]]`, with a reason). Figures are computed anew, so a text that
says something else than its row is found, and so is a figure without an entry.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import coverage
from benchmarks.figure_values import Figure, figure, selection
from benchmarks.rows import UNKNOWN, Record, kept, machine

ROOT = Path(__file__).parent.parent
ENTRIES = Path(__file__).parent / "figures.toml"
PAGE = ROOT / "docs" / "figures.md"
REASONS = ("arithmetic", "definition", "example", "published", "setting", "tested", "trial", "version")
Span = tuple[int, int]

_NOT_PROSE = (
    r"^ *```.*?^ *```\s*$",  # code
    r"^<!-- settings of .*?<!-- end of settings -->",  # defaults, read from the source
    r"<!--.*?-->",
    r"^#.*?$",  # headings
    r"\$\$.*?\$\$",
    r"\$[^$\n]+\$",  # formulas
    r"`[^`]+`",
    r"\]\([^)]*\)",  # what links lead to
    r"arXiv \d+\.\d+",
    r"\b10\.\d{4,}/\S+",
)
_UNITS = "%|percent|points?|times|ms|s|milliseconds?|seconds?|minutes?|hours?|[KMGT]i?B|bytes|[MG]?FLOPs|MACs"
_MEASURED = rf"""(?x)
    (?:[-+−±]\s?)?\d[\d,]*(?:\.\d+)?(?:\s|-)?(?:{_UNITS})(?![\w])  # a number with a unit
    | \d+\.\d+  # a decimal
    | \d[\d,]*\s(?:of|in)\s\d[\d,]*  # a part of something
    | \d+(?:\.\d+)?e[-+]?\d+
    | \d[\d,]*\s?×(?!\s?\d)
    | (?<=[|(\s])[-+−]\d+(?:\.\d+)?\b  # a difference
    | ±\s?\d+
"""


@dataclass(frozen=True)
class Entries:
    """What `figures.toml` says."""

    figures: list[Figure]
    written: list[tuple[str, str]]  # documents, and the benchmarks that write into them
    others: list[tuple[str, str, str]]  # document, text, reason


def main() -> None:
    found = entries()
    trouble = [line for name in documents() for line in faults(name, (ROOT / name).read_text(), found)]
    print("\n".join(trouble))
    PAGE.write_text(page(found))
    if trouble:
        raise SystemExit(1)


def entries(path: Path = ENTRIES) -> Entries:
    """All of them."""
    read = tomllib.loads(path.read_text())
    others = [(one["document"], one["text"], one["reason"]) for one in read["other"]]
    return Entries(
        [figure(one) for one in read["figure"]],
        [(one["document"], one["by"]) for one in read["written"]],
        others,
    )


def documents() -> list[str]:
    """README and docs, without the page that is made here."""
    return [
        "README.md",
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md") if path != PAGE),
    ]


def faults(name: str, text: str, known: Entries) -> list[str]:
    """What is wrong with the figures of a document, one line each."""
    return [*wrong(name, text, known), *unknown(name, text, known)]


def wrong(name: str, text: str, known: Entries) -> Iterator[str]:
    """Entries that the text does not agree with."""
    for one in (one for one in known.figures if one.document == name):
        filled = one.filled()
        if not spans(filled, text):
            yield f'{name}: the rows say "{filled}", and the text does not.'
        yield from (f'{name}: "{one.text}": {trouble}.' for trouble in one.untrue())
    for document, by in known.written:
        if document == name and text != rewritten(text, by):
            yield f"{name}: what {by} writes there is not what its rows give."
    for document, snippet, reason in known.others:
        if document == name and not spans(snippet, text):
            yield f'{name}: "{snippet}" is in figures.toml and not in the text.'
        if reason not in REASONS:
            yield f'{name}: "{reason}" is none of the reasons {", ".join(REASONS)}.'


def unknown(name: str, text: str, known: Entries) -> Iterator[str]:
    """Numbers that look measured and have no entry."""
    covered = [span for one in known.figures if one.document == name for span in spans(one.filled(), text)]
    covered += [
        span
        for document, snippet, _ in known.others
        if document in (name, "*")
        for span in spans(snippet, text)
    ]
    covered += [block(text) for document, _ in known.written if document == name]
    prose = prose_of(text)
    for found in re.finditer(_MEASURED, prose):
        if not any(start <= found.start() and found.end() <= end for start, end in covered):
            line = 1 + text.count("\n", 0, found.start())
            around = " ".join(text[max(0, found.start() - 50) : found.end() + 30].split())
            yield f'{name}:{line}: "{found[0].strip()}" in "{around}" has no entry in figures.toml.'


def prose_of(text: str) -> str:
    """The text with spaces for whatever is no prose."""
    for pattern in _NOT_PROSE:
        text = re.sub(
            pattern, lambda found: re.sub(r"\S", " ", found[0]), text, flags=re.DOTALL | re.MULTILINE
        )
    return text


def spans(snippet: str, text: str) -> list[Span]:
    """Where a snippet stands, broken into lines or not."""
    pattern = r"\s+".join(map(re.escape, snippet.split()))
    return [
        found.span()
        for found in re.finditer(rf"(?<![\w.]){pattern}" if snippet[0].isalnum() else pattern, text)
    ]


def block(text: str) -> Span:
    """Between the marks of a benchmark's own writing."""
    return text.index(coverage.START), text.index(coverage.END)


def rewritten(text: str, by: str) -> str:
    """With what the benchmark would write now."""
    assert by == "coverage", f"{by} writes into no document."
    return coverage.with_summary(text, kept(coverage.RESULT))


def page(known: Entries) -> str:
    """`docs/figures.md`."""
    commands: dict[str, int] = {}
    lines = [
        "# Where figures come from",
        "",
        (
            "Written by `python -m benchmarks.figures`, which computes every figure below anew from the rows"
            " in `benchmarks/results` and compares it"
        ),
        (
            "with the text; a test does so too, and finds figures that are missing here. Commands are"
            " numbered, and listed at the end."
        ),
    ]
    for name in documents():
        figures = [one for one in known.figures if one.document == name]
        written = [by for document, by in known.written if document == name]
        if not figures and not written:
            continue
        up = "" if name.startswith("docs/") else "../"
        lines += [
            "",
            f"## [{name}]({up}{name.removeprefix('docs/')})",
            "",
            "| text | rows | computed as | commands |",
            "|---|---|---|---|",
        ]
        for by in written:
            found = _line(
                "the list that the benchmark writes",
                [f"{_result(by)}: all rows"],
                ["the summary of the page"],
                _written(by),
                commands,
            )
            lines.append(found)
        for one in figures:
            rows = [f"{_result(value.result)}: {selection(value.where)}" for value in one.values.values()]
            how = [f"{name}: {value.words()}" for name, value in one.values.items()]
            records = [record for value in one.values.values() for record in value.records()]
            lines.append(_line(one.filled(), rows, how, records, commands))
    lines += ["", "## Commands", "", *(f"{number}. {command}" for command, number in commands.items())]
    return "\n".join([*lines, "", *_unmeasured(known)]) + "\n"


def _unmeasured(known: Entries) -> list[str]:
    """Trials, which have no rows."""
    trials = [(name, text) for name, text, reason in known.others if reason == "trial"]
    lines = ["## Trials without a kept row", "", "The text says so beside each."]
    return [*lines, "", *(f"* {name}: {text}" for name, text in trials)] if trials else []


def _line(
    text: str, rows: Iterable[str], how: Iterable[str], records: Iterable[Record], commands: dict[str, int]
) -> str:
    numbers = sorted({commands.setdefault(_command(record), len(commands) + 1) for record in records})
    cells = [text, "; ".join(dict.fromkeys(rows)), "; ".join(how), ", ".join(map(str, numbers))]
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _result(name: str) -> str:
    return f"[{name}](../benchmarks/results/{name}.json)"


def _written(by: str) -> list[Record]:
    return [how for row in kept(coverage.RESULT.with_stem(by))["rows"] for how in row["measured"].values()]


def _command(record: Record) -> str:
    line = f"`{record['command']}`" if record["command"] != UNKNOWN else f"command {UNKNOWN}"
    return f"{line} ({record['date']}; {machine(record)})"


if __name__ == "__main__":
    main()
