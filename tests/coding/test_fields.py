from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.coding.fields import Fields, number, signed, text
from prunus.errors import FileFormatError


@given(st.integers(0, 2**63 - 1), st.integers(-(2**61), 2**61), st.text(max_size=20))
def test_numbers_and_texts_come_back(whole: int, either: int, words: str) -> None:
    fields = Fields(number(whole) + signed(either) + text(words), "test")
    assert (fields.number(), fields.signed(), fields.text()) == (whole, either, words)
    fields.end()


def test_small_numbers_take_one_byte() -> None:
    assert [number(value) for value in (0, 127, 128, 300)] == [b"\0", b"\x7f", b"\x80\x01", b"\xac\x02"]
    assert [signed(value) for value in (0, -1, 1, -2)] == [b"\0", b"\1", b"\2", b"\3"]


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80" * 10])
def test_a_number_that_does_not_end_is_refused(data: bytes) -> None:
    with pytest.raises(FileFormatError, match=r"Its list (ends too early|holds a number of more)"):
        Fields(data, "list").number()


def test_what_is_too_large_too_long_or_no_text_is_refused() -> None:
    with pytest.raises(FileFormatError, match="holds 300 where at most 299"):
        Fields(number(300), "list").number(299)
    with pytest.raises(FileFormatError, match="holds 9 where at most 2"):
        Fields(b"\x09a", "list").text()
    with pytest.raises(FileFormatError, match="no UTF-8"):
        Fields(b"\x01\xff", "list").text()
    with pytest.raises(FileFormatError, match="1 bytes too many"):
        Fields(b"\0", "list").end()
