"""The glue between state and engine: what a person does becomes a request, what the engine says becomes state."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from gradscope.client.background import Background
from gradscope.client.engine_client import EngineClient
from gradscope.client.snapshot_source import Reopened, Request, SnapshotSource, reopen
from gradscope.protocol import messages
from gradscope.protocol.capture import Capture
from gradscope.protocol.codec import ProtocolError
from gradscope.protocol.failure import BadInput, Failure
from gradscope.protocol.messages.checkpoints import LoadCheckpoint, SaveCheckpoint
from gradscope.protocol.messages.edits import Edit, ListChoices, UndoEdit
from gradscope.protocol.parts import Contents, Part
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.protocol.scripts import Script
from gradscope.protocol.subjects import SubjectKey
from gradscope.snapshots.format.reading import Reading
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.log import Source
from gradscope.state.run_progress import RunProgress
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.opening import Opening
from gradscope.ui.actions.pacing import Pacing
from gradscope.ui.actions.questions import Evaluating, Question
from gradscope.ui.look.settings import Setting, Settings


class Controller(QObject):
    """Every view gets it: `state` to read, methods to act, `refreshed` to know when to redraw.

    `state` is what the window shows: the engine's session, or a snapshot, behind which the session goes on unseen.
    """

    failed = Signal(object)
    """Failure."""
    export_progressed = Signal(object)
    """ExportProgress."""
    menu_filling = Signal(object, object)
    """QMenu and the Spot that it is about: who has something to offer for it adds that now."""

    def __init__(
        self, state: AppState, client: EngineClient, settings: Settings, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.state = state
        self.client = client
        self.background = Background(self)
        self._session_state = state
        self._snapshot: SnapshotSource | None = None
        self._snapshot_wanted = ""
        self._reading: Reading | None = None
        self.settings = settings
        self._watched: tuple[SubjectKey, ...] = ()
        self._python = ""
        self._pacing = Pacing(lambda: self.state, self)
        self._opening = Opening(state, client, settings, start_engine=self._start_for, on_change=self._on_opening)
        self.refreshed, self.panels_refreshed = self._pacing.refreshed, self._pacing.panels_refreshed
        client.message_received.connect(self._on_message)
        client.state_changed.connect(self._on_engine_state)
        client.output_received.connect(self._on_output)

    # ------------------------------------------------------------------------------------------ the engine

    def start_engine(self, python: str | None = None) -> None:
        """Start the engine; `python` overrides the interpreter of the settings for as long as the app runs."""
        if python is not None:
            self._python = python
        self._start_for(None)

    @Slot()
    def restart_engine(self) -> None:
        """End the engine and start another one. The user's code is not run again by itself; the plots so far stay.

        Nothing happens where the engine is a process that was not started here.
        """
        if self._session_state.engine_refusal_to_end() is not None:
            return
        self._opening.abandon()
        self._session_state.set_opening(None)
        self.start_engine()

    @Slot()
    def end_engine(self) -> None:
        """End the engine at once, whatever it does. It stays ended until it is restarted."""
        self.client.end()

    @Slot()
    def interrupt(self) -> None:
        """Break off what runs, also inside the user's code; the phase is undone. A script pauses, or says where it is."""
        if not self.state.in_script or self.state.interrupt_refusal() is None:
            self.client.send(messages.Interrupt())

    @Slot()
    def ask_where(self) -> None:
        """Have a script that does not answer Pause say where it is. Its engine takes Interrupt so, which undoes nothing."""
        if self.state.in_script:
            self.client.send(messages.Interrupt())

    def shut_down(self) -> None:
        """The app ends: leave no process and no thread behind."""
        self._give_up_snapshot()
        if self._snapshot is not None:
            self._snapshot.close()
        self.background.shut_down()
        self.client.shut_down()

    # ------------------------------------------------------------------------------------------ the session

    def capture_first_file(self, capture: str) -> None:
        """The first file that is opened, and no other, is captured at this level (as `Capture.parse` reads it)."""
        self._opening.capture_first_file(capture)

    def open_recipe(
        self, path: str, *, seed: int | None = None, device: str | None = None, capture: str | None = None
    ) -> None:
        """Open a recipe file with this seed, device and level of capture (None: as in the settings).

        On failure the session stays.
        """
        self.close_snapshot()
        self._opening.open_recipe(path, seed=seed, device=device, capture=capture)

    def open_script(self, script: Script, *, capture: str | None = None) -> None:
        """Run a script from its beginning, in an engine of its own, up to its first training step."""
        self.close_snapshot()
        self._opening.open_script(script, capture=capture)

    def go_next(self) -> None:
        """Finish this training step, or make a whole one; in a script, to the next end of a phase."""
        self.go(self.state.next_verb)

    def go(self, verb: Verb) -> None:
        """Any verb but Run, Pause and Reset; nothing happens where the phase table does not allow it."""
        self._go(messages.Go(verb=verb, keep_going=self._keeps_going))

    def go_traced(self) -> None:
        """The batch whose backward has failed once more, in torch's anomaly mode: the failure names the line."""
        self._go(messages.Go(verb=Verb.NEXT_BATCH, traced=True, keep_going=self._keeps_going))

    def run(self, until: RunUntil, steps: int = 1) -> None:
        """Run until a number of steps is done, the epoch is over, or Pause; or, by the settings, NaN or Inf is found."""
        self._go(messages.Go(verb=Verb.RUN, until=until, steps=steps, keep_going=self._keeps_going))

    def run_to(self, place: str) -> None:
        """Run until training comes to a place, in the language of stops, or until Pause."""
        self._go(messages.Go(verb=Verb.RUN, to=place, keep_going=self._keeps_going))

    @property
    def _keeps_going(self) -> bool:
        """Whether training goes on where NaN or Inf is found, by the settings."""
        return not self.settings.get(Setting.STOP_AT_NONFINITE)

    @Slot()
    def pause(self) -> None:
        """Stop at the next moment, also inside a phase."""
        if self.state.refusal(Verb.PAUSE) is None:
            self.client.send(messages.Pause())

    @Slot()
    def reset(self) -> None:
        """Load the recipe again from its file, with the seed and device that are chosen now, captured as before.

        A script is ended and started again, as it was started before.
        """
        session = self.state.session
        if session is None or self.state.snapshot is not None or self.state.is_attached:
            return
        if session.script is not None:
            self.open_script(session.script, capture=session.capture)
        elif session.path:
            self.open_recipe(session.path, capture=session.capture)

    @Slot()
    def open_again(self) -> None:
        """Open once more what could not be opened the last time; where there is nothing such, as `reset`."""
        unopened, session = self.state.unopened, self.state.session
        if unopened is not None and unopened.script is not None:
            self.open_script(unopened.script)
        elif unopened is None or (session is not None and session.path == unopened.path):
            self.reset()
        else:
            self.open_recipe(unopened.path)

    def set_capture(self, capture: Capture) -> None:
        """Capture more or less from the next step on. Nothing happens where it cannot be, or is so already."""
        if self.state.capture_refusal() is None and capture != self.state.capture:
            self.client.request(messages.SetCapture(capture=str(capture)), on_reply=self._on_capture_replied)

    # ------------------------------------------------------------------------------------------ snapshots

    def open_snapshot(self, path: str) -> None:
        """Show a snapshot instead of the session, without an engine. On failure everything stays as it is."""
        self._give_up_snapshot()
        self._snapshot_wanted, self._reading = path, Reading()
        self.state.set_opening(path)
        self._wake()
        self.background.run(partial(reopen, path, self._reading), partial(self._on_snapshot_read, self._reading))

    @property
    def reading_progress(self) -> tuple[str, float] | None:
        """(which of its files, the share of it that is done) of the snapshot that is being read, if one is."""
        return None if self._reading is None else self._reading.progress

    @Slot()
    def cancel_snapshot(self) -> None:
        """Give up the snapshot that is being read; what is shown stays."""
        self._give_up_snapshot()

    @Slot()
    def close_snapshot(self) -> None:
        """Show the session again, or the start page; also gives up a snapshot that is being read."""
        self._give_up_snapshot()
        if self._snapshot is not None:
            self._show(self._session_state, None)
            self._watch()

    # ------------------------------------------------------------------------------------------ what is shown

    def select(self, selection: Selection) -> None:
        """Make this the one selection that every view follows."""
        self.state.select(selection)
        self._watch()
        self._wake()

    def show_step(self, step: int | None) -> None:
        """Have every view show what was recorded of a step; None: the newest of everything."""
        self.state.shown.show(step)
        self._wake()

    def toggle_pin(self, key: SubjectKey) -> None:
        """Keep the values of a subject in every step, and have it at hand; or no longer, where it is pinned."""
        self.state.toggle_pin(key)
        self._watch()
        self._wake()

    @Slot()
    def unpin_all(self) -> None:
        self.state.unpin_all()
        self._watch()
        self._wake()

    def dismiss_failure(self) -> None:
        """Nobody wants to hear of it any more; where a session goes on, nor of the recipe that could not be opened."""
        self.state.dismiss_failure()
        if self._has_session:
            self.state.unopened = None
        self._wake()

    @Slot()
    def dismiss_nonfinite(self) -> None:
        """Where NaN or Inf began need not stay in sight."""
        self.state.dismiss_nonfinite()
        self._wake()

    def tell(self, failure: Failure) -> None:
        """Tell of a failure that is not the engine's."""
        self.state.apply(messages.Failed(failure=failure, position=self.state.position))
        self.failed.emit(failure)
        self._wake()

    def fetch(self, message: Request, on_reply: Callable[[Any], None]) -> None:
        """Ask the session, or the snapshot that is shown, for values or for differences.

        `on_reply` gets the answer, Unavailable or Failed; nothing at all if what was asked is no longer shown.
        """
        source = self._snapshot
        if source is not None:

            def on_answer(reply: Any) -> None:
                if source is self._snapshot:
                    if isinstance(reply, messages.Failed):
                        self.tell(reply.failure)
                    on_reply(reply)

            source.fetch(message, on_answer)
        elif self._has_session:
            self.client.request(message, on_reply=on_reply)
        elif isinstance(message, messages.FetchDifferences):
            on_reply(self._refused(self.tr("There is no session to compare")))
        else:
            reason = self.tr("The values are gone with their session")
            on_reply(messages.Unavailable(subject=message.subject, reason=reason))

    def ask(self, message: Question | Evaluating, on_reply: Callable[[Any], None]) -> None:
        """`on_reply` gets the answer or Failed; nothing at all without a session, or if it ends before."""
        if self._has_session:
            self.client.request(message, on_reply=on_reply)

    def measure_snapshot(self, on_reply: Callable[[Any], None]) -> None:
        """Ask how large a snapshot would be; `on_reply` gets SnapshotSizes or Failed."""
        if self._has_session:
            self.client.request(messages.MeasureSnapshot(), on_reply=on_reply)
        else:
            on_reply(self._no_session())

    def export_snapshot(
        self, path: str, parts: Contents, attachments: Sequence[messages.Attachment], on_reply: Callable[[Any], None]
    ) -> None:
        """Write a snapshot with the parts that are named and the files that are attached; `on_reply` gets Exported or Failed.

        `export_progressed` tells how far it is. There is no reply if the engine ends before.
        """
        if not self._has_session:
            on_reply(self._no_session())
            return
        for attachment in attachments:
            for piece in attachment.pieces():
                self.client.request(messages.Attach(attachment=piece))
        chosen = tuple(part for part in Part if part in parts)
        self.client.request(messages.Export(path=path, parts=chosen), on_reply=on_reply)

    @Slot()
    def cancel_export(self) -> None:
        """Break the export off; it is answered with Failed, and nothing is left of it."""
        self.client.send(messages.CancelExport())

    def _no_session(self) -> messages.Failed:
        return self._refused(self.tr("There is no session to export: open a recipe first"))

    def _refused(self, sentence: str) -> messages.Failed:
        return messages.Failed(failure=BadInput(sentence).failure, position=self.state.position)

    def checkpoint(self, request: SaveCheckpoint | LoadCheckpoint, on_reply: Callable[[Any], None]) -> None:
        """Save or load; `on_reply` gets what was done, CheckpointMismatch or Failed. Nothing happens where it cannot be."""
        is_best = isinstance(request, SaveCheckpoint) and request.best
        refusal = self.state.checkpoint_refusal(loads=isinstance(request, LoadCheckpoint))
        if (self.state.best_refusal() if is_best else refusal) is None:
            # Until it is done: going through the data to where a checkpoint stands can be interrupted.
            self.state.set_running()
            self.client.request(request, on_reply=on_reply)
            self._wake()

    def edit(self, edit: Edit, on_reply: Callable[[Any], None] | None = None) -> None:
        """Change a setting of the training step; `on_reply` gets Edited or Failed. Nothing happens where it cannot be."""
        if self.state.edit_refusal(type(edit)) is None:
            self.client.request(edit, on_reply=on_reply)

    @Slot()
    def undo_edit(self) -> None:
        """Undo the newest edit."""
        if self.state.undo_refusal() is None:
            self.client.request(UndoEdit())

    def list_choices(self, on_reply: Callable[[Any], None]) -> None:
        """Ask which losses, optimizers and schedulers there are; `on_reply` gets Choices, or Failed."""
        if self._has_session:
            self.client.request(ListChoices(), on_reply=on_reply)

    @Slot()
    def flush(self) -> None:
        """Tell all views what has changed, now."""
        self._pacing.flush()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_message(self, message: object) -> None:
        if isinstance(message, messages.EngineReady):
            return
        if isinstance(message, messages.ExportProgress):
            self.export_progressed.emit(message)
            return
        try:
            self._session_state.apply(message)
        except ProtocolError as error:
            self.client.distrust(error)
            return
        if isinstance(message, (messages.Note, messages.Failed)):
            # The log is also seen behind a snapshot.
            self.state.touch(Topic.LOG)
        if isinstance(message, messages.Opened):
            self._watched = ()
            self._watch()
        elif isinstance(message, messages.Report):
            # It may have turned out which parts a selected or pinned layer puts out.
            self._watch()
        elif isinstance(message, messages.Failed):
            self.failed.emit(message.failure)
        self._wake()

    @Slot(object)
    def _on_engine_state(self, engine: EngineState) -> None:
        engine_before = self._session_state.engine
        before = engine_before.status
        self._session_state.set_engine(engine)
        if self._snapshot is not None:
            self.state.set_engine(engine)
        if engine.status is EngineStatus.STARTING and before is not EngineStatus.STARTING:
            # Whatever the engine before had open is gone with it, also where it was ended and has not died.
            position = replace(self._session_state.position, rest=Rest.EMPTY, running=False, moment=None)
            self._session_state.apply(messages.Moved(position=position))
            self._session_state.log.flush()
        elif engine.status is EngineStatus.DEAD:
            self._opening.abandon()
            self._session_state.log.flush()
        elif engine.status is EngineStatus.READY and before is not EngineStatus.READY:
            self._watched = ()
            if engine.is_attached and engine.script is not None:
                self._opening.join(engine.script)
            self._opening.go_on()
        if self._session_state.log_engine(engine_before):
            self.state.touch(Topic.LOG)
        self._wake()

    def _on_snapshot_read(self, reading: Reading, reopened: Reopened | BadInput | None) -> None:
        if reading is not self._reading or reopened is None:
            # A recipe has been opened meanwhile, or another snapshot.
            return
        self._reading = None
        self._give_up_snapshot()
        if isinstance(reopened, BadInput):
            self.tell(reopened.failure)
            return
        state, log = reopened.state, self._session_state.log
        for line in state.log.lines:
            log.add(line.text, is_warning=line.is_warning)
        # There is one log, whatever is shown.
        state.log = log
        self._session_state.dismiss_failure()
        state.set_engine(self._session_state.engine)
        self._show(state, SnapshotSource(reopened.snapshot, self.background))

    @Slot(str, object)
    def _on_output(self, text: str, source: Source) -> None:
        self._session_state.log.feed(text, source=source)
        self.state.touch(Topic.LOG)
        self._wake()

    # ------------------------------------------------------------------------------------------ private

    @property
    def _has_session(self) -> bool:
        """The engine has one, and it is what is shown."""
        state = self.state
        is_ready = state.engine.status is EngineStatus.READY and state.position.rest is not Rest.EMPTY
        return is_ready and self._snapshot is None

    def _show(self, state: AppState, source: SnapshotSource | None) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
        self.state, self._snapshot = state, source
        state.touch(*Topic)
        self._wake()

    def _give_up_snapshot(self) -> None:
        """What is still being read is not wanted any more, or has been read."""
        if self._reading is not None:
            self._reading.give_up()
            self._reading = None
        wanted, self._snapshot_wanted = self._snapshot_wanted, ""
        if wanted and self.state.opening == wanted:
            self.state.set_opening(None)
            self._wake()

    def _start_for(self, script: Script | None) -> None:
        python = self._python or self.settings.get(Setting.PYTHON)
        self.client.start(python) if script is None else self.client.start(python, script)

    def _on_opening(self) -> None:
        """The opening has come further, or has written to the log, which is also seen behind a snapshot."""
        self.state.touch(Topic.LOG)
        self._wake()

    def _go(self, go: messages.Go) -> None:
        is_run = go.verb is Verb.RUN
        if (self.state.run_refusal(go.until) if is_run else self.state.refusal(go.verb)) is None:
            position, now = self.state.position, time.monotonic()
            self.state.set_running(RunProgress.begin(position, go.until, go.steps, now=now) if is_run else None)
            self.client.request(go, on_reply=self._on_zero_grad_replied if go.verb is Verb.ZERO_GRAD else None)
            self._wake()

    def _on_zero_grad_replied(self, reply: object) -> None:
        if isinstance(reply, messages.Done):
            self._session_state.set_cleared()
            self._wake()

    def _on_capture_replied(self, reply: object) -> None:
        if not isinstance(reply, messages.Failed):
            self._session_state.dismiss_failure()
            self._wake()

    def _watch(self) -> None:
        wanted = self.state.watched
        if self._has_session and wanted != self._watched:
            self._watched = wanted
            self.client.request(messages.Watch(subjects=wanted))

    def _wake(self) -> None:
        self._pacing.wake()
