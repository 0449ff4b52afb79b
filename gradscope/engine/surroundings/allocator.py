"""glibc's allocator, told to keep the large blocks that a training step frees and asks for again.

By itself it gives every block of some 32 MB or more back to the kernel at once, and the top of its heap from 128 KB to 64 MB
on: each step then pays for fresh pages, which the kernel fills with zeros. torch frees its activations and gradients in every
step and needs just as much in the next one. No number that is computed depends on it.

Imports neither torch nor numpy. Linux with glibc only; the variable turns it off, and so do glibc's own variables, where
somebody has set them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

VARIABLE = "GRADSCOPE_ALLOCATOR"
"""Its name in the environment: "system" leaves glibc's allocator as it is."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Numbers of mallopt's parameters, from glibc's malloc.h."""
_SETTINGS = (
    # The largest that glibc takes (HEAP_MAX_SIZE / 2): blocks below it come from the heap.
    (_MMAP_THRESHOLD, 32 * 1024 * 1024),
    # What is free at the top of the heap stays there up to this.
    (_TRIM_THRESHOLD, 1024 * 1024 * 1024),
    # The heap grows by this much more than is needed.
    (_TOP_PAD, 64 * 1024 * 1024),
)
_GLIBCS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def reason_to_leave() -> str:
    """Why the allocator is left as it is, in words; "" where it will be told."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return "not glibc's"
    if os.environ.get(VARIABLE) == "system":
        return f"{VARIABLE} is system"
    own = next((name for name in _GLIBCS if os.environ.get(name)), None)
    if own is not None:
        return f"{own} is set"
    return ""


def keep_large_blocks() -> bool:
    """From now on, in this process and those that it forks. False where it was left as it is."""
    if reason_to_leave():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all(mallopt(parameter, value) == 1 for parameter, value in _SETTINGS)
