"""The integer coder itself: context mixing and binary arithmetic coding, in integers alone.

Every weight becomes a few binary decisions: is it zero; how many bits has its magnitude; those bits below the
first; its sign. Six contexts (what stands before it along the kernel, the row and the column, and how large
weights of this row, column and place of the kernel are on average) each keep a probability per decision; a
mixer learns online how much each is worth; the mixed probability drives an arithmetic coder.

The same source runs compiled, where numba is installed, and as plain Python, where it is not; what it
computes is bounded so that 64 bits never overflow, and both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])
Integers = MutableSequence[int]
Table = Sequence[int]


def _plain(function: F) -> F:
    return function


compiled: Callable[[F], F]
try:
    from numba import config, njit

    compiled, IS_COMPILED = njit(cache=True, nogil=True), not config.DISABLE_JIT
except ImportError:
    compiled, IS_COMPILED = _plain, False

CONTEXTS = 6
DECISIONS = 128  # that a context tells apart
SIZES = (100, 100, 256, 256, 64, 128)  # values of each context
STARTS = (0, 100, 200, 456, 712, 776)
VALUES = 904
CLASSES = 24  # bits of the largest magnitude
_SIGN = 127
_LARGE = 4095  # in averages, larger magnitudes count as this
# in `state`: both ends of the interval, bytes written or read, the decoder's window, whether it encodes
LOW, HIGH, PLACE, WINDOW, ENCODES = 0, 1, 2, 3, 4
_WORD = 0xFFFFFFFF
_LIMIT = 3071
_MOST = 255


@compiled
def bits_in(number: int) -> int:
    """How many binary digits a number has; 0 has none."""
    found = 0
    while number > 0:
        number >>= 1
        found += 1
    return found


@compiled
def magnitude_class(number: int) -> int:
    """0, 1, 2, 3, 4–7, 8–15, …, 128 and more: ten classes."""
    return number if number < 3 else min(bits_in(number) + 1, 9)


@compiled
def level(number: int) -> int:
    """Quarters of an octave of an average in 256ths, 0 to 63."""
    number += 4
    octave = 0
    while number > 7:
        number >>= 1
        octave += 1
    return min(4 * octave + number - 4, 63)


@compiled
def sign_of(number: int) -> int:
    """0 for negative numbers, 1 for zero, 2 for positive ones."""
    return 1 + int(number > 0) - int(number < 0)


@compiled
def code_bit(
    bit: int,
    decision: int,
    flat: int,
    contexts: Table,
    slots: Integers,
    stretched: Integers,
    chances: Integers,
    counts: Integers,
    weights: Integers,
    state: Integers,
    data: Integers,
    squashed: Table,
    stretch: Table,
    rates: Table,
    trust: Table,
) -> int:
    """Code one decision, and learn from it; `bit` is what is encoded, whatever when decoding. Returns it."""
    first = decision * (CONTEXTS + 2)
    total = weights[first + CONTEXTS] * 256
    for i in range(CONTEXTS):
        slot = ((STARTS[i] + contexts[i]) * 2 + flat) * DECISIONS + decision
        slots[i] = slot
        stretched[i] = (stretch[chances[slot] >> 14] * trust[counts[slot]]) >> 8
        total += weights[first + i] * stretched[i]
    chance = squashed[min(max(total >> 16, -_LIMIT), _LIMIT) + _LIMIT]

    low, high = state[LOW], state[HIGH]
    width = high - low
    middle = low + (width >> 16) * chance + (((width & 65535) * chance) >> 16)
    if state[ENCODES] == 0:
        bit = 1 if state[WINDOW] <= middle else 0
    if bit == 1:
        high = middle
    else:
        low = middle + 1
    while ((low ^ high) & 0xFF000000) == 0:
        if state[ENCODES] == 1:
            data[state[PLACE]] = low >> 24
        else:
            following = data[state[PLACE]] if state[PLACE] < len(data) else 0
            state[WINDOW] = ((state[WINDOW] << 8) & _WORD) | following
        state[PLACE] += 1
        low = (low << 8) & _WORD
        high = ((high << 8) & _WORD) | 255
    state[LOW] = low
    state[HIGH] = high

    seen = weights[first + CONTEXTS + 1]
    step = ((bit << 16) - chance) * (3 + 100 // (seen + 16))
    for i in range(CONTEXTS):
        weights[first + i] += (stretched[i] * step + 131072) >> 18
        slot = slots[i]
        count = counts[slot]
        chances[slot] += (((bit << 26) - chances[slot]) * rates[count]) >> 16
        if count < _MOST:
            counts[slot] = count + 1
    weights[first + CONTEXTS] += (256 * step + 131072) >> 18
    weights[first + CONTEXTS + 1] = seen + 1
    return bit


@compiled
def code_integers(
    integers: Integers,
    rows: int,
    columns: int,
    places: int,
    width: int,
    of_columns: Integers,
    of_places: Integers,
    contexts: Integers,
    signs: Integers,
    slots: Integers,
    stretched: Integers,
    chances: Integers,
    counts: Integers,
    weights: Integers,
    state: Integers,
    data: Integers,
    squashed: Table,
    stretch: Table,
    rates: Table,
    trust: Table,
) -> None:
    """Encode the integers of one tensor, (rows, columns, places of the kernel), or decode them into their
    place; `width` of the kernel's places lie side by side. `of_columns` and `of_places` are as many zeros.
    """
    flat = 1 if rows == 1 and places == 1 else 0
    near = 1 if flat == 1 or places > 1 else 0  # whether the one before is a neighbour
    total, seen, at = 0, 0, 0
    for row in range(rows):
        of_row = 0
        for column in range(columns):
            for place in range(places):
                before = column if flat == 1 else place
                left = integers[at - 1] if near == 1 and before > 0 else 0
                left_2 = integers[at - 2] if near == 1 and before > 1 else 0
                up = integers[at - width] if place >= width else 0
                inner = integers[at - places] if flat == 0 and column > 0 else 0
                inner_2 = integers[at - 2 * places] if flat == 0 and column > 1 else 0
                outer = integers[at - columns * places] if row > 0 else 0
                outer_2 = integers[at - 2 * columns * places] if row > 1 else 0

                mean = (total + 1) * 256 // (seen + 2)
                in_row = (of_row * 256 + 4 * mean) // (column * places + place + 4)
                in_column = (of_columns[column] * 256 + 4 * mean) // (row * places + place + 4)
                in_place = (of_places[place] * 256 + 4 * mean) // (row * columns + column + 4)
                expected = in_row * in_column // (mean + 1) * in_place // (mean + 1)
                around = min(
                    2 * (abs(left) + abs(up) + abs(inner) + abs(outer))
                    + abs(left_2)
                    + abs(inner_2)
                    + abs(outer_2),
                    1 << 24,
                )
                left_class, outer_class = magnitude_class(abs(left)), magnitude_class(abs(outer))
                contexts[0] = left_class * 10 + magnitude_class(abs(left_2))
                contexts[1] = magnitude_class(abs(inner)) * 10 + outer_class
                contexts[2] = level(in_row) * 4 + min(left_class, 3)
                contexts[3] = level(in_column) * 4 + min(outer_class, 3)
                contexts[4] = level(expected)
                contexts[5] = level(around * 16) + (64 if place >= width else 0)

                value = integers[at]
                size = abs(value)
                if (
                    code_bit(1 if size == 0 else 0, 0, flat, contexts, slots, stretched, chances, counts,
                             weights, state, data, squashed, stretch, rates, trust)
                    == 1
                ):  # fmt: skip
                    size, value = 0, 0
                else:
                    digits, wanted = 1, bits_in(size)
                    while digits < CLASSES and code_bit(
                        1 if wanted > digits else 0, digits, flat, contexts, slots, stretched, chances,
                        counts, weights, state, data, squashed, stretch, rates, trust,
                    ) == 1:  # fmt: skip
                        digits += 1
                    found = 1
                    for lower in range(digits - 2, -1, -1):
                        if lower == digits - 2:
                            decision = 24 + digits
                        elif lower == digits - 3:
                            decision = 48 + 2 * digits + (found & 1)
                        else:
                            decision = 98 + lower
                        found = 2 * found + code_bit(
                            (size >> lower) & 1, decision, flat, contexts, slots, stretched, chances, counts,
                            weights, state, data, squashed, stretch, rates, trust,
                        )  # fmt: skip
                    signs[0] = sign_of(left) * 3 + sign_of(up)
                    signs[1] = sign_of(inner) * 3 + sign_of(outer)
                    signs[2] = signs[0] * 9 + signs[1]
                    signs[3] = min(place, 63) * 2 + (1 if found > 1 else 0)
                    signs[4] = sign_of(outer) * 3 + sign_of(left)
                    signs[5] = signs[0] * 3 + sign_of(left_2)
                    negative = code_bit(
                        1 if value < 0 else 0, _SIGN, flat, signs, slots, stretched, chances, counts,
                        weights, state, data, squashed, stretch, rates, trust,
                    )  # fmt: skip
                    size, value = found, -found if negative == 1 else found
                integers[at] = value
                size = min(size, _LARGE)
                total += size
                seen += 1
                of_row += size
                of_columns[column] += size
                of_places[place] += size
                at += 1


__all__ = ["CLASSES", "CONTEXTS", "DECISIONS", "IS_COMPILED", "VALUES", "code_integers"]
