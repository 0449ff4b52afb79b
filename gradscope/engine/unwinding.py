"""Leaving a phase from inside."""

from __future__ import annotations


class Unwind(BaseException):
    """Raised at a moment, or by a signal, to leave a phase: somebody asked for a reset, another recipe, or an interruption.

    Not an Exception, so that the user's `except Exception` does not swallow it.
    """
