"""What a person does in the console: evaluate, complete, break off, watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Slot

from gradscope.protocol import messages
from gradscope.protocol.messages.evaluate import MAX_CODE, Complete, Evaluate, Evaluated, SetWatches, WatchTime
from gradscope.state.console import Watch
from gradscope.state.engine import EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.console_memory import MAX_TYPED, ConsoleMemory
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.dismissals import file_of
from gradscope.ui.widgets.redraw import owing


class Console(QObject):
    """One for the window."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._memory = ConsoleMemory(controller.settings)
        self._file = ""
        self._has_sent = False
        """The engine has been told of expressions to watch."""
        self.typed: list[str] = []
        """What was evaluated for this file, the oldest first."""
        controller.refreshed.connect(self._on_refreshed)
        self._recall()

    # ------------------------------------------------------------------------------------------ evaluating

    def evaluate(self, text: str, *, keep: bool = False) -> bool:
        """Have it evaluated; False where that cannot be now. What comes of it is in the state."""
        state = self._controller.state
        if state.evaluate_refusal() is not None or not text.strip():
            return False
        console = state.console
        console.begin(text, keep=keep, step=state.position.step)
        self._note_typed(text)
        if len(text) > MAX_CODE:
            console.end(Evaluated(error=f"The code has {len(text):,} characters; expected at most {MAX_CODE:,}"))
            self._tell(Topic.CONSOLE)
            return True

        def on_reply(reply: Any) -> None:
            told = reply if isinstance(reply, Evaluated) else Evaluated(error=reply.failure.sentence)
            console.end(told)
            if keep:
                # Values may be other ones now without a report.
                state.revision += 1
                state.touch(Topic.HISTORY)
            self._tell(Topic.CONSOLE, Topic.POSITION)

        self._controller.ask(Evaluate(text=text, keep=keep), on_reply)
        self._tell(Topic.CONSOLE, Topic.POSITION)
        return True

    @Slot()
    def interrupt(self) -> None:
        """Break off what is evaluated."""
        if self._controller.state.console.running is not None:
            self._controller.client.send(messages.Interrupt())

    def complete(self, text: str, cursor: int, on_reply: Callable[[int, tuple[str, ...]], None]) -> None:
        """`on_reply` gets where what is completed begins, and what may stand there; nothing where it cannot be asked now."""
        if self._controller.state.evaluate_refusal() is not None or len(text) > MAX_CODE:
            return

        def on_answer(reply: Any) -> None:
            if isinstance(reply, messages.Completions):
                on_reply(reply.start, reply.names)

        self._controller.ask(Complete(text=text, cursor=cursor), on_answer)

    @Slot()
    def clear(self) -> None:
        self._controller.state.console.clear()
        self._tell(Topic.CONSOLE)

    # ------------------------------------------------------------------------------------------ watching

    def watch(self, text: str) -> None:
        """Take the value of an expression after every step and at every stop."""
        if text.strip() and len(text) <= MAX_CODE:
            self._controller.state.console.add(text.strip(), WatchTime.STEP)
            self._watches_changed()

    def change_watch(self, watch: Watch, *, text: str | None = None, each: WatchTime | None = None) -> None:
        if text is not None and not text.strip():
            self.unwatch(watch)
            return
        self._controller.state.console.replace(watch, text=None if text is None else text.strip(), each=each)
        self._watches_changed()

    def unwatch(self, watch: Watch) -> None:
        self._controller.state.console.remove(watch)
        self._watches_changed()

    # ------------------------------------------------------------------------------------------ private

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        state = self._controller.state
        if Topic.SESSION in topics and state.snapshot is None:
            self._recall()
            self._send()
        if Topic.ENGINE in topics and state.engine.status is not EngineStatus.READY and state.console.running:
            # Nobody will answer.
            state.console.end(Evaluated(error="The engine has ended before there was an answer"))
            self._tell(Topic.CONSOLE)

    def _recall(self) -> None:
        state = self._controller.state
        file = file_of(state.session)
        if file == self._file or state.snapshot is not None:
            return
        self._file = file
        self.typed, watched = self._memory.recall(file)
        state.console.recall(watched)
        state.touch(Topic.CONSOLE, Topic.WATCHES)

    def _note_typed(self, text: str) -> None:
        self.typed = [*(other for other in self.typed if other != text), text][-MAX_TYPED:]
        self._remember()

    def _watches_changed(self) -> None:
        self._send()
        self._remember()
        self._tell(Topic.WATCHES)

    def _send(self) -> None:
        wanted = self._controller.state.console.expressions
        if wanted or self._has_sent:
            self._has_sent = bool(wanted)
            self._controller.ask(SetWatches(watches=wanted), lambda reply: None)

    def _remember(self) -> None:
        self._memory.remember(self._file, self.typed, self._controller.state.console.expressions)

    def _tell(self, *topics: Topic) -> None:
        self._controller.state.touch(*topics)
        self._controller.flush()
