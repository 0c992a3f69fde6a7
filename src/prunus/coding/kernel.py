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
from typing import NamedTuple, TypeVar

from prunus.coding.trellis import NEXT

F = TypeVar("F", bound=Callable[..., object])
Integers = MutableSequence[int]
Table = Sequence[int]


class Memory(NamedTuple):
    """What the coder works in and with; lists in plain Python, arrays where it is compiled.

    Attributes:
        near: what stands around an integer, see LEFT to OUTER_2.
        totals: of a tensor so far, see FLAT to OF_ROW.
        contexts, signs: of the decision at hand, of magnitudes and of signs.
        slots, stretched: where their chances are, and these, stretched.
        chances, counts: of every context and decision: 26 bits, and how often it was met.
        weights: of every decision, one per context, one besides, and how often it was coded.
        state: see LOW to ENCODES.
        data: the bytes.
        squashed, stretch, rates, trust: see `prunus.coding.tables`.
    """

    near: Integers
    totals: Integers
    contexts: Integers
    signs: Integers
    slots: Integers
    stretched: Integers
    chances: Integers
    counts: Integers
    weights: Integers
    state: Integers
    data: Integers
    squashed: Table
    stretch: Table
    rates: Table
    trust: Table


def _plain(function: F) -> F:
    return function


compiled: Callable[[F], F]
try:
    from numba import config, njit

    compiled, IS_COMPILED = (
        njit(cache=True, nogil=True, forceinline=True, error_model="numpy"),
        not config.DISABLE_JIT,
    )
except ImportError:
    compiled, IS_COMPILED = _plain, False

CONTEXTS = 6
DECISIONS = 128  # that a context tells apart
SIZES = (100, 100, 512, 512, 128, 128)  # values of each context
STARTS = (0, 100, 200, 712, 1224, 1352)
VALUES = 1480
CLASSES = 24  # bits of the largest magnitude
_SIGN = 127
_LARGE = 4095  # in averages, larger magnitudes count as this
# in `state`: both ends of the interval, bytes written or read, the decoder's window, whether it encodes
LOW, HIGH, PLACE, WINDOW, ENCODES = 0, 1, 2, 3, 4
# in `near`
LEFT, LEFT_2, UP, INNER, INNER_2, OUTER, OUTER_2 = 0, 1, 2, 3, 4, 5, 6
# in `totals`: whether the tensor is one row of numbers; sums of magnitudes, and how many these are of;
# whether an integer lies on the second grid of a trellis
FLAT, TOTAL, SEEN, OF_ROW, SECOND = 0, 1, 2, 3, 4
_FOLLOWING = tuple(state for pair in NEXT for state in pair)  # twice a state, and a parity
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
def code_bit(bit: int, decision: int, flat: int, contexts: Integers, memory: Memory) -> int:
    """Code one decision, and learn from it; `bit` is what is encoded, whatever when decoding. Returns it."""
    slots, stretched, state = memory.slots, memory.stretched, memory.state
    chances, counts, weights = memory.chances, memory.counts, memory.weights
    first = decision * (CONTEXTS + 2)
    total = weights[first + CONTEXTS] * 256
    for i in range(CONTEXTS):
        slot = ((STARTS[i] + contexts[i]) * 2 + flat) * DECISIONS + decision
        slots[i] = slot
        stretched[i] = (memory.stretch[chances[slot] >> 14] * memory.trust[counts[slot]]) >> 8
        total += weights[first + i] * stretched[i]
    chance = memory.squashed[min(max(total >> 16, -_LIMIT), _LIMIT) + _LIMIT]

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
            memory.data[state[PLACE]] = low >> 24
        else:
            following = memory.data[state[PLACE]] if state[PLACE] < len(memory.data) else 0
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
        chances[slot] += (((bit << 26) - chances[slot]) * memory.rates[count]) >> 16
        if count < _MOST:
            counts[slot] = count + 1
    weights[first + CONTEXTS] += (256 * step + 131072) >> 18
    weights[first + CONTEXTS + 1] = seen + 1
    return bit


@compiled
def look_around(
    integers: Integers,
    at: int,
    row: int,
    column: int,
    place: int,
    columns: int,
    places: int,
    width: int,
    memory: Memory,
) -> None:
    """What stands before an integer, into `memory.near`: one and two along the kernel, above, one and two
    columns and rows before; zero beyond the edge.
    """
    near, flat = memory.near, memory.totals[FLAT]
    before = column if flat == 1 else place
    beside = flat == 1 or places > 1  # whether the one before is a neighbour
    near[LEFT] = integers[at - 1] if beside and before > 0 else 0
    near[LEFT_2] = integers[at - 2] if beside and before > 1 else 0
    near[UP] = integers[at - width] if place >= width else 0
    near[INNER] = integers[at - places] if flat == 0 and column > 0 else 0
    near[INNER_2] = integers[at - 2 * places] if flat == 0 and column > 1 else 0
    near[OUTER] = integers[at - columns * places] if row > 0 else 0
    near[OUTER_2] = integers[at - 2 * columns * places] if row > 1 else 0


@compiled
def set_contexts(
    of_column: int, of_place: int, in_row: int, in_column: int, in_place: int, is_below: int, memory: Memory
) -> None:
    """The contexts of a magnitude: from sums over a column, a place and the row so far, the numbers of
    integers that these are of, and the neighbours.
    """
    near, totals, contexts = memory.near, memory.totals, memory.contexts
    mean = (totals[TOTAL] + 1) * 256 // (totals[SEEN] + 2)
    row_mean = (totals[OF_ROW] * 256 + 4 * mean) // (in_row + 4)
    column_mean = (of_column * 256 + 4 * mean) // (in_column + 4)
    place_mean = (of_place * 256 + 4 * mean) // (in_place + 4)
    expected = row_mean * column_mean // (mean + 1) * place_mean // (mean + 1)
    beside = abs(near[LEFT]) + abs(near[UP]) + abs(near[INNER]) + abs(near[OUTER])
    beyond = abs(near[LEFT_2]) + abs(near[INNER_2]) + abs(near[OUTER_2])
    around = min(2 * beside + beyond, 1 << 24)
    left, outer = magnitude_class(abs(near[LEFT])), magnitude_class(abs(near[OUTER]))
    contexts[0] = left * 10 + magnitude_class(abs(near[LEFT_2]))
    contexts[1] = magnitude_class(abs(near[INNER])) * 10 + outer
    contexts[2] = level(row_mean) * 4 + min(left, 3) + 256 * totals[SECOND]
    contexts[3] = level(column_mean) * 4 + min(outer, 3) + 256 * totals[SECOND]
    contexts[4] = level(expected) + 64 * totals[SECOND]
    contexts[5] = level(around * 16) + 64 * is_below


@compiled
def set_signs(place: int, size: int, memory: Memory) -> None:
    """The contexts of a sign."""
    near, signs = memory.near, memory.signs
    signs[0] = sign_of(near[LEFT]) * 3 + sign_of(near[UP])
    signs[1] = sign_of(near[INNER]) * 3 + sign_of(near[OUTER])
    signs[2] = signs[0] * 9 + signs[1]
    signs[3] = min(place, 63) * 2 + (1 if size > 1 else 0)
    signs[4] = sign_of(near[OUTER]) * 3 + sign_of(near[LEFT])
    signs[5] = signs[0] * 3 + sign_of(near[LEFT_2])


@compiled
def code_value(value: int, place: int, memory: Memory) -> int:
    """Code one integer, decision by decision; returns it."""
    flat, contexts, size = memory.totals[FLAT], memory.contexts, abs(value)
    if code_bit(1 if size == 0 else 0, 0, flat, contexts, memory) == 1:
        return 0
    digits, wanted = 1, bits_in(size)
    while digits < CLASSES and code_bit(1 if wanted > digits else 0, digits, flat, contexts, memory) == 1:
        digits += 1
    found = 1
    for lower in range(digits - 2, -1, -1):
        if lower == digits - 2:
            decision = 24 + digits
        elif lower == digits - 3:
            decision = 48 + 2 * digits + (found & 1)
        else:
            decision = 98 + lower
        found = 2 * found + code_bit((size >> lower) & 1, decision, flat, contexts, memory)
    set_signs(place, found, memory)
    return -found if code_bit(1 if value < 0 else 0, _SIGN, flat, memory.signs, memory) == 1 else found


@compiled
def code_integers(
    integers: Integers,
    rows: int,
    columns: int,
    places: int,
    width: int,
    of_columns: Integers,
    of_places: Integers,
    walks: int,
    memory: Memory,
) -> None:
    """Encode the integers of one tensor, (rows, columns, places of the kernel), or decode them into their
    place; `width` of the kernel's places lie side by side. `of_columns` and `of_places` are as many zeros;
    `walks` is 1 where rows are walks of a trellis, and the integers the places on its grids.
    """
    totals, at = memory.totals, 0
    totals[FLAT] = 1 if rows == 1 and places == 1 else 0
    totals[TOTAL], totals[SEEN] = 0, 0
    for row in range(rows):
        totals[OF_ROW], totals[SECOND], state = 0, 0, 0
        for column in range(columns):
            for place in range(places):
                look_around(integers, at, row, column, place, columns, places, width, memory)
                set_contexts(
                    of_columns[column],
                    of_places[place],
                    column * places + place,
                    row * places + place,
                    row * columns + column,
                    1 if place >= width else 0,
                    memory,
                )
                value = code_value(integers[at], place, memory)
                integers[at] = value
                state = walks * _FOLLOWING[2 * state + (value & 1)]
                totals[SECOND] = state & 1
                size = min(abs(value), _LARGE)
                totals[TOTAL] += size
                totals[SEEN] += 1
                totals[OF_ROW] += size
                of_columns[column] += size
                of_places[place] += size
                at += 1


__all__ = ["CLASSES", "CONTEXTS", "DECISIONS", "IS_COMPILED", "VALUES", "Memory", "code_integers"]
