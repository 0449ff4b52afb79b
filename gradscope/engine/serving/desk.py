"""Answers that are the same whoever drives the session: about its values, its newest step, its files."""

from __future__ import annotations

from typing import Any

from gradscope.engine.serving.answers import answer_explain, answer_reproduce
from gradscope.engine.serving.beside.check_ups import CheckUps
from gradscope.engine.serving.beside.evaluating import Evaluating
from gradscope.engine.serving.beside.going_back import GoingBack
from gradscope.engine.serving.beside.what_ifs import TRIES, WhatIfs
from gradscope.engine.serving.comparing import Comparer
from gradscope.engine.serving.exporter import Exporter
from gradscope.engine.serving.looking import look
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.shown import Shown
from gradscope.engine.serving.stopping import Stopping
from gradscope.engine.serving.teller import Teller
from gradscope.protocol import messages
from gradscope.protocol.codec import Frame, Unreadable
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Pong
from gradscope.protocol.messages.why import Explain


class Desk:
    """Of one connection."""

    def __init__(self, outbox: Outbox, teller: Teller, *, nothing_open: str) -> None:
        """`nothing_open`: a sentence for what is asked where there is no session."""
        self._teller, self._nothing_open = teller, nothing_open
        self.exporter = Exporter(outbox)
        self.check_ups = CheckUps(outbox)
        self.going_back = GoingBack(outbox, teller)
        self.what_ifs = WhatIfs(outbox)
        self.evaluating = Evaluating(outbox)
        self._comparer = Comparer()
        self.stopping = Stopping(outbox)

    def cancel(self, number: int) -> None:
        """By the reader thread: request `number` wants nothing that takes long and was asked for before it."""
        self.exporter.cancel(number)
        self.check_ups.cancel(number)
        self.what_ifs.cancel(number)
        self.evaluating.cancel()

    def beside(self, session: Shown, frame: Frame) -> Any:
        """The reply to a request that runs the user's code beside the training: a check-up, or one of TRIES."""
        return (self.what_ifs if isinstance(frame.message, TRIES) else self.check_ups).run(session, frame)

    def answer(self, session: Shown | None, frame: Frame) -> Any:
        """The reply to a request. Raises BadInput for one that is not answered here, or not now."""
        match frame.message:
            case messages.FetchPage() | messages.FetchPicture() | messages.FetchHistogram():
                if session is None:
                    return messages.Unavailable(subject=frame.message.subject, reason=self._nothing_open)
                return look(session, frame.message)
            case messages.SetStops():
                return self.stopping.set(frame.message)
            case messages.FetchSource(file=file):
                return self._teller.sources.answer(file)
            case messages.Attach(attachment=attachment):
                self.exporter.attach(attachment)
                return Pong()
            case Unreadable() as error:
                raise BadInput(f"The engine cannot do what it was asked: {error}")
        if session is None:
            raise BadInput(self._nothing_open)
        return self._of_session(session, frame)

    def _of_session(self, session: Shown, frame: Frame) -> Any:
        match frame.message:
            case messages.Watch(subjects=subjects):
                session.keeper.watch(subjects)
                return Pong()
            case Explain():
                return answer_explain(session, frame.message)
            case messages.FetchDifferences() | messages.FetchDifferencePicture():
                return self._comparer.answer(session, frame.message)
            case messages.MeasureSnapshot():
                return self.exporter.measure(session)
            case messages.Export():
                return self.exporter.export(session, frame)
            case messages.Reproduce():
                return answer_reproduce(session)
            case messages.PlanCheckUp():
                return self.check_ups.plan(session, frame.message)
        raise BadInput(f"The engine does not answer {type(frame.message).__name__}")
