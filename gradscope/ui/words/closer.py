"""Values of an earlier step that are computed again, in words."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.messages import Recomputed, ReplayProgress

_CONTEXT = "Closer"


def under_way(progress: ReplayProgress | None) -> str:
    """ "Computing again: replayed 3 of 12 steps"."""
    translate = QCoreApplication.translate
    if progress is None or progress.until <= progress.start:
        return translate(_CONTEXT, "Computing again")
    text = translate(_CONTEXT, "Computing again: replayed {done} of {steps} steps")
    done = min(max(progress.step - progress.start, 0), progress.until - progress.start)
    return text.format(done=done, steps=progress.until - progress.start)


def proved(found: Recomputed) -> str:
    """Whether the values that were computed again are those of then."""
    translate = QCoreApplication.translate
    if found.verified is None:
        told = translate(_CONTEXT, "Computed again; there was nothing to verify the replay by")
    elif found.verified:
        told = translate(_CONTEXT, "Computed again: the same step, verified")
    else:
        told = translate(_CONTEXT, "Computed again, but not the same step: these are not the values of then")
    return ". ".join((told, *found.notes))
