"""Edits as the server serves them: what has changed is told to the app."""

from __future__ import annotations

from collections.abc import Callable

from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.teller import Teller
from gradscope.engine.session import Session
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol import messages
from gradscope.protocol.codec import Frame
from gradscope.protocol.messages.edits import Edit, Edited, EditFile, UndoEdit


def answer_edit(session: Session, frame: Frame, *, outbox: Outbox, teller: Teller, check: Callable[[], None]) -> Edited:
    """The reply to an edit, or to UndoEdit. Raises BadInput where it is wrong, or not possible now, and Unwind where the
    loading of the recipe's file is broken off; `check` raises where that is wanted already."""
    edit: Edit | UndoEdit = frame.message
    warnings = session.info.warnings
    if isinstance(edit, UndoEdit):
        record, text = session.undo_edit()
    else:
        try:
            if isinstance(edit, EditFile):
                check()
            record = session.edit(edit)
        except Unwind:
            # The user's file was being loaded.
            outbox.put(messages.Moved(position=session.position))
            raise
        text = record.text
    outbox.put(record.as_message())
    outbox.put(messages.SessionChanged(session=session.info))
    outbox.put(messages.Moved(position=session.position))
    teller.tell_schedule(session)
    for warning in session.info.warnings:
        if warning not in warnings:
            outbox.put(messages.Note(text=warning, warning=True))
    return Edited(text=text)
