"""Formulas as MathML, which browsers draw by themselves: no script, and nothing from elsewhere."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</\1>', re.DOTALL
)


def drawn(page: str) -> str:
    """A page, in HTML, with its formulas drawn."""
    return _FORMULA.sub(_drawn, page)


def _drawn(found: re.Match[str]) -> str:
    inline = found["inline"] is not None
    formula = convert(
        html.unescape(found["inline" if inline else "block"]).strip(), display="inline" if inline else "block"
    )
    return formula if inline else f'<div class="formula">{formula}</div>'
