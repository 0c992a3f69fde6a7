"""Docstrings that tell several arguments or errors in one line, as one line for each: an extension of the
reader of docstrings.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_SEVERAL = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 {4}.*)*)", re.MULTILINE)


class NamesApart(Extension):
    """`a, b: what both are.` becomes `a: what both are.` and `b: what both are.`"""

    def on_instance(self, *, obj: Any, **others: Any) -> None:
        """Rewrite a docstring before it is parsed."""
        if getattr(obj, "docstring", None) is not None:
            obj.docstring.value = apart(obj.docstring.value)


def apart(docstring: str) -> str:
    """A docstring in which every entry has one name."""
    return _SEVERAL.sub(
        lambda found: "\n".join(f"{found[1]}{name}: {found[3]}" for name in found[2].split(", ")), docstring
    )
