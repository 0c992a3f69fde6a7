from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from prunus.coding.deflation import deflated, inflated
from prunus.coding.dictionary import DICTIONARY
from prunus.errors import FileFormatError

PAGE = Path(__file__).parents[2] / "docs" / "coded-file.md"


def test_the_dictionary_is_the_one_that_the_page_names() -> None:
    assert (len(DICTIONARY), f"{zlib.crc32(DICTIONARY):08x}") == (4971, "8afd73ca")
    found = re.search(
        r"([\d,]+) bytes of `src/prunus/coding/dictionary.py` \(CRC-32 `(\w+)`\)", PAGE.read_text()
    )
    assert found is not None and found.groups() == ("4,971", "8afd73ca")


def test_what_the_dictionary_has_takes_a_few_bytes() -> None:
    words = b'{"places":[["conv1.weight","conv1.weight"],'
    assert inflated(deflated(words), "test") == words
    assert len(deflated(words)) < len(words) / 2 < len(zlib.compress(words, 9))
    assert inflated(deflated(DICTIONARY), "test") == DICTIONARY and len(deflated(DICTIONARY)) < 120


def test_damage_is_told_and_much_out_of_little_is_refused() -> None:
    bomb = deflated(bytes(1 << 20))
    assert len(bomb) < 2000
    with pytest.raises(FileFormatError, match=r"Its graph would inflate to more than 1,000 bytes\."):
        inflated(bomb, "graph", 1000)
    for damaged in (bomb[:-1], bomb + b"\0", b"", b"\xff\xff\xff"):
        with pytest.raises(FileFormatError, match=r"[Ii]ts graph"):
            inflated(damaged, "graph")
