"""What glibc is told, and when it is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gradscope.engine.surroundings import allocator

_BLOCKS = """
import ctypes, sys
from gradscope.engine.surroundings.allocator import keep_large_blocks

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks a b c".split()]

libc = ctypes.CDLL(None)
libc.mallinfo.restype, libc.malloc.restype = Mallinfo, ctypes.c_void_p
assert keep_large_blocks() is (sys.argv[1] == "kept")
before = libc.mallinfo().hblks
libc.malloc(ctypes.c_size_t(16 << 20))
print(libc.mallinfo().hblks - before)
"""
"""How many blocks of their own the kernel is asked for, by one malloc of 16 MB."""
GLIBC = pytest.mark.skipif(bool(allocator.reason_to_leave()), reason="told to glibc only")


@GLIBC
def test_large_blocks_come_from_the_heap_which_keeps_them() -> None:
    def own_blocks(how: str, **more: str) -> int:
        command = [sys.executable, "-c", _BLOCKS, how]
        run = subprocess.run(command, env=os.environ | more, check=True, capture_output=True, text=True)
        return int(run.stdout)

    assert own_blocks("left", GRADSCOPE_ALLOCATOR="system") == 1
    assert own_blocks("kept") == 0


@GLIBC
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (allocator.VARIABLE, "system"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.perturb=1"),
    ],
)
def test_what_somebody_has_set_is_left(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert name in allocator.reason_to_leave()
    assert not allocator.keep_large_blocks()


def test_other_platforms_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_large_blocks()
