"""How much memory this machine has. Standard library only."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_bytes() -> int | None:
    """In all, of this machine or of the container that the app runs in; None where that cannot be known."""
    if sys.platform == "win32":
        return _windows_memory_bytes()
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    try:
        return min(total, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return total


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX: two uint32 and seven uint64; the second of these is ullTotalPhys's."""

    _fields_ = (("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("numbers", ctypes.c_uint64 * 7))


def _windows_memory_bytes() -> int | None:
    status = _MemoryStatus()
    status.length = ctypes.sizeof(status)
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.numbers[0])
