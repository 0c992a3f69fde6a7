"""Memory that a process keeps for the next step, rather than giving it back and asking for it again."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

# glibc's numbers of these settings, in malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# the most that glibc takes, and where its own adjustment ends: blocks up to 32 MiB come from the heap, whose
# end goes back to the system from twice that on
_LARGEST_BLOCK, _USUAL_TRIM, _NO_TRIM = 2**25, 2**26, 2**31 - 1

_holders: list[object] = []  # trainings that run, in threads of one process perhaps
_lock = Lock()


@contextmanager
def held_memory() -> Iterator[None]:
    """Keep what is freed meanwhile for what is needed next.

    A step of a training frees megabytes at the end of the heap, which glibc gives back to the system, and
    needs as many in the next step, page by page. Afterwards the end of the heap is given back. No
    effect where the C library is another one.
    """
    set_option = _mallopt()
    if set_option is None:
        yield
        return
    with _lock:
        _holders.append(set_option)
        set_option(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        set_option(_TRIM_THRESHOLD, _NO_TRIM)
    try:
        yield
    finally:
        with _lock:
            _holders.pop()
            if not _holders:
                set_option(_TRIM_THRESHOLD, _USUAL_TRIM)
                _trim()


@cache
def _mallopt() -> Callable[[int, int], int] | None:
    """The function of glibc; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return None
    function: Callable[[int, int], int] = library.mallopt
    return function


def _trim() -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(ctypes.c_size_t(_USUAL_TRIM))
