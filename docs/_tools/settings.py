"""The settings of every method, written into its page from the source.

    python docs/_tools/settings.py

A page has them between `<!-- settings of NAME -->` and `<!-- end of settings -->`; a test compares them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prunus.methods.registry import METHODS
from prunus.methods.settings import settings_of

FOLDER = Path(__file__).parents[1] / "methods"
_BLOCK = re.compile(r"<!-- settings of ([a-z-]+) -->\n.*?<!-- end of settings -->", re.DOTALL)


def main() -> None:
    """Rewrite the pages whose tables are not what the source says."""
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text()
        if text != written(text):
            path.write_text(written(text))
            print(f"{path} has new settings.")


def written(text: str) -> str:
    """A page with the settings of today in it."""
    return _BLOCK.sub(lambda found: block(found[1]), text)


def block(method: str) -> str:
    """The table of a method's settings between its marks."""
    return f"<!-- settings of {method} -->\n{table(method)}\n<!-- end of settings -->"


def table(method: str) -> str:
    """The settings of a method: in Python by their names, on the command line with dashes."""
    assert method in METHODS, f"{method} is no method."
    rows = [
        f"| `{one.name}` | {_default(one.default)} | {_sentence(one.about)} |"
        for one in settings_of(method).values()
    ]
    return "\n".join(["| setting | default | what it is |", "|---|---|---|", *rows])


def _default(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`"


def _sentence(text: str) -> str:
    """A clause as a sentence in a cell."""
    text = text.replace("|", "\\|")
    return f"{text[:1].upper()}{text[1:]}."


if __name__ == "__main__":
    main()
