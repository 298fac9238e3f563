"""Points the neonize of this process at a server on loopback, before it connects.

The library trusts one key and knows one address. Each stands once in its memory; both are written over, so that
this process cannot reach the real service any more, not even by accident.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path

from tests.whatsapp.certificates import AUTHORITY

LIBRARY = "neonize-linux-"
KEY = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")
URL = b"wss://web.whatsapp.com/ws/chat"

_places: dict[bytes, int] = {}


def point_at(port: int) -> None:
    """From now on the clients of this process connect to this port of loopback; may be called again.

    Raises:
        RuntimeError: the library is not loaded, or holds its key or its address not exactly once.
    """
    _write(KEY, AUTHORITY.public)
    _write(URL, f"ws://127.0.0.1:{port}/ws/chat?".encode().ljust(len(URL), b"x"))


def _write(known: bytes, instead: bytes) -> None:
    if known not in _places:
        _places[known] = _only_place(known)
    address = _places[known]
    first = address - address % mmap.PAGESIZE
    length = address + len(instead) - first
    _protect(first, length, mmap.PROT_READ | mmap.PROT_WRITE)
    ctypes.memmove(address, instead, len(instead))
    if known == URL:  # constants were read-only; the key stands among variables
        _protect(first, length, mmap.PROT_READ)


def _only_place(known: bytes) -> int:
    found = [address for start, end in mappings() for address in find(known, start, end)]
    if len(found) != 1:
        raise RuntimeError(f"{known[:6].hex()} stands {len(found)} times in the library, which must be once")
    return found[0]


def mappings() -> Iterator[tuple[int, int]]:
    """Where the library's file is mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if LIBRARY in line and line.split()[1].startswith("r"):
            start, _, end = line.split()[0].partition("-")
            yield int(start, 16), int(end, 16)


def find(known: bytes, start: int, end: int) -> Iterator[int]:
    """Where something stands between two addresses."""
    memory = (ctypes.c_char * (end - start)).from_address(start).raw
    offset = memory.find(known)
    while offset >= 0:
        yield start + offset
        offset = memory.find(known, offset + 1)


def _protect(first: int, length: int, mode: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(first), ctypes.c_size_t(length), mode) != 0:
        raise RuntimeError(f"mprotect: errno {ctypes.get_errno()}")
