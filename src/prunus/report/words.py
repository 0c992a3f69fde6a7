"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

MINUS = "\u2212"
SPACE = "\u202f"  # narrow and unbreakable, between a number and its unit
TOP_1 = "top-1 accuracy"
DENSE = "before"  # the step of a run at which the dense network is measured
FIXED = "\u00a0"  # an unbreakable space between words
HYPHEN = "\u2011"  # where no line breaks, either
MODEL_SUFFIXES = (".safetensors", ".prunus")
LEAST_PLAIN = 1e-6  # below that, numbers are written with their power of ten
MANY = 1e6  # from there on, too
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


# What runtimes are called by those who made them.
RUNTIMES = {"onnxruntime": "ONNX Runtime", "torch": "PyTorch"}


def count(number: float) -> str:
    """Three significant digits with k, M or G: 123, 45.6 k, 1.23 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit * 0.9995:
            return f"{significant(number / (1e3 if unit == 'k' else limit))}{SPACE}{unit}"
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Bytes in decimal units: 999 B, 45.6 kB, 1.23 MB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(number) >= limit * 0.9995:
            return f"{significant(number / limit)}{SPACE}{unit}"
    return f"{number:.0f}{SPACE}B"


def milliseconds(number: float) -> str:
    """Three significant digits: 0.0532 ms, 12.3 ms."""
    return f"{significant(number)}{SPACE}ms"


def significant(number: float, digits: int = 3) -> str:
    """A plain decimal number with so many significant digits, never an exponent."""
    if number == 0:
        return "0"
    rounded = float(f"{number:.{digits - 1}e}")
    exponent = int(f"{rounded:e}".split("e")[1])
    return f"{number:,.{max(0, digits - 1 - exponent)}f}"


def times(before: float, after: float) -> str:
    """How many times smaller `after` is: 2.0×; "–" where there is nothing to divide by."""
    if not before or not after:
        return "–"
    factor = before / after
    return f"{factor:.2f}×" if factor < 1.95 else f"{factor:.1f}×" if factor < 99.5 else f"{factor:.0f}×"


def faster(factor: float) -> str:
    """A speed-up: 2.0× faster, 1.10× slower."""
    return f"{times(factor, 1)} faster" if factor > 1 else f"{times(1, factor)} slower"


def points(difference: float) -> str:
    """A signed difference of percentages: +0.3, −1.2, ±0.0."""
    text = f"{abs(difference):.1f}" if abs(difference) < MANY else number(abs(difference))
    if text == "0.0":
        return "±0.0"
    return ("+" if difference > 0 else MINUS) + text


def percent(fraction: float) -> str:
    """A fraction of one as a percentage: 49.8 %."""
    return f"{100 * fraction:.1f}{SPACE}%"


def error(number: float) -> str:
    """A tiny error with its power of ten: 2.1 × 10⁻⁷, or 0."""
    if not number:
        return "0"
    digits, exponent = f"{number:.1e}".split("e")
    return f"{digits}{SPACE}×{SPACE}10{str(int(exponent)).translate(SUPERSCRIPT)}"


def number(value: float) -> str:
    """A number of any size, three significant digits of what is small, and a real minus: −0.00123, 45,612."""
    if not math.isfinite(value):
        return f"{value:.1f}"
    small = 0 < abs(value) < LEAST_PLAIN
    text = f"{value:.1e}" if small or abs(value) >= MANY else significant(value)
    return text.replace("-", MINUS, 1) if value < 0 else text


def network_name(name: str) -> str:
    """What people call a network that a record names by its file: the folder of its run, or the file's own
    name; every other name as it is.
    """
    path = PurePosixPath(name)
    if path.suffix not in MODEL_SUFFIXES:
        return name
    folder = path.parent.name
    return folder if path.stem == "model" and folder not in ("", "..") else path.stem


def title(text: str) -> str:
    """A word or a few at the beginning of a line."""
    return text if text[1:2].isupper() else f"{text[:1].upper()}{text[1:]}"  # mAP stays


LONGEST = 22  # letters of a headline that stay on one line of a phone


def unbroken(text: str) -> str:
    """A few words that no line breaks between, unless a phone has not so wide a line."""
    return text.replace(" ", FIXED).replace("-", HYPHEN) if len(text) <= LONGEST else text


def machine(processor: str, flags: Sequence[str], batch: int, threads: int) -> str:
    """What a latency was measured on."""
    return (
        f"{processor} ({' '.join(flags)}) with batches of {batch} and {threads}"
        f" thread{'s' if threads != 1 else ''}"
    )


def paired(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Median latency [ms] per runtime, of a network with all channels and with gates."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["runtime"], {"runtime": row["runtime"]})[
            "after" if row["network"] == "with gates" else "before"
        ] = row["p50"]
    return list(found.values())
