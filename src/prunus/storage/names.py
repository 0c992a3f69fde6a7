"""Names that may stand in generated source: torch.fx writes the names of values and arguments into a Python
function as they are.
"""

from __future__ import annotations

import keyword
import unicodedata

from prunus.errors import FileFormatError


def is_name(text: object) -> bool:
    """Whether a text is a plain Python name: an identifier, no keyword, not `self`, and the same after
    Python's own normalisation.
    """
    if not isinstance(text, str) or not text.isidentifier() or keyword.iskeyword(text) or text == "self":
        return False
    return unicodedata.normalize("NFKC", text) == text


def check_name(text: object, what: str) -> str:
    """The text itself; raises FileFormatError where it is no plain Python name."""
    if not isinstance(text, str) or not is_name(text):
        raise FileFormatError(
            f"The traced model has {what} named {text!r}; only plain Python names can be written into its"
            " code."
        )
    return text


def check_path(text: object, what: str) -> str:
    """The text itself, a name with dots; raises FileFormatError where a part is empty or has letters that
    cannot be printed.

    Names of tensors and modules are written into the code with escapes where they are no plain Python names.
    """
    if isinstance(text, str) and all(part and part.isprintable() for part in text.split(".")):
        return text
    raise FileFormatError(
        f"The traced model has {what} named {text!r}; only printable letters, joined by dots, can be in its"
        " code."
    )
