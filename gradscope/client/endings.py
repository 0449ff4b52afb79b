"""How a process ended, in words."""

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
_MAX_LAST_OUTPUT = 400


def describe_end(*, exit_code: int, crashed: bool) -> str:
    """One sentence without a full stop. On Unix a crash's `exit_code` is the signal's number."""
    if not crashed:
        if exit_code == 0:
            return "The engine has ended (sys.exit or os._exit in the user's code?)"
        return f"The engine has ended with exit code {exit_code} (sys.exit or os._exit in the user's code?)"
    try:
        name = signal.Signals(exit_code).name
    except ValueError:
        return f"The engine has crashed (code {exit_code})"
    meaning = _MEANINGS.get(name)
    return f"The engine was killed by {name}" + (f" ({meaning})" if meaning else "")


def with_last_output(sentence: str, lines: list[str]) -> str:
    """The sentence, and the last thing that the process wrote to standard error, if there is any."""
    text = " / ".join(line.strip() for line in lines[-3:] if line.strip())
    if len(text) > _MAX_LAST_OUTPUT:
        text = "..." + text[-_MAX_LAST_OUTPUT:]
    return f"{sentence}. Last error output: {text}" if text else sentence
