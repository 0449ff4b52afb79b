"""What it means that a process was ended by a signal."""

from __future__ import annotations

import signal

_MEANINGS = {
    "SIGSEGV": "segmentation fault: compiled code has touched memory that is not its own",
    "SIGKILL": "often the system's out-of-memory killer, or kill -9",
    "SIGABRT": "compiled code has aborted",
    "SIGBUS": "bus error: a memory-mapped file has shrunk, or /dev/shm is full",
    "SIGFPE": "arithmetic fault in compiled code",
    "SIGILL": "an instruction that this processor does not have",
    "SIGTERM": "somebody asked it to end",
}


def name_of(number: int) -> str | None:
    """ "SIGSEGV"; None where the number is no signal's here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def name_and_meaning(number: int) -> str:
    """ "SIGKILL (often the system's out-of-memory killer, or kill -9)"."""
    name = name_of(number) or f"signal {number}"
    meaning = _MEANINGS.get(name)
    return f"{name} ({meaning})" if meaning else name
