"""Words for values and annotations, for the sentences that say what is wrong with an argument."""

from __future__ import annotations

import inspect
import sys
import types
import typing
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union

PERCENT = ", percent"  # ends the recorded name of a metric whose unit that is


def near(word: Any, words: Iterable[str]) -> str:
    """ "; did you mean 'x'?" without the question mark, for the nearest of some words; ""
    where none is near.
    """
    spelled = {known.lower(): known for known in words}
    found = get_close_matches(str(word).lower(), spelled, n=1)
    return f"; did you mean {spelled[found[0]]!r}" if found else ""


def given(value: Any) -> str:
    """What somebody passed, for the end of a sentence."""
    names = {kind.__name__ for kind in type(value).__mro__}
    if "ChannelGraph" in names:
        return "a traced graph"
    if "Plan" in names:
        return "a plan"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', 'itself')}"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if "Module" in names and hasattr(value, "forward"):
        return f"the module {type(value).__name__}"
    if "Tensor" in names:
        return f"a tensor of shape {tuple(value.shape)}"
    if "ndarray" in names:
        return f"an array of shape {value.shape}"
    if isinstance(value, (str, bytes)):
        return short(value)
    if value is None or isinstance(value, (bool, int, float, complex)):
        return short(value)
    if isinstance(value, (list, tuple, dict)) and any(map(_is_array, _parts(value))):
        return f"{_article(type(value).__name__)} of {_cut(', '.join(_named(value)))}"
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"the {type(value).__name__} {short(value)}" if value else f"an empty {type(value).__name__}"
    return _article(type(value).__name__)


def _article(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _named(value: Any) -> list[str]:
    """What the parts of a container with arrays in it are called, or else what they are: their numbers would
    say nothing.
    """
    if isinstance(value, dict):
        return [str(name) for name in value]
    return list(getattr(value, "_fields", ())) or [given(one) for one in value]


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")


def short(value: Any) -> str:
    """A value as Python writes it, in one line and not more of it than can be read."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # any object may be inside, and whole numbers of thousands of digits are not written
        text = "a number of thousands of digits" if isinstance(value, int) else type(value).__name__
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


_WORDS: dict[str, tuple[str, str]] = {
    "float": ("a number", "numbers"),
    "int": ("a whole number", "whole numbers"),
    "bool": ("True or False", "truth values"),
    "str": ("a text", "texts"),
    "Path": ("a pathlib.Path", "paths"),
    "NoneType": ("None", "None"),
    "Callable": ("a function", "functions"),
    "ChannelGraph": ("a traced graph (prunus.trace(model, example_inputs))", "traced graphs"),
    "Plan": ("a plan (prunus.plan(graph, scores, ...))", "plans"),
    "Module": ("a torch.nn.Module", "modules"),
    "Tensor": ("a tensor", "tensors"),
    "ndarray": ("a NumPy array", "arrays"),
    "Optimizer": ("an optimiser", "optimisers"),
    "Generator": ("a generator of random numbers", "generators"),
}


def wanted(hint: Any, several: bool = False) -> str:
    typings: Any = sys.modules.get("numpy.typing")
    if typings is not None and hint is typings.ArrayLike:
        return "numbers, such as a NumPy array"
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        parts = [wanted(one, several) for one in inner]
        return _either(list(dict.fromkeys(parts)))
    if origin is Literal:
        return _either([repr(word) for word in inner])
    kind = hint if origin is None else origin
    name = getattr(kind, "__name__", str(kind))
    if name in ("Sequence", "list", "tuple", "Collection", "Iterable", "Iterator", "set", "Set"):
        what = (
            "lists"
            if several
            else {"tuple": "a tuple", "Iterable": "a list, a loader or another iterable"}.get(name, "a list")
        )
        first = [
            one for one in inner if one is not Ellipsis and not isinstance(one, TypeVar) and one is not Any
        ]
        return f"{what} of {wanted(first[0], several=True)}" if first else what
    if name in ("Mapping", "dict", "MutableMapping"):
        values = f" of {wanted(inner[1], several=True)}" if len(inner) == 2 and inner[1] is not Any else ""
        return f"{'dicts' if several else 'a dict'}{values}"
    one, more = _WORDS.get(name, (f"{'an' if name[:1] in 'AEIO' else 'a'} {name}", f"{name} objects"))
    return more if several else one


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def advice(hint: Any, value: Any) -> str:
    """What to do about a frequent mistake, as the rest of a sentence."""
    hints = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = {getattr(typing.get_origin(one) or one, "__name__", "") for one in hints}
    words = [
        word
        for one in hints
        if typing.get_origin(one) is Literal
        for word in typing.get_args(one)
        if isinstance(word, str)
    ]
    if isinstance(value, str) and not value and kinds & {"Path", "PathLike"}:
        return "; an empty text is no path"
    if isinstance(value, str) and near(value, words):
        return near(value, words)
    if inspect.isroutine(value) and "Callable" not in kinds:
        return "; call it, and give what it returns"
    if inspect.isclass(value) and kinds & {"Module", "Callable"}:
        return "; make one of it first"
    if is_torch(value) and not hasattr(value, "dtype") and "Callable" in kinds:
        return "; give what makes it, such as lambda: Network()"
    if isinstance(value, str) and kinds & {"float", "int"}:
        return "; text is not taken for a number"
    if type(value).__name__ == "ndarray" and "Tensor" in kinds:
        return "; torch.from_numpy makes a tensor of it"
    return (
        "; put it into a list"
        if is_torch(value) and hasattr(value, "dtype") and kinds & {"Iterable", "Sequence"}
        else ""
    )


JOINERS = "\u200b\u200c\u200d\u2060"  # what keeps words or letters together, or lets them part


def printable(text: str) -> str:
    """A text as any terminal may show it: what would move the cursor, change colours, run letters backwards
    or is half a character is written out, since it may come from a file. Line ends and tabs stay.
    """
    return escaped(
        text, lambda c: c.isprintable() or c in "\n\t" or c in JOINERS or unicodedata.category(c) == "Zs"
    )


def escaped(text: str, stays: Callable[[str], bool]) -> str:
    """A text whose characters are written out, but for those that stay."""
    return "".join(c if stays(c) else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def dtype_name(kind: object) -> str:
    """What torch calls a type of numbers, without its own name: "float16"."""
    return str(kind).removeprefix("torch.")


MOST_SAID = 200  # characters of what a server or a library says


def remark(text: str) -> str:
    """What a server or a library says, in one line that any terminal can print, without its full stop, and
    not more of it than can be read.
    """
    return escaped(" ".join(text.split()), str.isprintable)[:MOST_SAID].rstrip(".")


def ends_of(text: str, most: int) -> str:
    """A text, such as a path, of which both ends tell more than the middle."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


def without_values(model: Any) -> str:
    """What to say of a model on the meta device, where something needed its values; "" for any other."""
    parameters: dict[str, Any] = dict(getattr(model, "named_parameters", dict)())
    bare = next((name for name, parameter in parameters.items() if parameter.is_meta), "")
    return bare and (
        f"{bare} is on the meta device, where parameters have no values: give the model some first, with"
        " to_empty(device='cpu') and load_state_dict."
    )


def is_torch(value: Any) -> bool:
    """Whether a value is a tensor or a module; torch need not be imported to know that it is not."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(value, (torch.Tensor, torch.nn.Module))


__all__ = [
    "MOST_SAID",
    "PERCENT",
    "advice",
    "dtype_name",
    "ends_of",
    "escaped",
    "given",
    "is_torch",
    "near",
    "printable",
    "remark",
    "wanted",
    "without_values",
]
