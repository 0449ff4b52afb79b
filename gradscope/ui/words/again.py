"""A script that is run again to a step, in words: whether it came to the same."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.state.records.parting import Parting

_CONTEXT = "Again"


def sameness(parting: Parting) -> str:
    """ "Steps 0 to 39 are the same as in the run before, ...", or where they are not; "" while nothing can be compared."""
    translate, found = QCoreApplication.translate, parting.found
    if found is not None:
        text = translate(_CONTEXT, "Not the same as in the run before, from {where}").format(where=found.sentence)
        if found.step == 0 and found.agrees is None:
            text += ". " + translate(
                _CONTEXT,
                "Does the script set its seed (torch.manual_seed) and read its data in the same order each time?",
            )
        return text
    last = parting.compared_until
    if last < 0:
        return ""
    if last == 0:
        text = translate(
            _CONTEXT, "Step 0 is the same as in the run before, bit for bit in every number that was recorded"
        )
        return text
    text = translate(
        _CONTEXT, "Steps 0 to {last} are the same as in the run before, bit for bit in every number that was recorded"
    )
    return text.format(last=last)


def how_again() -> str:
    """What running it again does."""
    return QCoreApplication.translate(
        _CONTEXT,
        "The script is ended, and started again in a new process as it was started: its file as it is now, the same "
        "arguments and folder. What it does outside of the training (files, messages) it does again",
    )


def arrival(*, step: int, now: int, has_ended: bool) -> str:
    """Where the other run stands, which was to go to before `step`: before step `now`, or at its end."""
    translate = QCoreApplication.translate
    if has_ended and now < step:
        text = translate(_CONTEXT, "Run again, the script has ended before step {step}: it came to step {now}")
    elif now < step:
        text = translate(
            _CONTEXT, "Run again, the script stands at step {now}, not yet at step {step}: going on leads there"
        )
    else:
        text = translate(_CONTEXT, "Run again, the script stands at step {now}")
    return text.format(step=step, now=now)


def not_begun() -> str:
    """The other run has not come to a training step."""
    return QCoreApplication.translate(
        _CONTEXT, "Run again, the script has not come to a training step; what was recorded of the run before stays"
    )
